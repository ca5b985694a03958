"""Exports networks for use elsewhere: one file, its preprocessing, its card; to and from the Hugging Face Hub."""
