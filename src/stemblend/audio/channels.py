"""The order of loudspeakers: wav's everywhere inside, Vorbis' and Opus' own in ogg files."""

import numpy as np
from jaxtyping import Shaped

# Vorbis I specification, section 4.3.9 (RFC 7845, section 5.1.1.2 for Opus): for so many channels,
# where each channel of the wav order (left, right, centre, LFE, back, side) stands in an ogg file
_PLACE_IN_OGG = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 5, 3, 4),
    7: (0, 2, 1, 6, 5, 3, 4),
    8: (0, 2, 1, 7, 5, 6, 3, 4),
}


def from_vorbis_order(
    waveform: Shaped[np.ndarray, "channels samples"],
) -> Shaped[np.ndarray, "channels samples"]:
    """Put the channels of an ogg file in the order of wav files; 1, 2, 4 and over 8 stay."""
    places = _PLACE_IN_OGG.get(len(waveform))
    return waveform if places is None else waveform[list(places)]


def to_vorbis_order(
    waveform: Shaped[np.ndarray, "channels samples"],
) -> Shaped[np.ndarray, "channels samples"]:
    """Put channels in wav order in the order of ogg files, the inverse of `from_vorbis_order`."""
    places = _PLACE_IN_OGG.get(len(waveform))
    return waveform if places is None else waveform[np.argsort(places)]
