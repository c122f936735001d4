"""`stemblend separate`: songs in, stems out."""

import glob
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from stemblend.cli.console import EXIT_BAD_INPUT, bar, err, fail, out, warn
from stemblend.cli.options import Device, Quiet
from stemblend.defaults import MODEL
from stemblend.errors import AudioError, ModelError, StemblendError


def separate(
    songs: Annotated[
        list[str], typer.Argument(help="Songs, folders of songs, or patterns such as 'live/*.mp3'.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder that gets a folder of stems a song.")
    ] = Path("stems"),
    model: Annotated[
        str, typer.Option("-m", "--model", help="A model, a model file, or module:Class.")
    ] = MODEL,
    stems: Annotated[
        str,
        typer.Option(
            help="The stems wanted, as in 'vocals,drums', 'bass+drums,rest' or 'no_drums'; "
            "rest is the song without the others. Fewer are faster."
        ),
    ] = "",
    two_stems: Annotated[
        str, typer.Option(help="One source and the rest of the song; 'vocals' for karaoke.")
    ] = "",
    filter_: Annotated[
        str | None,
        typer.Option(
            "--filter",
            help="mwf (multichannel Wiener), swf (single), sum or none (default: the model's).",
        ),
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="wav, flac, ogg or mp3.")] = "wav",
    bit_depth: Annotated[
        int | None, typer.Option(help="wav: 16, 24 or 32 (float, default); flac: 16 or 24.")
    ] = None,
    bitrate: Annotated[int | None, typer.Option(help="kbit/s of ogg or mp3.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace stems of an earlier run.")] = False,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Take songs apart: DIR/<song>/<source>.<ext>."""
    from stemblend.api import separate_file
    from stemblend.models.registry import load
    from stemblend.separation.stem_plan import complement, plan_stems

    wanted = [name.strip() for name in stems.split(",") if name.strip()]
    if two_stems:
        if wanted:
            raise ModelError("--stems and --two-stems exclude each other; use one of them")
        wanted = [two_stems, complement(two_stems)]
    jobs = find_songs(songs, output)
    separator = load(model, device)
    names = plan_stems(separator.sources, wanted or None).names
    failed = 0
    for song, place in jobs:
        target = output / place
        try:
            with bar(f"{song.name}", quiet) as progress:
                gain, lost = separate_file(
                    song,
                    target,
                    separator,
                    stems=names,
                    filter=filter_,
                    format=format_,
                    bit_depth=bit_depth,
                    bitrate=bitrate,
                    overwrite=overwrite,
                    progress=progress,
                )
        except StemblendError as error:
            fail(error)
            failed += 1
            continue
        if lost:
            warn(f"{song} is damaged: {lost:.1f} s of it could not be read and are missing")
        if gain != 1 and not quiet:
            err.print(f"all stems of {song} were scaled by {gain:.3f}, or some would have clipped")
        if not quiet:
            out.print(f"{target}/", ", ".join(f"{name}.{format_}" for name in names))
    if failed:
        if len(jobs) > 1:
            fail(f"{failed} of {len(jobs)} songs could not be separated; see above")
        raise typer.Exit(EXIT_BAD_INPUT)


def find_songs(arguments: list[str], output: Path) -> list[tuple[Path, Path]]:
    """The songs that the arguments name, each with its folder below the output folder.

    A folder is searched at any depth and its tree is kept; what lies in `output` is left out.
    Songs that would share a folder, `a.mp3` and `a.wav`, keep their suffix in its name.

    Raises:
        AudioError: if a folder or pattern holds no song.
    """
    from stemblend.audio import AUDIO_EXTENSIONS

    found: dict[Path, Path] = {}
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            inside = [
                file
                for file in sorted(path.rglob("*"))
                if file.suffix.lower() in AUDIO_EXTENSIONS
                and file.is_file()
                and output.resolve() not in file.resolve().parents
            ]
            if not inside:
                raise AudioError(f"the folder {path} holds no audio file; name another")
            found |= {file: file.relative_to(path) for file in inside}
        elif path.exists() or not glob.has_magic(argument):
            found[path] = Path(path.name)
        else:
            matches = [Path(match) for match in sorted(glob.glob(argument, recursive=True))]  # noqa: PTH207
            if not matches:
                raise AudioError(f"no file matches {argument}; correct the pattern")
            found |= {match: Path(match.name) for match in matches if match.is_file()}
    places = Counter(place.with_suffix("") for place in found.values())
    return [
        (song, place.with_suffix("") if places[place.with_suffix("")] == 1 else place)
        for song, place in found.items()
    ]
