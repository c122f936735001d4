"""Models by their names: what ships with the package, and what users make themselves.

A model is a small TOML file, beside the weight files that it names, see
`stemblend.models.model_file`.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

from pydantic import ValidationError

from stemblend.defaults import MODEL
from stemblend.errors import ModelError
from stemblend.interfaces import SOURCES, Separator
from stemblend.models.model_file import ModelFile
from stemblend.models.networks import load_network
from stemblend.separators.bandsplit.refinement import load_repeats
from stemblend.separators.blend.blend import Blend
from stemblend.separators.magnitude_networks import NetworkSeparator
from stemblend.separators.methods import METHODS
from stemblend.separators.nmf.model import load_factorisation
from stemblend.separators.nmf.separator import NMFSeparator
from stemblend.separators.nug.network import load_spectra
from stemblend.separators.nug.separator import NUGSeparator
from stemblend.util.devices import check_device

_SHIPPED = Path(__file__).parents[1] / "pretrained"


class _Filtered(Separator, Protocol):
    """A separator that says which filter it is used with."""

    filter: str


def own_filter(separator: Separator) -> str:
    """The filter that a separator is used with unless the user asks for another.

    Args:
        separator: may say so by an attribute `filter`; what `load` gives does.

    Returns:
        "mwf", "swf", "sum" or "none"; "mwf" for a separator that says nothing.
    """
    return getattr(separator, "filter", "mwf")


class Model:
    """A model that can be loaded.

    Attributes:
        name: what it is called by.
        path: of its model file.
        file: what the model file says.
    """

    def __init__(self, name: str, path: Path) -> None:
        """Read the model file `path`.

        Raises:
            ModelError: if it cannot be read or is no model file.
        """
        self.name = name
        self.path = path
        try:
            self.file = ModelFile.model_validate(tomllib.loads(path.read_text()))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ModelError(f"{path} is no readable model file ({error}); name another") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ModelError(f"{path} is no model file: {place}: {first['msg']}") from error

    def _member(self, name: str) -> "Model":
        """A shipped model, or a model file whose path counts from this model file's folder."""
        return find_model(name if name in registry() else self.path.parent / name)

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that the model estimates."""
        if self.file.kind == "method":
            return self._method().sources
        if self.file.kind == "nug":
            return SOURCES
        known = {*self.file.networks, *self.file.sources}
        for member in self.file.members:
            known |= set(self._member(member).sources)
        return tuple(source for source in SOURCES if source in known)

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """All weight files that the model needs, those of its members included."""
        names = [
            *self.file.networks.values(),
            self.file.repeats,
            self.file.factorisation,
            *self.file.spectra,
        ]
        files = {self.path.parent / name: None for name in names if name}
        for member in self.file.members:
            files |= dict.fromkeys(self._member(member).weight_files)
        return tuple(files)

    @property
    def size(self) -> int:
        """Bytes of the weight files."""
        return sum(path.stat().st_size for path in self.weight_files if path.exists())

    def load(self, device: str = "cpu") -> Separator:
        """Read the weights.

        Args:
            device: where the networks run.

        Returns:
            A separator that has the model's filter as its own, see `own_filter`.

        Raises:
            ModelError: if a weight file is missing, damaged or not the one that the model file
                was made with, or there is no such method.
        """
        if self.file.kind == "method":
            return self._method()
        makers = {
            "blend": self._blend,
            "networks": self._networks,
            "factorisation": self._factorisation,
            "nug": self._nug,
        }
        separator = makers[self.file.kind](device)
        cast(_Filtered, separator).filter = self.file.filter
        return separator

    def _method(self) -> Separator:
        if self.file.method not in METHODS:
            raise ModelError(
                f"{self.path} asks for the method {self.file.method!r}, which there is not; use "
                f"{', '.join(METHODS)}"
            )
        return METHODS[self.file.method](filter=self.file.filter)

    def _blend(self, device: str) -> Blend:
        members = [self._member(name).load(device) for name in self.file.members]
        return Blend(members, self.file.weights)

    def _networks(self, device: str) -> NetworkSeparator:
        networks = {}
        # a joint network stands in one file for several sources
        for name in dict.fromkeys(self.file.networks.values()):
            networks[name] = load_network(self._checked(name))
        repeats = load_repeats(self._checked(self.file.repeats)) if self.file.repeats else None
        return NetworkSeparator(
            {source: networks[name] for source, name in self.file.networks.items()},
            device,
            repeats,
        )

    def _factorisation(self, device: str) -> NMFSeparator:
        if not self.file.factorisation:
            raise ModelError(
                f'{self.path} names no weight file; add factorisation = "FILE.safetensors"'
            )
        separator = NMFSeparator(load_factorisation(self._checked(self.file.factorisation)), device)
        if separator.sources != self.sources:
            raise ModelError(
                f"{self.path} names other sources than its weight file, which has bases for "
                f"{', '.join(separator.sources)}; name these"
            )
        return separator

    def _nug(self, device: str) -> NUGSeparator:
        if not self.file.spectra:
            raise ModelError(
                f'{self.path} names no weight file; add spectra = ["FILE.safetensors"], which '
                "scripts/train_nug.py trains"
            )
        networks = [load_spectra(self._checked(name)) for name in self.file.spectra]
        return NUGSeparator(networks, self.file.em, device)

    def _checked(self, name: str) -> Path:
        """Path of a weight file that is the one that the model file was made with."""
        path = self.path.parent / name
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


def registry() -> Mapping[str, Model]:
    """The models that ship with the package, by name."""
    return {path.stem: Model(path.stem, path) for path in sorted(_SHIPPED.glob("*.toml"))}


def find_model(name: str | Path) -> Model:
    """A shipped model by its name, or any model by the path of its model file.

    Raises:
        ModelError: if there is no such model.
    """
    shipped = registry()
    if str(name) in shipped:
        return shipped[str(name)]
    path = Path(name)
    if path.suffix == ".toml" and path.exists():
        return Model(path.stem, path)
    raise ModelError(
        f"there is no model {str(name)!r}; use {', '.join(shipped)}, or the path of a model file"
    )


def load(name: str | Path = MODEL, device: str = "cpu") -> Separator:
    """Load a model for many songs.

    Args:
        name: name of a shipped model, see `registry`, or path of a model file.
        device: "cpu", "cuda" or "mps".

    Returns:
        A separator; give it to `stemblend.separate`, or call its `estimate` for raw stems.

    Raises:
        ModelError: if there is no such model or device, or the weights cannot be read.
    """
    return find_model(name).load(check_device(device))
