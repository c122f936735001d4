"""Songs with their true stems."""
