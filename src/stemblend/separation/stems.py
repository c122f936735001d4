"""Separated stems in memory."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from stemblend.audio import StemWriter


class Stems(Mapping[str, Float32[np.ndarray, "channels samples"]]):
    """Waveforms by name of the stem, all of one shape and sample rate.

    Attributes:
        sample_rate: in Hz.
        lost_seconds: how much of a damaged file could not be read, and is not in the stems.
    """

    def __init__(
        self,
        waveforms: Mapping[str, Float32[np.ndarray, "channels samples"]],
        sample_rate: int,
        lost_seconds: float = 0.0,
    ) -> None:
        self._waveforms = dict(waveforms)
        self.sample_rate = sample_rate
        self.lost_seconds = lost_seconds

    def __getitem__(self, name: str) -> Float32[np.ndarray, "channels samples"]:
        return self._waveforms[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._waveforms)

    def __len__(self) -> int:
        return len(self._waveforms)

    def __repr__(self) -> str:
        channels, samples = next(iter(self.values())).shape
        return (
            f"<Stems {', '.join(self)}: {channels} channels, "
            f"{samples / self.sample_rate:.2f} s at {self.sample_rate} Hz>"
        )

    def save(
        self,
        folder: str | Path,
        *,
        format: str = "wav",
        bit_depth: int | None = None,
        bitrate: int | None = None,
        overwrite: bool = False,
    ) -> float:
        """Write every stem to `folder/<name>.<format>`, all of them or none.

        Args:
            folder: is made if it is missing.
            format: "wav", "flac", "ogg" or "mp3".
            bit_depth: 16, 24 or 32 (float, the default) for wav, 16 or 24 for flac.
            bitrate: in kbit/s, for ogg and mp3.
            overwrite: replace files of an earlier run.

        Returns:
            The one gain that all stems were multiplied by so that none clips; 1.0 if none would,
            and always for 32-bit wav.

        Raises:
            AudioError: if the folder cannot be written, a file is there already, or the format
                cannot hold the stems.
        """
        channels = next(iter(self.values())).shape[0]
        with StemWriter(
            folder,
            list(self),
            self.sample_rate,
            channels,
            format=format,
            bit_depth=bit_depth,
            bitrate=bitrate,
            overwrite=overwrite,
        ) as writer:
            writer.write(np.stack(list(self.values())))
        return writer.gain
