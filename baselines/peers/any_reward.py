"""A reward that differs among the replies of random weights, so that there is something to train on."""

# Letters of the embedded model's words, and digits of those that random_checkpoint fills a vocabulary up with.
COUNTED = "aeiou13579"


def share_of_counted(completions, **_):
    """The share of the counted characters in each reply."""
    texts = [completion[0]["content"] for completion in completions]
    return [sum(map(text.count, COUNTED)) / max(len(text), 1) for text in texts]
