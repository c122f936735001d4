"""Compressed weight files; plain ones are tested with the networks that they hold."""

import pytest
import torch

from stemblend.errors import ModelError
from stemblend.models.weights import read_tensors, write_tensors


def test_a_compressed_file_holds_what_a_plain_one_does(tmp_path):
    tensors = {"bases": torch.rand(40, 50) * (torch.rand(40, 50) > 0.9), "bias": torch.rand(7)}
    read = {}
    for name in ("plain.safetensors", "packed.safetensors.gz"):
        write_tensors(tmp_path / name, tensors, {"licence": "CC0"}, bits=8)
        read[name], metadata = read_tensors(tmp_path / name)
        assert metadata == {"licence": "CC0"}
    plain, packed = read.values()
    assert plain.keys() == packed.keys()
    assert all(torch.equal(plain[key], packed[key]) for key in plain)
    sizes = [(tmp_path / name).stat().st_size for name in read]
    assert sizes[1] < 0.5 * sizes[0]
    again = tmp_path / "again.safetensors.gz"
    write_tensors(again, tensors, {"licence": "CC0"}, bits=8)
    assert again.read_bytes() == (tmp_path / "packed.safetensors.gz").read_bytes()


@pytest.mark.parametrize("damage", ["cut", "changed", "no archive"])
def test_a_damaged_compressed_file_is_named(tmp_path, damage):
    path = tmp_path / "w.safetensors.gz"
    write_tensors(path, {"a": torch.rand(30, 30)}, {})
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "changed":
        content[len(content) // 2] ^= 255
    else:
        content = bytearray(b"no archive")
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"w\.safetensors\.gz is damaged"):
        read_tensors(path)
    with pytest.raises(ModelError, match=r"none\.safetensors\.gz is missing"):
        read_tensors(tmp_path / "none.safetensors.gz")
