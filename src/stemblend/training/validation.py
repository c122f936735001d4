"""Scores on songs that a network does not learn from, and the transform of mini-batches."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stemblend.mixing.batch import Batch
from stemblend.mixing.collections import Songs
from stemblend.models.networks import Network
from stemblend.separators.fnn.network import FNN
from stemblend.spectral import STFT
from stemblend.training.config import TrainingConfig
from stemblend.training.objective import band_mask, spectral_sdr

_VALIDATION_EXCERPTS = 12
"""Excerpts of a validation song, evenly spaced; a short song has fewer."""


def excerpt_samples(config: TrainingConfig) -> int:
    """Samples of an excerpt, so that it has the configured frames and an FNN's context."""
    reach = config.network.reach if config.network.kind == "fnn" else 0
    return (config.frames + 2 * reach - 1) * config.network.hop


def validation_batches(config: TrainingConfig, songs: Songs) -> list[Batch]:
    """One batch a song that has a target: evenly spaced excerpts of the song as it is."""
    samples = excerpt_samples(config.model_copy(update={"frames": max(config.frames, 250)}))
    batches = []
    for song in songs:
        # a target in a stem of several sources leaves nothing to compare with
        wanted = [
            [r for r in song if target in r.sources and r.active] for target in config.targets
        ]
        known = [len(found) == 1 and len(found[0].sources) == 1 for found in wanted]
        if not any(known):
            continue
        length = max(recording.waveform.shape[1] for recording in song)
        count = min(_VALIDATION_EXCERPTS, max(length // samples, 1))
        starts = np.linspace(0, max(length - samples, 0), count).astype(int)
        targets = np.zeros((count, len(known), 2, samples), np.float32)
        rest = np.zeros((count, 2, samples), np.float32)
        chosen = [
            found[0] if is_known else None for found, is_known in zip(wanted, known, strict=True)
        ]
        for row, start in enumerate(starts):
            for recording in song:
                wave = recording.excerpt(int(start), samples)
                if recording in chosen:
                    targets[row, chosen.index(recording)] += wave
                else:
                    rest[row] += wave
        bandwidth = [0.0 if recording is None else recording.bandwidth for recording in chosen]
        bandwidths = np.tile(np.array(bandwidth, np.float32), (count, 1))
        batches.append(Batch(targets, rest, bandwidths, np.full(count, np.inf, np.float32)))
    return batches


def transform(
    batch: Batch,
    stft: STFT,
    rate: int,
    device: torch.device,
    gains: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Spectrograms of a mini-batch.

    Args:
        batch: the excerpts.
        stft: the network's transform.
        rate: sample rate in Hz.
        device: where to compute.
        gains: factors `(batch * targets, bins)` of an equaliser for each target.

    Returns:
        Mixtures `(batch, channels, bins, frames)`, targets `(batch, targets, channels, bins,
        frames)`, and the bandwidths `(batch, targets)` of the batch.
    """
    waves, rest = (torch.from_numpy(w).to(device) for w in (batch.targets, batch.rest))
    if gains is None:
        mixture = stft.forward(waves.sum(1) + rest)
        targets = stft.forward(waves)
    else:
        targets = stft.forward(waves)
        targets = targets * gains.view(*targets.shape[:2], 1, -1, 1).to(device)
        mixture = targets.sum(1) + stft.forward(rest)
    if np.isfinite(batch.cutoff).any():
        kept = band_mask(torch.from_numpy(batch.cutoff).to(device), rate, stft.bins)
        mixture = mixture * kept[:, None, :, None]
        targets = targets * kept[:, None, None, :, None]
    return mixture, targets, torch.from_numpy(batch.bandwidth).to(device)


def validate(
    network: Network, targets: Sequence[str], batches: Sequence[Batch], device: torch.device
) -> dict[str, float]:
    """For each target the mean over songs of the raw estimate's SDR in dB."""
    frozen = network.folded() if isinstance(network, FNN) else network
    frozen.eval()
    scores: dict[str, list[float]] = {target: [] for target in targets}
    with torch.inference_mode():
        for batch in batches:
            mixture, truth, bandwidth = transform(
                batch, network.config.stft, network.config.sample_rate, device
            )
            energies = zip(*spectral_sdr(frozen, mixture, truth), bandwidth[0], strict=True)
            for target, (signal, error, known) in zip(targets, energies, strict=True):
                if known > 0:
                    ratio = max(float(signal), 1e-9) / max(float(error), 1e-9)
                    scores[target].append(10 * math.log10(ratio))
    network.train()
    return {target: float(np.mean(found)) for target, found in scores.items() if found}
