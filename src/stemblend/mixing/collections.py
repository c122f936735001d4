"""The songs of a run: those to learn from and those kept for validation."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from stemblend.datasets import open_dataset
from stemblend.mixing.config import Collection
from stemblend.mixing.recordings import Recording, decode_tracks

Songs = Sequence[Sequence[Recording]]
"""Songs, each with its recordings."""


def load_collections(
    collections: Sequence[Collection],
    sample_rate: int,
    hold_out_every: int,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[tuple[float, Songs]], list[Songs]]:
    """Decode collections of songs and split off the validation songs.

    Args:
        collections: folders of songs.
        sample_rate: in Hz, to resample to.
        hold_out_every: each this many-th song of a collection is kept for validation; 0 for none.
        cache: folder for decoded stems, see `decode_tracks`.
        progress: called with songs done and their number, for each collection.

    Returns:
        Weight and training songs of each collection; validation songs of each collection.

    Raises:
        DataError, AudioError: if the data cannot be used.
    """
    training, validation = [], []
    for collection in collections:
        tracks = [
            track
            for track in open_dataset(collection.path).tracks(collection.split)
            if not any(fnmatch(track.name, pattern) for pattern in collection.exclude)
        ]
        songs = decode_tracks(tracks, sample_rate, cache, progress)
        held = [
            any(fnmatch(track.name, pattern) for pattern in collection.validation)
            or (hold_out_every > 0 and number % hold_out_every == 1)
            for number, track in enumerate(tracks, 1)
        ]
        if len(tracks) == 1:
            held = [False]
        pairs = list(zip(songs, held, strict=True))
        training.append((collection.weight, [song for song, is_held in pairs if not is_held]))
        validation.append([song for song, is_held in pairs if is_held])
    return training, validation
