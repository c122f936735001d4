"""Scores on songs that a network does not learn from."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from stemblend.mixing.batch import Batch
from stemblend.mixing.collections import Songs
from stemblend.training.network import TrainableNetwork

_EXCERPTS = 12
"""Excerpts of a validation song, evenly spaced; a short song has fewer."""

_LEAST_SECONDS = 3.0


def validation_batches(
    songs: Songs, sources: Sequence[str], segment: int, sample_rate: int
) -> list[Batch]:
    """One batch a song that has a target: evenly spaced excerpts of the song as it is.

    They are no shorter than `segment` samples at `sample_rate` in Hz.
    """
    samples = max(segment, round(_LEAST_SECONDS * sample_rate))
    batches = []
    for song in songs:
        # a target in a stem of several sources leaves nothing to compare with
        chosen = []
        for source in sources:
            found = [r for r in song if source in r.sources and r.active]
            alone = len(found) == 1 and len(found[0].sources) == 1
            chosen.append(found[0] if alone else None)
        if not any(chosen):
            continue
        length = max(recording.waveform.shape[1] for recording in song)
        count = min(_EXCERPTS, max(length // samples, 1))
        starts = np.linspace(0, max(length - samples, 0), count).astype(int)
        targets = np.zeros((count, len(sources), 2, samples), np.float32)
        remainder = np.zeros((count, 2, samples), np.float32)
        for row, start in enumerate(starts):
            for recording in song:
                wave = recording.excerpt(int(start), samples)
                if recording in chosen:
                    targets[row, chosen.index(recording)] += wave
                else:
                    remainder[row] += wave
        bandwidth = [0.0 if recording is None else recording.bandwidth for recording in chosen]
        bandwidths = np.tile(np.array(bandwidth, np.float32), (count, 1))
        batches.append(Batch(*map(torch.from_numpy, (targets, remainder, bandwidths))))
    return batches


@torch.inference_mode()
def validate(
    network: TrainableNetwork,
    sources: Sequence[str],
    batches: Sequence[Batch],
    device: torch.device,
) -> dict[str, float]:
    """For each target the mean over songs of the raw estimate's SDR in dB.

    SDR is ten times the logarithm of source energy over error energy, over all excerpts of a song
    and all channels. Targets that no song has are left out.
    """
    ready = network.for_use()
    ready.eval()
    scores: dict[str, list[float]] = {source: [] for source in sources}
    for batch in batches:
        moved = batch.to(device)
        estimates = ready.separate(moved.mixture)
        over = (0, 2, 3)
        signals = moved.targets.square().sum(over)
        errors = (estimates - moved.targets).square().sum(over)
        for number, source in enumerate(sources):
            if batch.bandwidth[0, number] > 0:
                ratio = max(float(signals[number]), 1e-9) / max(float(errors[number]), 1e-9)
                scores[source].append(10 * math.log10(ratio))
    network.train()
    return {source: float(np.mean(found)) for source, found in scores.items() if found}
