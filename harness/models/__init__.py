"""Find, check and load checkpoints and adapters in one way."""
