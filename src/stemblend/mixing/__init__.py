"""From recordings to batches of mixtures: excerpts, augmentation, effects."""
