import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

from tests.small import write_songs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what is slow, so that no process still works on it when the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def museval() -> ModuleType:
    """museval's metrics alone: its package does not import without an ffmpeg program."""
    package = importlib.util.find_spec("museval")
    if package is None or not package.submodule_search_locations:
        pytest.skip("museval is not installed")
    path = Path(package.submodule_search_locations[0]) / "metrics.py"
    spec = importlib.util.spec_from_file_location("museval_metrics", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Three short songs of noise."""
    return write_songs(tmp_path / "songs", 3)


@pytest.fixture
def corpus() -> Path:
    place = Path(__file__).parents[2] / "shared" / "corpus"
    path = Path(os.environ.get("STEMBLEND_CORPUS", place))
    if not (path / "manifest.json").exists():
        pytest.skip("there is no corpus")
    return path


_USERS_MODULE = '''
import numpy as np


class Centre:
    """What left and right have in common is the piano."""

    sources = ("piano", "rest")
    sample_rate = 44100
    block_support = None

    def __init__(self, gain=1.0):
        self.gain = gain

    def estimate(self, mixture, sources=None):
        centre = self.gain * np.repeat(mixture.mean(0, keepdims=True), len(mixture), 0)
        stems = {"piano": centre, "rest": mixture - centre}
        return np.stack([stems[s] for s in sources or self.sources]).astype(np.float32)


class Loudness:
    sample_rate = 44100

    def analyse(self, waveform):
        from stemblend.interfaces import Tags
        return Tags({"loud": float(np.abs(waveform).max())})
'''


@pytest.fixture
def package(tmp_path, monkeypatch) -> str:
    """A user's own module, and an installed package with entry points for its classes."""
    site = tmp_path / "site"
    meta = site / "centre_piano-1.0.dist-info"
    meta.mkdir(parents=True)
    (site / "centre_piano.py").write_text(_USERS_MODULE)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: centre-piano\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text(
        "[stemblend.separators]\ncentre = centre_piano:Centre\n"
        "[stemblend.analysers]\nloudness = centre_piano:Loudness\n"
    )
    monkeypatch.syspath_prepend(str(site))
    return str(site)
