import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import ShortTimeFFT, get_window

from stemblend.spectral import STFT, stft

SETTINGS = [(1024, 512, "hann"), (1024, 256, "hann"), (600, 250, "hamming"), (64, 64, "boxcar")]


def noise(*shape: int, dtype: type[np.floating] = np.float64) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(dtype)


@pytest.mark.parametrize(("n_fft", "hop", "window"), SETTINGS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-6)])
@settings(deadline=None)
@given(samples=st.integers(0, 3000))
def test_reconstruction_is_perfect_at_every_length(n_fft, hop, window, dtype, tolerance, samples):
    transform = STFT(n_fft, hop, window)
    waveform = noise(2, samples, dtype=dtype)
    spectrogram = transform.forward(waveform)
    assert spectrogram.shape == (2, transform.bins, transform.frames(samples))
    result = transform.inverse(spectrogram, samples)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, waveform, rtol=0, atol=tolerance)


@pytest.mark.parametrize("samples", [1, 2, 511, 512, 513, 1023, 1024, 1025])
def test_reconstruction_is_perfect_where_a_frame_begins_or_ends(samples):
    waveform = noise(samples)
    result = STFT().inverse(STFT().forward(waveform), samples)
    np.testing.assert_allclose(result, waveform, rtol=0, atol=1e-12)


@pytest.mark.parametrize("hop", [512, 256, 128])
def test_frames_are_those_of_scipy(hop):
    waveform = noise(2, 5000)
    reference = ShortTimeFFT(
        np.asarray(get_window("hann", 1024)), hop, fs=1, fft_mode="onesided", phase_shift=None
    )
    result = STFT(1024, hop).forward(waveform)
    # scipy has the same number of frames, too: all that hold any sample
    np.testing.assert_allclose(result, np.asarray(reference.stft(waveform)), rtol=0, atol=1e-11)


@pytest.mark.parametrize(("n_fft", "hop", "window"), SETTINGS)
def test_a_frame_is_the_spectrum_of_windowed_samples(n_fft, hop, window):
    waveform = noise(4000)
    result = STFT(n_fft, hop, window).forward(waveform)
    silence = np.zeros(n_fft)
    padded = np.concatenate([silence, waveform, silence])
    for m in range(result.shape[-1]):
        start = (m + 1) * hop - n_fft + len(silence)
        frame = padded[start : start + n_fft] * get_window(window, n_fft)
        np.testing.assert_allclose(result[:, m], np.fft.rfft(frame), rtol=0, atol=1e-11)


def test_a_full_scale_sine_peaks_at_half_the_windows_sum():
    phase = 2 * np.pi * 100 / 1024 * np.arange(8192)
    magnitude = np.abs(STFT().forward(np.sin(phase)))[:, 1:-1]
    expected = np.zeros(513)
    # the Hann window sums to 512, and its spectrum has three lines
    expected[[99, 100, 101]] = 128, 256, 128
    np.testing.assert_allclose(magnitude, np.tile(expected[:, None], 15), rtol=0, atol=1e-9)


def test_energy_is_that_of_the_windowed_signal():
    waveform = noise(10000)
    power = np.abs(STFT(1024, 256).forward(waveform)) ** 2
    both_sides = 2 * power.sum() - power[[0, -1]].sum()
    # at three quarters of overlap the squared Hann windows add up to 3/2
    np.testing.assert_allclose(both_sides / 1024, 1.5 * (waveform**2).sum(), rtol=1e-12)


def test_a_part_of_a_song_has_the_frames_of_the_song():
    waveform = noise(2, 512 * 30)
    whole = STFT().forward(waveform)
    part = STFT().forward(waveform[:, 512 * 10 : 512 * 20])
    np.testing.assert_allclose(part[..., 1:-1], whole[..., 11:20], rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [1, 3, 20])
def test_blocks_do_not_change_the_result(monkeypatch, size):
    waveform = noise(3, 5000)
    spectrogram = STFT(1024, 256).forward(waveform)
    monkeypatch.setattr(stft, "_BLOCK", 1024 * size)
    blocks = STFT(1024, 256).forward(waveform)
    np.testing.assert_allclose(blocks, spectrogram, rtol=0, atol=1e-12)
    result = STFT(1024, 256).inverse(blocks, 5000)
    np.testing.assert_allclose(result, waveform, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 3), (2, 0, 3)])
@pytest.mark.parametrize("samples", [0, 700])
def test_leading_axes_are_kept(shape, samples):
    waveform = noise(*shape, samples)
    spectrogram = STFT().forward(waveform)
    assert spectrogram.shape == (*shape, 513, STFT().frames(samples))
    assert spectrogram.dtype == np.complex128
    result = STFT().inverse(spectrogram, samples)
    assert result.shape == waveform.shape
    np.testing.assert_allclose(result, waveform, rtol=0, atol=1e-12)


def test_torch_in_torch_out_and_memory_order_does_not_matter():
    waveform = noise(2, 3000, dtype=np.float32)
    spectrogram = STFT().forward(torch.from_numpy(waveform))
    np.testing.assert_array_equal(spectrogram.numpy(), STFT().forward(waveform))
    result = STFT().inverse(spectrogram.contiguous(), 3000)
    np.testing.assert_array_equal(result.numpy(), STFT().inverse(spectrogram.numpy(), 3000))


def test_inputs_are_not_modified():
    waveform = noise(3000)
    waveform.flags.writeable = False
    spectrogram = STFT().forward(waveform)
    kept = spectrogram.copy()
    STFT().inverse(spectrogram, 3000)
    np.testing.assert_array_equal(spectrogram, kept)


def test_gradients_pass_through():
    waveform = torch.from_numpy(noise(700)).requires_grad_()
    transform = STFT(64, 32)
    transform.inverse(2 * transform.forward(waveform), 700).sum().backward()
    assert waveform.grad is not None
    np.testing.assert_allclose(waveform.grad, np.full(700, 2.0), rtol=1e-12)


@pytest.mark.parametrize("samples", [2487, 3512])
def test_a_length_that_does_not_belong_to_the_spectrogram_is_named(samples):
    spectrogram = STFT().forward(noise(3000))
    with pytest.raises(ValueError, match=f"{samples} samples have .* not \\(513, 7\\)"):
        STFT().inverse(spectrogram, samples)


@pytest.mark.parametrize(("n_fft", "hop"), [(0, 1), (1023, 512), (1024, 0), (1024, 1025)])
def test_bad_sizes_are_named(n_fft, hop):
    with pytest.raises(ValueError, match=f"not n_fft={n_fft}, hop={hop}"):
        STFT(n_fft, hop)


def test_a_window_that_leaves_samples_out_is_refused():
    with pytest.raises(
        ValueError, match="'hann' window of 1024 cannot be inverted at a hop of 1024"
    ):
        STFT(1024, 1024)
