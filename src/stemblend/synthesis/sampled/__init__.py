"""Songs played from one-shot samples."""
