"""The run folder on disk: its files, its lock, its record, its stages."""
