"""Synthetic music with known stems: by code alone, or from one-shot samples."""
