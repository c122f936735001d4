"""Mixing effects: equaliser, room, echo, saturation, compressor.

Some draw their own parameters, since for training only variety matters.
"""

import numpy as np
from jaxtyping import Float, Float32
from scipy.signal import oaconvolve, sosfilt

_ENVELOPE_HOP = 128


def loudness(audio: Float32[np.ndarray, "channels samples"], sample_rate: int) -> float:
    """RMS of the 100 ms frames, at `sample_rate` Hz, within 20 dB of the loudest; 0 for silence."""
    size = min(sample_rate // 10, audio.shape[1])
    frames = audio[:, : audio.shape[1] // size * size].reshape(audio.shape[0], -1, size)
    power = np.einsum("cfn,cfn->f", frames, frames, optimize=False) / (audio.shape[0] * size)
    return float(np.sqrt(power[power >= 1e-2 * power.max()].mean()))


def biquad(
    shape: str, frequency: float, gain_db: float, q: float, rate: int
) -> Float[np.ndarray, "1 6"]:
    """Second-order section `(1, 6)` of an equaliser or filter.

    After R. Bristow-Johnson, "Cookbook formulae for audio equalizer biquad filter coefficients".

    Args:
        shape: `peak`, `low` (shelf), `high` (shelf), `lowpass` or `highpass`.
        frequency: centre, midpoint or cutoff in Hz, limited to 0.45 of the sample rate.
        gain_db: gain of peaks and shelves in dB.
        q: quality factor, above 0.
        rate: sample rate in Hz.
    """
    a = 10 ** (gain_db / 40)
    omega = 2 * np.pi * min(frequency, 0.45 * rate) / rate
    cos, alpha = np.cos(omega), np.sin(omega) / (2 * q)
    root = 2 * np.sqrt(a) * alpha
    if shape == "peak":
        b = [1 + alpha * a, -2 * cos, 1 - alpha * a]
        d = [1 + alpha / a, -2 * cos, 1 - alpha / a]
    elif shape in ("lowpass", "highpass"):
        sign = 1 if shape == "lowpass" else -1
        b = [(1 - sign * cos) / 2, sign * (1 - sign * cos), (1 - sign * cos) / 2]
        d = [1 + alpha, -2 * cos, 1 - alpha]
    else:
        s = 1 if shape == "low" else -1
        plus, minus = a + 1, a - 1
        b = [
            a * (plus - s * minus * cos + root),
            s * 2 * a * (minus - s * plus * cos),
            a * (plus - s * minus * cos - root),
        ]
        d = [
            plus + s * minus * cos + root,
            -s * 2 * (minus + s * plus * cos),
            plus + s * minus * cos - root,
        ]
    return np.array([[*b, *d]]) / d[0]


def equalise(
    audio: Float32[np.ndarray, "channels samples"], sections: list[Float[np.ndarray, "1 6"]]
) -> Float32[np.ndarray, "channels samples"]:
    """Filter a waveform `(channels, samples)` with second-order sections."""
    return np.asarray(sosfilt(np.concatenate(sections).astype(np.float32), audio), np.float32)


def draw_bands(
    rng: np.random.Generator, rate: int, tilt_db: float = 0.0
) -> list[Float[np.ndarray, "1 6"]]:
    """Draw a low shelf, a peak and a high shelf with gains of a few dB.

    Args:
        rng: draws frequencies and gains, with standard deviations of 3 dB.
        rate: sample rate in Hz.
        tilt_db: mean gain of the high shelf; half of it is added to its standard deviation.
    """
    return [
        biquad("low", rng.uniform(80, 300), rng.normal(0, 3), 0.7, rate),
        biquad("peak", 10 ** rng.uniform(2.3, 3.7), rng.normal(0, 3), 0.8, rate),
        biquad("high", rng.uniform(1200, 6000), rng.normal(tilt_db, 3 + tilt_db / 2), 0.7, rate),
    ]


def add_room(
    audio: Float32[np.ndarray, "2 samples"], rng: np.random.Generator, rate: int, wet_db: float
) -> Float32[np.ndarray, "2 samples"]:
    """Add reverberation: exponentially decaying band-passed noise, independent in each channel.

    Args:
        audio: waveform `(2, samples)`.
        rng: draws reverberation time, predelay and noise.
        rate: sample rate in Hz.
        wet_db: level of the reverberation relative to the dry sound in dB.
    """
    seconds = float(np.exp(rng.uniform(np.log(0.12), np.log(1.8))))
    size = int(0.7 * seconds * rate)
    decay = np.exp(-6.9 / (seconds * rate) * np.arange(size))
    response = (rng.standard_normal((2, size)) * decay).astype(np.float32)
    response *= 10 ** (wet_db / 20) / np.sqrt(np.square(response).sum(axis=1, keepdims=True))
    bright = 10 ** rng.uniform(3.2, 4.0)
    response = equalise(
        response,
        [
            biquad("highpass", rng.uniform(100, 300), 0, 0.7, rate),
            biquad("lowpass", bright, 0, 0.6, rate),
        ],
    )
    delay = int(rng.uniform(0.0, 0.03) * rate)
    wet = oaconvolve(audio, response, axes=1)[:, : max(0, audio.shape[1] - delay)]
    mixed = audio.copy()
    mixed[:, delay : delay + wet.shape[1]] += wet
    return mixed


def echo(
    dry: Float[np.ndarray, "channels samples"],
    delay: int,
    gain: float,
    repeats: int,
    cross: bool = False,
) -> Float[np.ndarray, "channels samples"]:
    """The repeats of a sound, without the sound itself.

    Args:
        dry: the sound, `(channels, samples)`.
        delay: samples between repeats, at least 1.
        gain: of each repeat relative to the one before.
        repeats: their number.
        cross: whether the channels are swapped from repeat to repeat (ping-pong delay).

    Returns:
        The repeats, `(channels, samples)`, cut at the end of the sound.
    """
    wet = np.zeros_like(dry)
    repeat = dry
    for number in range(1, repeats + 1):
        first = number * delay
        if first >= dry.shape[1]:
            break
        repeat = repeat[::-1] if cross else repeat
        wet[:, first:] += np.float32(gain**number) * repeat[:, : dry.shape[1] - first]
    return wet


def narrow(
    audio: Float32[np.ndarray, "2 samples"], width: float
) -> Float32[np.ndarray, "2 samples"]:
    """Scale the side signal of a stereo waveform `(2, samples)` by `width`; 0 gives mono."""
    middle = audio.mean(axis=0)
    return middle + np.float32(width) * (audio - middle)


def saturate(
    audio: Float32[np.ndarray, "channels samples"], drive_db: float
) -> Float32[np.ndarray, "channels samples"]:
    """Saturate a waveform by `tanh`, keeping its peak.

    Args:
        audio: waveform `(channels, samples)`.
        drive_db: level of the peak at the input of `tanh` in dB.
    """
    peak = float(np.abs(audio).max(initial=0.0))
    if peak == 0:
        return audio
    drive = np.float32(10 ** (drive_db / 20))
    return np.tanh(audio * (drive / np.float32(peak))) * np.float32(peak / np.tanh(drive))


def compress(
    audio: Float32[np.ndarray, "channels samples"], rng: np.random.Generator, rate: int
) -> Float32[np.ndarray, "channels samples"]:
    """Feed-forward compressor with a threshold near the signal's loudness.

    The gain follows Giannoulis, Massberg and Reiss, "Digital dynamic range compressor design"
    (JAES 60, 2012): hard knee, level detected in dB, attack and release smoothed on the gain.

    Args:
        audio: waveform `(channels, samples)`.
        rng: draws threshold, ratio, attack and release.
        rate: sample rate in Hz.
    """
    level = loudness(audio, rate)
    if level == 0:
        return audio
    threshold = 20 * np.log10(level) + rng.uniform(-4, 6)
    slope = 1 - 1 / rng.uniform(1.5, 5)
    hop = _ENVELOPE_HOP / rate
    attack = np.exp(-hop / rng.uniform(0.002, 0.03))
    release = np.exp(-hop / rng.uniform(0.05, 0.35))
    count = -(-audio.shape[1] // _ENVELOPE_HOP)
    padded = np.pad(np.abs(audio).max(axis=0), (0, count * _ENVELOPE_HOP - audio.shape[1]))
    peaks = padded.reshape(count, _ENVELOPE_HOP).max(axis=1)
    wanted = slope * np.maximum(20 * np.log10(np.maximum(peaks, 1e-6)) - threshold, 0)
    reduction, state = np.empty(count), 0.0
    for i, value in enumerate(wanted.tolist()):
        keep = attack if value > state else release
        state = keep * state + (1 - keep) * value
        reduction[i] = state
    gain = 10 ** (-reduction / 20)
    centres = (np.arange(count) + 0.5) * _ENVELOPE_HOP
    return audio * np.interp(np.arange(audio.shape[1]), centres, gain).astype(np.float32)
