"""From a song to its stems: streaming, filtering, and what users call."""
