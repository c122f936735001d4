"""What a user calls: a song in, stems out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from stemblend.audio import StemWriter, open_audio
from stemblend.defaults import MODEL
from stemblend.errors import AudioError
from stemblend.filters.table import find_filter
from stemblend.interfaces import Separator
from stemblend.models.registry import load, own_filter
from stemblend.separation.pipeline import separate_stream
from stemblend.separation.stem_plan import plan_stems
from stemblend.separation.stems import Stems

_BLOCK = 1 << 18

ProgressCallback = Callable[[float, float | None], None]
"""Called with the seconds separated so far, and the song's length in seconds if it is known."""


def _prepared(
    separator: Separator,
    stems: Sequence[str] | None,
    filter: str | None,
    progress: ProgressCallback | None,
) -> tuple[tuple[str, ...], Callable[..., Iterator[np.ndarray]]]:
    """Names of the stems, and what makes them of a song; all is checked before that is opened."""
    chosen = own_filter(separator) if filter is None else filter
    names = plan_stems(separator.sources, stems).names
    find_filter(chosen)

    def pieces(
        blocks: Iterable[np.ndarray], rate: int, channels: int, duration: float | None
    ) -> Iterator[np.ndarray]:
        done = 0
        for piece in separate_stream(blocks, rate, channels, separator, stems=stems, filter=chosen):
            yield piece
            done += piece.shape[-1]
            if progress is not None:
                progress(done / rate, duration)

    return names, pieces


def check_waveform(waveform: np.ndarray, sample_rate: int | None) -> np.ndarray:
    """The waveform as float32 `(channels, samples)`; a mono one may come without its axis.

    Raises:
        AudioError: if it has no or an impossible rate, is empty, of another shape, or holds NaN
            or infinity.
    """
    if sample_rate is None or not 8000 <= sample_rate <= 192000:
        raise AudioError(
            f"an array needs its sample_rate between 8000 and 192000 Hz, not {sample_rate}"
        )
    array = np.asarray(waveform)
    if np.issubdtype(array.dtype, np.integer):
        raise AudioError("an array of integers has no full scale; divide it into [-1, 1] first")
    array = np.atleast_2d(array).astype(np.float32)
    if array.ndim != 2 or array.size == 0:
        raise AudioError(
            f"an array of shape {np.shape(waveform)} is no waveform; use (channels, samples)"
        )
    if array.shape[0] > array.shape[1] and array.shape[0] > 64:
        raise AudioError(
            f"an array of shape {array.shape} has more channels than samples; transpose it to "
            "(channels, samples)"
        )
    if not np.isfinite(array).all():
        raise AudioError("the array holds NaN or infinity; repair it first")
    return array


def separate(
    song: str | Path | Float[np.ndarray, "channels samples"] | Float[np.ndarray, " samples"],
    sample_rate: int | None = None,
    model: str | Path | Separator = MODEL,
    stems: Sequence[str] | None = None,
    progress: ProgressCallback | None = None,
    *,
    filter: str | None = None,
) -> Stems:
    """Take a song apart.

    Args:
        song: an audio file, or a waveform `(channels, samples)` of floats in [-1, 1].
        sample_rate: of the waveform, in Hz; a file knows its own.
        model: name of a shipped model, path of a model file, or a separator that was loaded
            before. Loading once is faster for many songs.
        stems: which stems to make; None makes all sources. `accompaniment` is the song minus its
            vocals, `no_drums` that minus its drums, `bass+drums` a sub-mix, `rest` the song minus
            all others named. Fewer stems take less time.
        progress: called with the seconds done and the song's length in seconds.
        filter: one of `stemblend.filters.table.FILTERS`, such as "mwf" (multichannel Wiener
            filter) or "none" (raw stems, which need not sum to the song); None takes the model's
            own.

    Returns:
        The stems at the song's own rate, channel count and length.

    Raises:
        AudioError: if the song cannot be read.
        ModelError: if the model, a stem or the filter is unknown.

    Examples:
        >>> import numpy as np, stemblend
        >>> rng = np.random.default_rng(0)
        >>> song = rng.standard_normal((2, 44100)).astype(np.float32) / 10
        >>> stems = stemblend.separate(song, 44100)
        >>> stems
        <Stems vocals, bass, drums, other: 2 channels, 1.00 s at 44100 Hz>
        >>> bool(np.abs(sum(stems.values()) - song).max() < 1e-5)
        True
    """
    separator = load(model) if isinstance(model, str | Path) else model
    names, pieces = _prepared(separator, stems, filter, progress)
    if isinstance(song, str | Path):
        with open_audio(song) as audio:
            rate = audio.sample_rate
            made = list(pieces(audio.blocks(_BLOCK), rate, audio.channels, audio.duration))
            lost = audio.lost_seconds
    else:
        wave = check_waveform(song, sample_rate)
        assert sample_rate is not None
        rate, lost = sample_rate, 0.0
        made = list(pieces([wave], rate, wave.shape[0], wave.shape[1] / rate))
    joined = np.concatenate(made, axis=-1)
    return Stems(dict(zip(names, joined, strict=True)), rate, lost)


def separate_file(
    song: str | Path,
    folder: str | Path,
    separator: Separator,
    *,
    stems: Sequence[str] | None = None,
    filter: str | None = None,
    format: str = "wav",
    bit_depth: int | None = None,
    bitrate: int | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> tuple[float, float]:
    """Separate a file of any length into files, in memory that does not grow with the length.

    Args:
        song: an audio file.
        folder: gets `<stem>.<format>`, all of them or, after an error, none.
        separator: see `load`.
        stems: which stems to make, see `separate`.
        filter: see `separate`.
        format: "wav", "flac", "ogg" or "mp3".
        bit_depth: see `Stems.save`.
        bitrate: see `Stems.save`.
        overwrite: replace files of an earlier run.
        progress: see `separate`.

    Returns:
        The gain that all stems were multiplied by so that none clips (1.0 if none would), and
        the seconds of the file that were damaged and are not in the stems.

    Raises:
        AudioError: if the song cannot be read or the stems cannot be written.
        ModelError: if a stem or the filter is unknown.
    """
    names, pieces = _prepared(separator, stems, filter, progress)
    with open_audio(song) as audio:
        rate, channels = audio.sample_rate, audio.channels
        with StemWriter(
            folder,
            names,
            rate,
            channels,
            format=format,
            bit_depth=bit_depth,
            bitrate=bitrate,
            overwrite=overwrite,
        ) as writer:
            for piece in pieces(audio.blocks(_BLOCK), rate, channels, audio.duration):
                writer.write(piece)
        return writer.gain, audio.lost_seconds
