"""Model files of the trained networks and of their blends."""

from collections.abc import Mapping
from pathlib import Path

from stemblend.interfaces import SOURCES
from stemblend.models.export import save_blend, save_model
from stemblend.reproduction.plan import NETWORKS, PLAIN, RUNS
from stemblend.reproduction.published import LAMBDA

TITLES = {name: name.upper() for name in NETWORKS}
"""What the paper's tables call the networks."""


def write_models(weights: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """Make models of the weight files of finished runs, given by the name of the run.

    Returns:
        Model file of each system, by the name that the tables give it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    models = {}
    for network in NETWORKS:
        files = {run.source: weights[run.name] for run in RUNS if run.network == network}
        # FNN-1 was published with the single-channel filter (section 2.2)
        filter = "swf" if network == "fnn-1" else "mwf"
        method = network.split("-")[0]
        models[TITLES[network]] = folder / f"{network}.toml"
        save_model(models[TITLES[network]], method, files, sources=tuple(files), filter=filter)
    for network in ("blstm-1", PLAIN):
        models[f"{network} raw"] = folder / f"{network}-raw.toml"
        files = {"vocals": weights[f"{network}-vocals"]}
        save_model(models[f"{network} raw"], "blstm", files, sources=("vocals",), filter="none")
    members = [str(models["FNN-2"]), str(models["BLSTM-3"])]
    blend = {str(source): (LAMBDA, 1 - LAMBDA) for source in SOURCES}
    for kind in ("swf", "mwf"):
        title = f"BLEND ({kind.upper()})"
        models[title] = folder / f"blend-{kind}.toml"
        save_blend(models[title], members, blend, filter=kind)
    return models
