"""Music with known stems: composed in code, or played from one-shot samples."""
