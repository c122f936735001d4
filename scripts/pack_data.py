"""Pack folders of songs into parts of limited size, and rebuild them on another machine.

    python scripts/pack_data.py pack OUT FOLDER... [--mebibytes 60] [--exclude 'test/*']
    python scripts/pack_data.py unpack PARTS OUT

`pack` writes OUT/part-00.tar and so on, and OUT/parts.json with their digests; links are followed.
`unpack` checks every part before it writes a file; it needs nothing but Python.
"""

import argparse
import hashlib
import json
import os
import sys
import tarfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

_INDEX = "parts.json"
_HEADER = 1536
"""Bytes that a file takes in a tar at most beside its own, up to the next block."""
_TRAILER = tarfile.RECORDSIZE
"""Bytes that a tar ends with, at most."""


def find_files(folders: Sequence[Path], exclude: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Names in the archive, which begin with the name of the folder, and the files."""
    for folder in folders:
        if not folder.is_dir():
            sys.exit(f"{folder} is no folder; name a folder of songs")
        walk = os.walk(folder, followlinks=True)
        for file in sorted(Path(place) / name for place, _, names in walk for name in names):
            name = file.relative_to(folder).as_posix()
            if not any(fnmatch(name, pattern) for pattern in exclude):
                yield f"{folder.resolve().name}/{name}", file


def pack(folders: Sequence[Path], out: Path, limit: int, exclude: Sequence[str]) -> None:
    """Fill one part after the other."""
    parts: list[list[tuple[str, Path]]] = [[]]
    filled = _TRAILER
    for name, file in find_files(folders, exclude):
        size = file.stat().st_size + _HEADER
        if size + _TRAILER > limit:
            sys.exit(f"{file} is larger than a part; allow larger ones with --mebibytes")
        if filled + size > limit:
            parts.append([])
            filled = _TRAILER
        parts[-1].append((name, file))
        filled += size
    out.mkdir(parents=True, exist_ok=True)
    index = {}
    for number, files in enumerate(parts):
        path = out / f"part-{number:02d}.tar"
        with tarfile.open(path, "w", dereference=True) as archive:
            for name, file in files:
                archive.add(file, name)
        index[path.name] = digest(path)
        print(f"{path}: {len(files)} files, {path.stat().st_size / 2**20:.1f} MiB")
    (out / _INDEX).write_text(json.dumps(index, indent=2))


def unpack(parts: Path, out: Path) -> None:
    """Check all parts, then write their files."""
    if not (parts / _INDEX).exists():
        sys.exit(f"{parts / _INDEX} is missing; bring it along with the parts")
    index = json.loads((parts / _INDEX).read_text())
    for name, wanted in index.items():
        if not (parts / name).exists() or digest(parts / name) != wanted:
            sys.exit(f"{parts / name} is missing or damaged; bring it over again")
    for name in index:
        with tarfile.open(parts / name) as archive:
            archive.extractall(out, filter="data")
    print(f"{out}: {len(index)} parts")


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Carry training data in parts.")
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("out", type=Path)
    packing.add_argument("folders", type=Path, nargs="+")
    packing.add_argument("--mebibytes", type=float, default=60.0, help="largest size of a part")
    packing.add_argument("--exclude", action="append", default=[], help="pattern within a folder")
    unpacking = commands.add_parser("unpack")
    unpacking.add_argument("parts", type=Path)
    unpacking.add_argument("out", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "pack":
        limit = int(arguments.mebibytes * 2**20)
        pack(arguments.folders, arguments.out, limit, arguments.exclude)
    else:
        unpack(arguments.parts, arguments.out)


if __name__ == "__main__":
    main()
