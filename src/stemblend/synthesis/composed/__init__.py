"""Songs composed and played in code."""
