"""Readers of datasets: songs with their stems, in the layouts of the field.

`open_dataset` recognises a folder and lists its songs. Every layout is a module with two
functions: `recognises(path)` and `read(path)`.
"""

from pathlib import Path

from stemblend.datasets import corpus, dsd100, folder, medleydb, mir1k, musdb18
from stemblend.datasets.base import StemFile, Track
from stemblend.datasets.index import Dataset, subfolders
from stemblend.errors import DataError

__all__ = ["LAYOUTS", "Dataset", "StemFile", "Track", "open_dataset"]

LAYOUTS = (corpus, dsd100, musdb18, medleydb, mir1k)
"""The modules of the layouts, tried in this order before a plain folder of songs."""


def open_dataset(path: str | Path) -> Dataset:
    """Recognise the layout of a dataset and find its songs.

    Layouts are a corpus with a `manifest.json`, DSD100 and MSD100, MUSDB18 and MUSDB18-HQ,
    MedleyDB, MIR-1K, and any folder of songs with a file for each stem. See `docs/datasets.md`.

    Args:
        path: the dataset's folder.

    Raises:
        DataError: if there is no such folder, or its layout is none of these or incomplete.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; name the folder of a dataset")
    for layout in LAYOUTS:
        if layout.recognises(root):
            return layout.read(root)
    for sub in subfolders(root):
        if any(layout.recognises(sub) for layout in LAYOUTS):
            raise DataError(f"{root} is no dataset itself, but {sub} is; name that folder")
    try:
        return folder.read(root)
    except DataError:
        raise DataError(
            f"{root} holds no songs with stems: expected folders of songs with files such as "
            "vocals.wav and drums.flac, or the layout of DSD100, MUSDB18, MedleyDB or MIR-1K"
        ) from None
