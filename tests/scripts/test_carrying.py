"""The scripts that carry training to another machine, run as one would."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from stemblend.models.networks import load_network
from tests.small import write_songs

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_packed_songs_come_out_as_they_went_in(tmp_path):
    songs = write_songs(tmp_path / "songs", 3)
    (songs / "linked").symlink_to(songs / "song 0")
    (songs / "test").mkdir()
    (songs / "test/secret.wav").write_bytes(b"not for training")
    parts = tmp_path / "parts"
    packed = run("pack_data.py", "pack", parts, songs, "--mebibytes", 0.4, "--exclude", "test/*")
    assert packed.returncode == 0, packed.stderr
    sizes = [part.stat().st_size for part in parts.glob("*.tar")]
    assert len(sizes) > 1
    assert max(sizes) <= 0.4 * 2**20
    assert run("pack_data.py", "unpack", parts, tmp_path / "out").returncode == 0
    out = tmp_path / "out/songs"
    assert {path.name for path in out.iterdir()} == {"song 0", "song 1", "song 2", "linked"}
    for file in songs.glob("*/*.wav"):
        if file.parent.name != "test":
            assert (out / file.relative_to(songs)).read_bytes() == file.read_bytes()
    first = next(parts.glob("*.tar"))
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    damaged = run("pack_data.py", "unpack", parts, tmp_path / "again")
    assert damaged.returncode != 0
    assert first.name in damaged.stderr
    assert not (tmp_path / "again").exists()


def test_a_file_larger_than_a_part_is_named(tmp_path):
    folder = tmp_path / "songs"
    folder.mkdir()
    (folder / "long.wav").write_bytes(np.zeros(200_000, np.uint8).tobytes())
    packed = run("pack_data.py", "pack", tmp_path / "parts", folder, "--mebibytes", 0.1)
    assert packed.returncode != 0
    assert "long.wav" in packed.stderr
    assert not (tmp_path / "parts").exists()


def test_sources_train_side_by_side_and_go_on(tmp_path):
    songs = write_songs(tmp_path / "songs", 2)
    config = tmp_path / "small.toml"
    config.write_text(
        'source = "vocals"\nsteps = 4\nbatch = 2\nframes = 20\ncheckpoint_minutes = 0\n'
        '[network]\nkind = "blstm"\nlayers = 1\ncells = 4\nn_fft = 128\nhop = 64\n'
        f'sample_rate = 8000\n[[data]]\npath = "{songs}"\n'
    )
    words = [tmp_path / "runs", config, "--source", "vocals", "--source", "bass"]
    words += ["--device", "cpu", "--out", tmp_path / "weights", "--minutes", 5]
    for steps in (4, 6):
        config.write_text(config.read_text().replace("steps = 4", f"steps = {steps}"))
        done = run("train_side_by_side.py", *words)
        assert done.returncode == 0, done.stderr
        for source in ("vocals", "bass"):
            assert f"small-{source}: step {steps}" in done.stdout
            network = load_network(tmp_path / f"weights/small-{source}.safetensors")
            assert network.config.kind == "blstm"
    config.write_text(config.read_text().replace("steps = 6", "steps = 0"))
    broken = run("train_side_by_side.py", *words)
    assert broken.returncode != 0
    assert "small-vocals, small-bass failed" in broken.stderr
