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
