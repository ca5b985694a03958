"""Files: atomic writes, locks, clean-up after killed processes, checks of files from others, one-line errors."""
