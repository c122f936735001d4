"""The songs of a training run, split into training and validation songs."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from stemblend.datasets import open_dataset
from stemblend.datasets.base import Track
from stemblend.mixing.config import Collection
from stemblend.mixing.recordings import Recording, decode_tracks

Songs = Sequence[Sequence[Recording]]
"""Songs, each a list of its recordings."""


def find_collections(
    collections: Sequence[Collection], hold_out_every: int
) -> list[tuple[list[Track], list[Track]]]:
    """Find the songs of collections and split off the validation songs.

    Args:
        collections: the datasets.
        hold_out_every: keep every n-th song of a collection for validation, beginning with the
            first; 0 for none. The only song of a collection is always used for training.

    Returns:
        For each collection its training and validation songs.

    Raises:
        DataError: if a dataset is not recognised or lacks the split.
    """
    found = []
    for collection in collections:
        tracks = [
            track
            for track in open_dataset(collection.path).tracks(collection.split)
            if not any(fnmatch(track.name, pattern) for pattern in collection.exclude)
        ]
        held = [
            track
            for number, track in enumerate(tracks, 1)
            if len(tracks) > 1
            and (
                any(fnmatch(track.name, pattern) for pattern in collection.validation)
                or (hold_out_every > 0 and number % hold_out_every == 1)
            )
        ]
        found.append(([track for track in tracks if track not in held], held))
    return found


def load_collections(
    collections: Sequence[Collection],
    sample_rate: int,
    hold_out_every: int,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[tuple[float, Songs]], list[Songs]]:
    """Decode collections of songs, see `find_collections`.

    Args:
        collections: the datasets.
        sample_rate: in Hz, to resample to.
        hold_out_every: see `find_collections`.
        cache: folder for decoded stems, see `decode_tracks`.
        progress: called for each collection with the number of songs done and of all.

    Returns:
        Weight and training songs of each collection; validation songs of each collection.

    Raises:
        DataError: if a dataset is not recognised or lacks the split.
        AudioError: if a stem cannot be read.
    """
    training: list[tuple[float, Songs]] = []
    validation: list[Songs] = []
    found = find_collections(collections, hold_out_every)
    for collection, (tracks, held) in zip(collections, found, strict=True):
        songs = decode_tracks([*tracks, *held], sample_rate, cache, progress)
        training.append((collection.weight, songs[: len(tracks)]))
        validation.append(songs[len(tracks) :])
    return training, validation
