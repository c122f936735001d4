import json

import numpy as np
import soundfile
from safetensors import safe_open
from typer.testing import CliRunner

from stemblend.cli import app
from stemblend.interfaces import SOURCES

RATE = 8000


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_an_fnn_is_trained_layer_by_layer_by_one_command_and_one_file(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(2):
        for source in SOURCES:
            path = tmp_path / f"songs/{number}/{source}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * rng.standard_normal((RATE, 2)), RATE)
    config = tmp_path / "run.toml"
    config.write_text(
        'method = "fnn"\nsources = ["bass"]\n[system]\nlayers = 2\ncontext = 1\nn_fft = 64\n'
        f"hop = 32\nsample_rate = {RATE}\n[learning.layerwise]\nsamples = 100\n"
        "layer_iterations = 2\n"
        f'final_iterations = 1\n[[data]]\npath = "{tmp_path / "songs"}"\nvalidation = ["1"]\n'
    )
    result = run("train", tmp_path / "run", "--config", config)
    assert result.exit_code == 0, result.output
    assert "best validation SDR" in result.output
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [entry["layers"] for entry in log] == [1, 1, 1, 2, 2, 2, 2]
    with safe_open(tmp_path / "run/weights.safetensors", "pt") as file:
        assert json.loads(file.metadata()["training"])["learning"]["layerwise"]["samples"] == 100
    refused = run("train", tmp_path / "run", "--config", config, "--steps", 5)
    assert "--steps counts mini-batches" in str(refused.exception)
    text = config.read_text().replace('"fnn"', '"blstm"')
    config.write_text(text.replace("context = 1\n", ""))
    refused = run("train", tmp_path / "run", "--config", config)
    assert "[learning]" in str(refused.exception)
    assert "layerwise" in str(refused.exception)
