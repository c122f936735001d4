"""Blend two models with weights fitted on songs.

python examples/blend_and_fit.py SONGS OUT.toml
"""

import sys
from pathlib import Path

import stemblend
from stemblend.datasets import open_dataset
from stemblend.models.export import save_blend

names = ["snmf", "nug1"]
blend = stemblend.Blend([stemblend.load(name) for name in names], 0.5)
found = blend.fit(open_dataset(sys.argv[1]).tracks())
for source, weights in found.weights.items():
    print(source, dict(zip(names, (round(weight, 3) for weight in weights), strict=True)))
save_blend(Path(sys.argv[2]), names, found.weights)
print(f"stemblend separate song.mp3 --model {sys.argv[2]}")
