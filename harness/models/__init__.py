"""Checkpoints and adapters as people have them: found, checked, and loaded in one way."""
