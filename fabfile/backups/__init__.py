"""Backups on the operator's machine: their names, what is in them, how they are written and read."""
