"""Rows of any source as problems, or as completions that were made elsewhere."""
