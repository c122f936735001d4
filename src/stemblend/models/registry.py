"""Models by their names: what ships with the package, what packages add, what users make.

A model is a small TOML file, see `stemblend.models.model_file`, or a method that needs no options.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from stemblend.defaults import MODEL
from stemblend.errors import ModelError
from stemblend.filters.table import find_filter
from stemblend.interfaces import Separator, in_order
from stemblend.models.methods import find_method, installed_methods
from stemblend.models.model_file import ModelFile, first_problem, read_model_file
from stemblend.separation.stem_plan import check_names
from stemblend.util.devices import check_device

_SHIPPED = Path(__file__).parents[1] / "pretrained"

OptionsT = TypeVar("OptionsT")


def own_filter(separator: Separator) -> str:
    """The filter that a separator is used with unless the user asks for another.

    Args:
        separator: may say so by an attribute `filter`; what `load` gives does.

    Returns:
        A name of `stemblend.filters.table.FILTERS`; "mwf" for a separator that says nothing.
    """
    return getattr(separator, "filter", "mwf")


class Model:
    """A model that can be loaded; nothing is read before it is needed.

    Attributes:
        name: what it is called by.
        path: of its model file; None for a method without one.
        inside: model files of the blends that it was found in.
    """

    def __init__(self, name: str, path: Path | None) -> None:
        self.name = name
        self.path = path
        self.inside: frozenset[Path] = frozenset()
        self._used: set[str] = set()

    @cached_property
    def file(self) -> ModelFile:
        """What the model file says.

        Raises:
            ModelError: if it cannot be read or is no model file.
        """
        return ModelFile(method=self.name) if self.path is None else read_model_file(self.path)

    @property
    def _folder(self) -> Path:
        return Path() if self.path is None else self.path.parent

    @property
    def members(self) -> dict[str, "Model"]:
        """Members of a blend: shipped models, or model files beside this one.

        Raises:
            ModelError: if there is no such model, or one contains itself.
        """
        found = {}
        for name in self.file.members:
            member = find_model(self._folder / name if name.endswith(".toml") else name)
            member.inside = self.inside | ({self.path.resolve()} if self.path else set())
            if member.path is not None and member.path.resolve() in member.inside:
                raise ModelError(f"the blend {member.path} contains itself; name other members")
            found[name] = member
        return found

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The sources that the model estimates, in the order in which it gives them."""
        if self.file.sources:
            return self.file.sources
        if self.file.members:
            members = self.members.values()
            return in_order(source for member in members for source in member.sources)
        return self.load().sources

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """All weight files that the model needs, those of its members included."""
        files = {self._folder / name: None for name in self.file.weights.values()}
        for member in self.members.values():
            files |= dict.fromkeys(member.weight_files)
        return tuple(files)

    @property
    def size(self) -> int:
        """Bytes of the weight files."""
        return sum(path.stat().st_size for path in self.weight_files if path.exists())

    def digest(self) -> str:
        """SHA-256 of all that the model is made of: its file, its weights and its members."""
        total = hashlib.sha256(self.file.model_dump_json().encode())
        for file in self.weight_files:
            total.update(file.read_bytes())
        for member in self.members.values():
            total.update(member.digest().encode())
        return total.hexdigest()

    def options(self, schema: type[OptionsT]) -> OptionsT:
        """The options of the model file, as the method's schema has them.

        Raises:
            ModelError: if they are not possible.
        """
        self._used.add("options")
        try:
            return TypeAdapter(schema).validate_python(self.file.options)
        except ValidationError as error:
            raise ModelError(f"{self.path}: options: {first_problem(error)}; correct it") from error

    def weights(self) -> dict[str, Path]:
        """Paths of the model's own weight files by what they are for.

        Raises:
            ModelError: if the model names none, or one is missing or not the one that the model
                file was made with.
        """
        self._used.add("weights")
        if not self.file.weights:
            raise ModelError(
                f"{self.path or self.name} names no weight file; add [weights] with a line such as "
                'network = "FILE.safetensors", or train one with `stemblend train`'
            )
        return {role: self._checked(name) for role, name in self.file.weights.items()}

    def load(self, device: str = "cpu") -> Separator:
        """Make the separator.

        Args:
            device: where networks run.

        Returns:
            A separator that has the model's filter as its own, see `own_filter`.

        Raises:
            ModelError: if a weight file is missing, damaged or not the one that the model file
                was made with, or there is no such method, option or filter.
        """
        method = find_method(self.file.method)
        if self.file.filter:
            find_filter(self.file.filter)
        separator = self._made(method, device)
        if not isinstance(separator, Separator):
            raise ModelError(
                f"the method {self.file.method!r} is no separator: it needs sources, sample_rate, "
                "block_support and estimate"
            )
        if self.file.sources and self.file.sources != tuple(separator.sources):
            raise ModelError(
                f"{self.path} names the sources {', '.join(self.file.sources)}, but its method "
                f"estimates {', '.join(separator.sources)}; name these, in that order"
            )
        check_names(separator.sources)
        if self.file.filter:
            try:
                cast(Any, separator).filter = self.file.filter
            except AttributeError as error:
                raise ModelError(
                    f"{self.path} names a filter, but that of {self.file.method!r} is fixed; leave "
                    "filter out"
                ) from error
        return separator

    def _made(self, method: Any, device: str) -> Any:
        """By the method's own `from_model`, or from its options."""
        if hasattr(method, "from_model"):
            made = method.from_model(self, device)
            self._refuse("options", "weights")
            return made
        self._refuse("weights")
        if is_dataclass(method):
            unknown = self.file.options.keys() - {field.name for field in fields(method)}
            if unknown:
                raise ModelError(f"{self.path}: options: no {', '.join(sorted(unknown))} is known")
            # pydantic checks the fields of a plain dataclass, too
            return self.options(cast(Any, method))
        try:
            return method(**self.file.options)
        except Exception as error:  # whatever a user's own class raises
            raise ModelError(
                f"the method {self.file.method!r} cannot be made ({error}); correct its options"
            ) from error

    def _refuse(self, *tables: str) -> None:
        """Refuse tables of the model file that the method made no use of."""
        for table in tables:
            if getattr(self.file, table) and table not in self._used:
                raise ModelError(
                    f"{self.path}: the method {self.file.method!r} has no {table}; leave [{table}] "
                    "out"
                )

    def _checked(self, name: str) -> Path:
        """Path of a weight file that is the one that the model file was made with."""
        path = self._folder / name
        if name in self.file.sha256:
            _check_digest(path, self.file.sha256[name])
        return path


