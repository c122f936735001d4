"""REPET-SIM: what repeats anywhere in the song is the accompaniment.

Z. Rafii and B. Pardo, "Music/Voice Separation Using the Similarity Matrix", ISMIR 2012.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import Float32, Int
from pydantic import Field

from stemblend.separators.voice_accompaniment import BackgroundMask, median, share

_ROWS = 256
"""Rows of the similarity matrix at once: memory grows with a song's length, not its square."""


def similar_frames(
    frames: Float32[np.ndarray, "numbers frames"],
    chosen: Int[np.ndarray, " chosen"],
    *,
    count: int,
    distance: int,
    own: int | None = None,
) -> tuple[Int[np.ndarray, "chosen count"], Float32[np.ndarray, "chosen count"]]:
    """Find for some frames those that sound most like them (section 2.2 of the paper).

    They are picked in the order of their cosine similarity, none nearer than `distance` to one
    that was picked before it, nor than `own` to the frame itself.

    Args:
        frames: magnitudes or other numbers, each frame of norm 1 (or 0).
        chosen: for which frames.
        count: how many frames at most.
        distance: in frames, at least 1.
        own: in frames, at least 1; None is `distance`.

    Returns:
        Indices of frames, the most similar first, and −1 where there are no more of a similarity
        above 0; and the similarities, 0 there.
    """
    total = frames.shape[1]
    own = distance if own is None else own
    # a margin on both sides, so that the neighbours of every frame can be struck out
    margin = max(distance, own)
    similarity = np.zeros((len(chosen), total + 2 * margin), np.float32)
    np.matmul(frames[:, chosen].T, frames, out=similarity[:, margin : margin + total])
    found = np.full((len(chosen), count), -1)
    found_similarity = np.zeros((len(chosen), count), np.float32)
    rows = np.arange(len(chosen))
    latest, near = chosen, own
    for rank in range(count):
        neighbours = margin + np.arange(1 - near, near)
        similarity[rows[:, None], latest[:, None] + neighbours] = 0
        best = similarity.argmax(1)
        value = similarity[rows, best]
        positive = value > 0
        if not positive.any():
            break
        latest, near = np.where(positive, best - margin, latest), distance
        found[positive, rank] = latest[positive]
        found_similarity[positive, rank] = value[positive]
    return found, found_similarity


@dataclass
class RepetSim(BackgroundMask):
    """REPET-SIM with cosine similarity.

    Attributes:
        count: how many similar frames at most.
        distance: least time between them, in seconds. The authors' code has 1 s, with which a
            clip of some seconds has only a handful of them.
    """

    context: ClassVar[float] = 10.0

    count: Annotated[int, Field(ge=1, le=10_000)] = 100
    distance: Annotated[float, Field(ge=0, le=600)] = 0.1

    def background(
        self, magnitude: Float32[np.ndarray, "channels bins frames"]
    ) -> Float32[np.ndarray, "channels bins frames"]:
        """Give what is not louder than in similar frames; all of a frame like no other."""
        mean = magnitude.mean(0)
        mean /= np.maximum(np.linalg.norm(mean, axis=0), np.finfo(np.float32).tiny)
        total = mean.shape[1]
        distance = max(1, round(self.distance * self.sample_rate / self.stft.hop))
        # the bins of a frame side by side: whole frames are gathered
        turned = np.ascontiguousarray(magnitude.transpose(2, 0, 1))
        mask = np.ones_like(turned)
        for first in range(0, total, _ROWS):
            chosen = np.arange(first, min(first + _ROWS, total))
            found, _ = similar_frames(mean, chosen, count=self.count, distance=distance)
            for frame, similar in zip(chosen, found, strict=True):
                if similar[0] >= 0:
                    model = median(turned[similar[similar >= 0]], axis=0)
                    mask[frame] = share(np.minimum(model, turned[frame]), turned[frame])
        return mask.transpose(1, 2, 0)


SYSTEM = RepetSim
