"""What people see while a command runs: progress, and texts that cannot act on a terminal."""
