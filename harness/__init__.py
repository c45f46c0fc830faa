"""Measure a base model, train it with GRPO, measure it again, and say what changed."""

__version__ = "0.1.0"
