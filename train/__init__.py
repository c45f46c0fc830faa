"""Training: SFT and GRPO on two trainers, and the export of adapters."""
