"""What is used where nothing is asked for; imports nothing, for a command line that starts fast."""

MODEL = "bandsplit"
"""Name of the shipped model that separates."""
