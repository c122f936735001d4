import numpy as np
import soundfile
from tests.small import RATE

from stemblend.datasets.folder import find_tracks
from stemblend.mixing.recordings import decode_tracks


def test_decoding_is_cached_and_keeps_the_samples(songs, tmp_path):
    tracks = find_tracks(songs)
    first = decode_tracks(tracks, RATE, tmp_path / "cache")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()}
    decode_tracks(tracks, RATE, tmp_path / "cache")
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()}
    recording = next(r for r in first[0] if r.sources == {"vocals"})
    wave, _ = soundfile.read(songs / "song 0/vocals.wav", dtype="float32", always_2d=True)
    np.testing.assert_array_equal(recording.waveform, wave.T)
    np.testing.assert_array_equal(recording.excerpt(-5, 20)[:, 5:], wave.T[:, :15])
    assert recording.bandwidth == RATE / 2
    assert recording.active_frames.min() == 5  # the first half second is silent
