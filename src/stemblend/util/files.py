"""Files and folders that appear whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a new file beside `path` that takes its place if nothing is raised.

    Args:
        path: the file to write; its folder exists.

    Yields:
        A path to write to; after an error it is removed, and `path` is as it was.
    """
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix, delete=False
    ) as file:
        temporary = Path(file.name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a hidden folder beside `path` that becomes `path` if nothing is raised.

    Args:
        path: the folder to make; the one that it lies in exists, it itself does not.

    Yields:
        A folder to write into; after an error it is removed with all that is in it.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        whole = Path(scratch) / "whole"
        whole.mkdir()
        yield whole
        whole.rename(path)


def write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and strings to a safetensors file, atomically.

    Args:
        path: the file.
        tensors: by name; any shapes.
        metadata: strings by name.
    """
    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with replacing(path) as temporary:
        save_file(contiguous, temporary, metadata)
