"""The run folder on disk: its files, their hashes, its record, its lock."""
