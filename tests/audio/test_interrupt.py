import os
import signal
import threading
import time

import numpy as np
import pytest
import soundfile

from stemblend.audio import open_audio


@pytest.mark.parametrize("name", ["song.wav", "song.flac", "song.ogg"])
def test_an_interrupt_while_decoding_is_never_lost(tmp_path, name):
    path = tmp_path / name
    noise = np.random.default_rng(0).standard_normal((10 * 44100, 2)).astype(np.float32)
    soundfile.write(path, 0.1 * noise, 44100)
    for milliseconds in range(10, 20):
        timer = threading.Timer(milliseconds / 1000, os.kill, (os.getpid(), signal.SIGINT))
        end = time.monotonic() + 1
        with open_audio(path) as reader, pytest.raises(KeyboardInterrupt):  # noqa: PT012
            timer.start()
            while time.monotonic() < end:
                for _ in reader.blocks(4096):
                    pass
