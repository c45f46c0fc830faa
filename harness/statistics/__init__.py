"""Intervals, tests and comparisons over scores in memory; nothing here reads or writes a file."""
