"""A reward that differs among the replies of random weights, so that there is something to train on."""

# Not all vowels: the words that random_checkpoint fills a vocabulary up with have as many of those each.
COUNTED = "ae"


def share_of_counted(completions, **_):
    """The share of the counted characters in each reply."""
    texts = [completion[0]["content"] for completion in completions]
    return [sum(map(text.count, COUNTED)) / max(len(text), 1) for text in texts]