def _check_digest(path: Path, digest: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"the weight file {path} cannot be read ({error.strerror}); install stemblend again"
        ) from error
    if found != digest:
        raise ModelError(
            f"the weight file {path} is damaged or was changed (its SHA-256 is not that of the "
            "model file); install it again"
        )


def _shipped(name: str) -> Path:
    # a name is never a path: with a slash or a dot it could lead elsewhere
    return _SHIPPED / f"{name if name.replace('-', '').replace('_', '').isalnum() else ''}.toml"


def registry() -> Mapping[str, Model]:
    """The models that ship with the package and the methods of installed packages, by name."""
    names = sorted(path.stem for path in _SHIPPED.glob("*.toml"))
    found = {name: Model(name, _shipped(name)) for name in names}
    return found | {name: Model(name, None) for name in installed_methods() if name not in found}


def find_model(name: str | Path) -> Model:
    """A model by its name, by the path of its model file, or as `module:Class`.

    Raises:
        ModelError: if there is no such model.
    """
    text = str(name)
    shipped = _shipped(text)
    if shipped.exists() or text in installed_methods():
        return Model(text, shipped if shipped.exists() else None)
    path = Path(name)
    if path.suffix == ".toml" and path.exists():
        return Model(path.stem, path)
    if ":" in text and not path.exists():
        return Model(text, None)
    raise ModelError(
        f"there is no model {text!r}; use {', '.join(registry())}, the path of a model file, or "
        "module:Class"
    )


def load(name: str | Path = MODEL, device: str = "cpu") -> Separator:
    """Load a model for many songs.

    Args:
        name: name of a model, see `registry`, path of a model file, or `module:Class`.
        device: "cpu", "cuda" or "mps".

    Returns:
        A separator; give it to `stemblend.separate`, or call its `estimate` for raw stems.

    Raises:
        ModelError: if there is no such model or device, or the weights cannot be read.
    """
    return find_model(name).load(check_device(device))
