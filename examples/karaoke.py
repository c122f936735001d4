"""Karaoke: a song without its vocals.

python examples/karaoke.py song.mp3 [FOLDER]
"""

import sys

import stemblend

song, folder = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "karaoke"
# the accompaniment is the song minus the vocals: together they are the song again, exactly
stems = stemblend.separate(song, stems=["vocals", "accompaniment"])
stems.save(folder, format="flac", overwrite=True)
print(f"{folder}/accompaniment.flac: {stems['accompaniment'].shape[1] / stems.sample_rate:.1f} s")
