"""The output contract, read in one way for prompts, metrics and rewards: formats, answers, numbers, languages."""
