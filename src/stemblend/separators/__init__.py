"""Separators: everything that turns a mixture into raw stems, one module or folder a system."""
