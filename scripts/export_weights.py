"""Turn the weights of training runs into a model that ships with the package.

    python scripts/export_weights.py NAME RUNS... --out src/stemblend/pretrained

RUNS are folders of `stemblend train`, one a source or one for all; the name of a weight file ends
in its source, if NAME does not. Matrices are stored in 8 bits with one scale a row. The model file
OUT/NAME.toml keeps its texts and scores; its weight files and digests are written anew.

    python scripts/export_weights.py NAME --repeats FILE --out src/stemblend/pretrained

adds what scripts/fit_repeats.py fitted to the weights of a model; new weights need it fitted anew.
"""

import argparse
import hashlib
import json
import tomllib
from pathlib import Path

from safetensors import safe_open

from stemblend.interfaces import SOURCES
from stemblend.models.networks import load_network, save_network
from stemblend.training.config import ALL_SOURCES
from stemblend.util.files import replacing


def main() -> None:
    """Convert the runs and write the model file."""
    parser = argparse.ArgumentParser(description="Ship the weights of training runs.")
    parser.add_argument("name")
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--repeats", type=Path, help="what scripts/fit_repeats.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bits", type=int, default=8)
    arguments = parser.parse_args()
    if not arguments.runs and arguments.repeats is None:
        parser.error("there is nothing to ship; name runs, or what mends masks as --repeats")
    path = arguments.out / f"{arguments.name}.toml"
    values = tomllib.loads(path.read_text()) if path.exists() else {}
    if arguments.runs:
        values |= {"kind": "networks", "networks": {}, "sha256": {}}
        values.pop("repeats", None)
    for run in arguments.runs:
        weights = run / "weights.safetensors"
        with safe_open(weights, "pt") as file:
            metadata = file.metadata()
        source = metadata["source"]
        sources = SOURCES if source == ALL_SOURCES else (source,)
        named = source == ALL_SOURCES or arguments.name.endswith(f"-{source}")
        ending = "" if named else f"-{source}"
        target = arguments.out / f"{arguments.name}{ending}.safetensors"
        kept = {key: metadata[key] for key in ("source", "steps", "validation_sdr")}
        kept |= {key: values.get(key, "") for key in ("training_data", "licence", "use")}
        save_network(load_network(weights), target, kept, bits=arguments.bits)
        values["networks"] |= dict.fromkeys(sources, target.name)
        values["sha256"][target.name] = hashlib.sha256(target.read_bytes()).hexdigest()
    if arguments.repeats is not None:
        target = arguments.out / f"{arguments.name}-repeats.safetensors"
        with replacing(target) as temporary:
            temporary.write_bytes(arguments.repeats.read_bytes())
        values["repeats"] = target.name
        values["sha256"][target.name] = hashlib.sha256(target.read_bytes()).hexdigest()
    path.write_text(to_toml(values))


def to_toml(values: dict) -> str:
    """Write a model file: plain values first, then tables of plain values, up to two deep."""

    def table(name: str, entries: dict) -> list[str]:
        inner = [k for k, v in entries.items() if isinstance(v, dict)]
        lines = [f"\n[{name}]"] if len(inner) < len(entries) else []
        lines += [
            f"{json.dumps(k)} = {json.dumps(v)}" for k, v in entries.items() if k not in inner
        ]
        for key in inner:
            lines += table(f"{name}.{json.dumps(key)}", entries[key])
        return lines

    plain = [f"{k} = {json.dumps(v)}" for k, v in values.items() if not isinstance(v, dict)]
    tables = [line for k, v in values.items() if isinstance(v, dict) for line in table(k, v)]
    return "\n".join([*plain, *tables]) + "\n"


if __name__ == "__main__":
    main()
