"""Songs composed in code and rendered from one-shot samples."""
