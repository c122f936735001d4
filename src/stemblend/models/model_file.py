"""What model files say: one grammar for every system.

    method = "blstm"                     # a system, an entry point, or "mypackage.mymodule:MyClass"
    summary = "BLSTM with two layers"
    licence = "CC BY-NC-SA 4.0"
    training_data = "..."
    use = "non-commercial"
    filter = "mwf"                       # unless it is the method's own
    sources = ["vocals", "drums"]        # in the model's order; may be left out where clear

    [options]                            # of the method; its own schema validates them

    [weights]                            # what a file is for, and the file beside this one
    vocals = "blstm-vocals.safetensors"
    drums = "blstm-drums.safetensors"

    [sha256]
    "blstm-vocals.safetensors" = "..."

    [scores."3 test songs, mean SDR"]    # SDR in dB by set of songs and source
    vocals = 4.3

A blend has members, shipped models or paths of model files, with a weight for each source:

    method = "blend"

    [members.fnn]
    vocals = 0.3

    [members."mine.toml"]
    vocals = 0.7

Files of version 0.1 are read as well, see `stemblend.models.version_0_1`.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from stemblend.errors import ModelError
from stemblend.models.version_0_1 import upgraded
from stemblend.util.files import replacing


class ModelFile(BaseModel):
    """The contents of a model file.

    Attributes:
        method: name of the method, see `stemblend.models.methods`.
        summary: one line that says what the model is.
        licence: of the weights.
        training_data: what the weights learned from.
        use: what the weights may be used for.
        filter: what the model is used with unless the user asks for another filter; empty for the
            method's own.
        sources: those that the model estimates, in its order; empty where the method or the
            members tell.
        options: of the method.
        weights: weight files by what they are for, beside the model file.
        members: of a blend, each with its weight by source.
        sha256: digest of each weight file; a file that differs is refused.
        scores: SDR in dB by set of songs and source.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    summary: str = ""
    licence: str = ""
    training_data: str = ""
    use: str = ""
    filter: str = ""
    sources: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    weights: dict[str, str] = {}
    members: dict[str, dict[str, float]] = {}
    sha256: dict[str, str] = {}
    scores: dict[str, dict[str, float]] = {}


def read_model_file(path: Path) -> ModelFile:
    """Read a model file of this version or the last.

    Raises:
        ModelError: if it cannot be read or is no model file.
    """
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"{path} is no readable model file ({error}); name another") from error
    try:
        return ModelFile.model_validate(upgraded(values, path))
    except ValidationError as error:
        raise ModelError(f"{path} is no model file: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """The first of pydantic's findings: where it is, and what is wrong."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def write_model_file(path: Path, file: ModelFile) -> None:
    """Write a model file, atomically.

    Raises:
        ModelError: if it cannot be written.
    """
    write_text(path, to_toml(file.model_dump(mode="json", exclude_defaults=True)))


def write_text(path: Path, text: str) -> None:
    """Write a text file beside a model, atomically.

    Raises:
        ModelError: if it cannot be written.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_text(text)
    except OSError as error:
        raise ModelError(f"{path} cannot be written ({error.strerror}); name another") from error


def to_toml(values: Mapping[str, Any]) -> str:
    """Write values and tables of any depth as TOML; no value may be None."""

    def lines(entries: Mapping[str, Any], name: str) -> list[str]:
        tables = {key: value for key, value in entries.items() if isinstance(value, Mapping)}
        plain = [
            f"{_key(key)} = {_value(value)}" for key, value in entries.items() if key not in tables
        ]
        header = [f"\n[{name}]"] if name and (plain or not tables) else []
        below = [
            line
            for key, table in tables.items()
            for line in lines(table, f"{name}.{_key(key)}" if name else _key(key))
        ]
        return [*header, *plain, *below]

    return "\n".join(lines(values, "")) + "\n"


def _key(name: str) -> str:
    is_bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if is_bare else _value(name)


def _value(value: Any) -> str:
    """Strings, numbers and arrays of these are written as in JSON."""
    return json.dumps(value, ensure_ascii=False)
