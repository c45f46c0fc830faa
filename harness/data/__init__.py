"""Read rows of any source as problems, or as completions that were generated elsewhere."""
