"""Composes what the user typed into a configuration, checks it, and builds objects from it."""
