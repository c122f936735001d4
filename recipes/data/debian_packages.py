"""Packages of Debian, and the files in them and in folders."""

import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath


def fetch(package: str, folder: Path) -> Path:
    """Download a package into `folder`, unless it is there, and tell its path."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.glob(f"{package}_*.deb")):
        command = ["apt-get", "download", "-q", package]
        if shutil.which("apt-get") is None or subprocess.run(command, cwd=folder).returncode:
            raise SystemExit(f"cannot download {package}; run this on Debian, after apt-get update")
    return next(folder.glob(f"{package}_*.deb"))


def pieces(package: Path, kinds: tuple[str, ...]) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The files of some kinds in a package."""
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            path = PurePosixPath(member.name)
            if not member.isfile() or path.suffix.lower() not in kinds:
                continue
            content = archive.extractfile(member)
            if content is not None:
                yield path, content.read()


def files_of(places: Iterable[Path], kinds: tuple[str, ...]) -> list[Path]:
    """The files of some kinds among and below `places`."""
    files = [
        file
        for place in places
        for file in (sorted(place.rglob("*")) if place.is_dir() else [place])
    ]
    return [file for file in files if file.suffix.lower() in kinds and file.is_file()]
