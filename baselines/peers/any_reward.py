"""A reward that differs among the replies of random weights, so that there is something to train on."""


def vowels(completions, **_):
    """The share of vowels in each reply."""
    texts = [completion[0]["content"] for completion in completions]
    return [sum(text.count(vowel) for vowel in "aeiou") / max(len(text), 1) for text in texts]
