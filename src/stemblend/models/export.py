"""Models of training runs and blends: model file, weights in few bits, and a card."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stemblend.errors import ModelError
from stemblend.interfaces import in_order
from stemblend.models.model_file import (
    ModelFile,
    read_model_file,
    write_model_file,
    write_text,
)
from stemblend.models.weights import read_config, read_metadata, read_tensors, write_tensors

WEIGHTS = "weights.safetensors"
"""Name of the weight file in the folder of a training run."""


def export_runs(
    path: Path, runs: Sequence[Path], *, bits: int = 8, texts: Mapping[str, str] | None = None
) -> ModelFile:
    """Make a model of finished training runs: its file, its weights beside it, and its card.

    Texts, options and filter of a model file that is there already are kept; its scores are not,
    for they are those of other weights.

    Args:
        path: the model file, ending in .toml.
        runs: folders of `stemblend train`, or their weight files: one for all sources, one a
            source, or one for each network of a system that has several.
        bits: 8 stores matrices in int8 with a scale a row, 16 in float16, 32 as they are.
        texts: `summary`, `licence`, `training_data` and `use` of the model file.

    Returns:
        What the model file says.

    Raises:
        ModelError: if a run has no weights, the runs do not make one model, or a file cannot be
            written.
    """
    if path.suffix != ".toml" or not runs:
        raise ModelError(f"{path} needs a name that ends in .toml, and runs to make it of")
    if bits not in (8, 16, 32):
        raise ModelError(f"{bits} bits a number are not possible; use 8, 16 or 32")
    sources: list[str] = []
    weights: dict[str, str] = {}
    digests: dict[str, str] = {}
    facts: list[dict[str, Any]] = []
    found = [run / WEIGHTS if run.is_dir() else run for run in runs]
    described = [_described(file) for file in found]
    methods = sorted({method for method, _, _ in described})
    if len(methods) > 1:
        raise ModelError(f"the runs are of {', '.join(methods)}; make a model of each")
    kept = read_model_file(path) if path.exists() else ModelFile(method=methods[0])
    if kept.method != methods[0]:
        kept = ModelFile(method=methods[0])
    several = [role for _, role, _ in described].count("network") > 1
    for file, (_, role, own) in zip(found, described, strict=True):
        if several and role == "network":
            if len(own) != 1:
                raise ModelError(f"{file} is for {', '.join(own)}; several networks need one each")
            (role,) = own
        if role in weights:
            raise ModelError(f"two of the runs are the {role} of the model; name one of them")
        target = path.with_name(f"{path.stem}-{role}.safetensors")
        sources += own
        weights[role] = target.name
        facts.append({"role": role, "file": target, "metadata": read_metadata(file)})
    # only now: a refusal leaves an earlier model as it was
    for file, fact in zip(found, facts, strict=True):
        _store(file, fact["file"], fact["metadata"], bits)
        digests[fact["file"].name] = hashlib.sha256(fact["file"].read_bytes()).hexdigest()
    changes = {
        "method": methods[0],
        "sources": in_order(sources),
        "weights": weights,
        "sha256": digests,
        "scores": {},
        **{name: text for name, text in (texts or {}).items() if text},
    }
    model = ModelFile.model_validate(kept.model_dump() | changes)
    write_model_file(path, model)
    write_text(path.with_suffix(".md"), _card(path.stem, model, facts))
    return model


def _described(file: Path) -> tuple[str, str, tuple[str, ...]]:
    """Method, role and sources of a run's weights."""
    metadata = read_metadata(file)
    if "method" not in metadata:
        raise ModelError(f"{file} is no weight file of a training run; name the run's folder")
    # a part of a system, such as "bandsplit.refinement", belongs to the system's model
    method = metadata["method"] if ":" in metadata["method"] else metadata["method"].split(".")[0]
    return method, metadata.get("role", "network"), tuple(json.loads(metadata["sources"]))


def _store(file: Path, target: Path, metadata: Mapping[str, str], bits: int) -> None:
    tensors, _ = read_tensors(file)
    described = {
        "config": json.dumps(read_config(file, metadata)),
        **{key: metadata[key] for key in ("method", "sources", "steps", "validation_sdr")},
    }
    exact = json.loads(metadata.get("exact", "[]"))
    write_tensors(target, tensors, described, bits=bits, exact=exact)


def _card(name: str, model: ModelFile, facts: Sequence[Mapping[str, Any]]) -> str:
    """A model card as Markdown; what was not measured is said to be so."""
    lines = [
        f"# {name}",
        "",
        model.summary or f"A model of the system `{model.method}`.",
        "",
        f"- sources: {', '.join(model.sources)}",
        f"- licence of the weights: {model.licence or 'not stated'}",
        f"- training data: {model.training_data or 'not stated'}",
        f"- use: {model.use or 'not stated'}",
        "",
        "## Training",
        "",
        "| weights | MiB | steps | validation SDR in dB |",
        "|---|---|---|---|",
    ]
    for fact in facts:
        size = fact["file"].stat().st_size / 2**20
        score = json.loads(fact["metadata"]["validation_sdr"])
        shown = "none" if score is None else f"{score:.2f}"
        lines.append(f"| {fact['role']} | {size:.1f} | {fact['metadata']['steps']} | {shown} |")
    for fact in facts:
        settings = json.dumps(json.loads(fact["metadata"]["training"]), indent=2)
        lines += ["", f"Settings of {fact['role']}:", "", "```json", settings, "```"]
    lines += [
        "",
        "## Scores",
        "",
        "None measured yet: run `stemblend evaluate` and write them into the model file.",
    ]
    return "\n".join(lines) + "\n"


def save_blend(
    path: Path,
    members: Sequence[str],
    weights: Mapping[str, Sequence[float]],
    *,
    filter: str = "mwf",
) -> None:
    """Write the model file of a blend, atomically.

    Args:
        path: the model file, ending in .toml.
        members: names of models or paths of model files.
        weights: for each source the weight of every member.
        filter: what the blend is used with.

    Raises:
        ModelError: if the file cannot be written.
    """
    table = {
        str(Path(name).resolve()) if Path(name).suffix == ".toml" else name: {
            source: float(vector[number]) for source, vector in weights.items() if vector[number]
        }
        for number, name in enumerate(members)
    }
    summary = f"blend of {', '.join(Path(name).stem for name in members)}"
    file = ModelFile(method="blend", summary=summary, filter=filter, members=table)
    write_model_file(path, file)


def save_model(
    path: Path,
    method: str,
    weights: Mapping[str, Path],
    *,
    sources: Sequence[str] = (),
    filter: str = "",
    options: Mapping[str, Any] | None = None,
) -> None:
    """Write the model file of weight files that lie anywhere, atomically.

    Args:
        path: the model file, ending in .toml.
        method: its method.
        weights: weight files by what they are for.
        sources: the sources, in their order.
        filter: what the model is used with; empty for the method's own.
        options: of the method.

    Raises:
        ModelError: if the file cannot be written.
    """
    file = ModelFile(
        method=method,
        filter=filter,
        sources=tuple(sources),
        options=dict(options or {}),
        weights={role: str(file.resolve()) for role, file in weights.items()},
    )
    write_model_file(path, file)
