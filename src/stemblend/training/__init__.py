"""Training networks on folders of songs."""
