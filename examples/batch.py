"""A folder of songs, one model for all, with progress.

python examples/batch.py SONGS STEMS
"""

import sys
from pathlib import Path

import stemblend
from stemblend.errors import StemblendError

songs, target = sorted(Path(sys.argv[1]).glob("*.*")), Path(sys.argv[2])
separator = stemblend.load("bandsplit")  # once
for number, song in enumerate(songs, 1):

    def tell(done: float, seconds: float | None, name: str = f"{number} of {len(songs)}") -> None:
        share = "" if seconds is None else f", {done / seconds:.0%}"
        print(f"{name}: {done:.0f} s{share}")

    try:
        stemblend.separate_file(song, target / song.stem, separator, progress=tell, overwrite=True)
    except StemblendError as error:
        print(f"{song} is passed over: {error}")  # one bad file does not stop the others
