"""Training of mask refinement, `stemblend train` with the method `bandsplit.refinement`.

Mixtures go through a band-split network once; excerpts of its masks are learned from by the loop
that all systems share. The run's weight file is the `refinement` of a model of the band-split
network.
"""

import hashlib
import json
from dataclasses import replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from threading import Event

import numpy as np
import torch

from stemblend.errors import DataError, ModelError
from stemblend.models.registry import find_model
from stemblend.models.weights import load_network
from stemblend.separators.bandsplit.network import BandSplit
from stemblend.separators.bandsplit.refinement_examples import (
    Example,
    read_example,
    write_example,
)
from stemblend.separators.bandsplit.refinement_excerpts import (
    ExcerptDraw,
    standardise,
    validation_score,
)
from stemblend.separators.bandsplit.refinement_mixtures import (
    PlannedMixture,
    known_stems,
    make_mixture,
    plan_mixtures,
)
from stemblend.separators.bandsplit.refinement_network import MaskRefinement, RefinementLearning
from stemblend.separators.bandsplit.separator import BandSplitSeparator
from stemblend.separators.bandsplit.similar_frames import SimilarityConfig
from stemblend.training.loop import optimise, start_from_earlier
from stemblend.training.run import Run
from stemblend.util.files import replacing
from stemblend.util.parallel import in_threads

UNREFINED = "unrefined.json"
"""File in the run's folder: the validation score of the masks as they are."""


class RefinementTraining:
    """The system of the method `bandsplit.refinement`; it separates as a part of `bandsplit`."""

    Network = MaskRefinement

    @staticmethod
    def role(run: Run) -> str:
        """What its weight file is in a model file's [weights]."""
        return "refinement"

    @staticmethod
    def train(run: Run) -> Path:
        """Make examples, or find them in the cache, and learn from them.

        Raises:
            DataError, AudioError: if the settings, the songs or the checkpoint cannot be used.
            ModelError: if the band-split network cannot be read.
        """
        file, digest = _network_file(run.learning(RefinementLearning))
        network = load_network(file, BandSplit)
        structure = network.config
        # part of the settings, so that a run never goes on with another network
        learning = {**run.config.learning, "network_sha256": digest}
        system = {"bins": structure.bins, **run.config.system}
        config = run.config.model_copy(update={"learning": learning, "system": system})
        run = replace(run, config=config)
        refinement: MaskRefinement = run.network()
        named, bins = refinement.config.sources, refinement.config.bins
        if (named, bins) != (structure.sources, structure.bins):
            raise DataError(
                f"the masks of {file} are {structure.bins} bins of {', '.join(structure.sources)}, "
                f"the run is for {bins} bins of {', '.join(named)}; name those of the network"
            )
        separator = BandSplitSeparator(network, device=str(run.device))
        if not run.world.leads:
            run.world.wait()  # the first process makes the examples, the others find them
        examples, held = _examples(run, separator, refinement)
        excerpts = ExcerptDraw(refinement, examples)
        if not excerpts.examples:
            raise DataError(
                "there is nothing to learn from; name songs of "
                f"{refinement.learning.shortest:g} s or more"
            )
        before = validation_score(held, None)
        if run.world.leads:
            with replacing(run.folder / UNREFINED) as temporary:
                temporary.write_text(json.dumps(before))

        def prepare() -> None:
            if not start_from_earlier(run, refinement):
                standardise(refinement, excerpts.examples)

        size, rank, world = run.config.batch, run.world.rank, run.world.size
        draw = partial(excerpts.draw, batch=size, rank=rank, size=world)
        refined = partial(validation_score, held, refinement)
        return optimise(run, refinement, draw, prepare, refined if before else None)


SYSTEM = RefinementTraining


def _network_file(learning: RefinementLearning) -> tuple[Path, str]:
    """The weight file of the band-split network, and its digest."""
    file = Path(learning.network)
    if file.suffix != ".safetensors":
        weights = find_model(learning.network).weights()
        if "network" not in weights:
            raise ModelError(
                f"the model {learning.network} has no network for all its sources; name a model of "
                "the method bandsplit, or a weight file"
            )
        file = weights["network"]
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror}); name a weight file") from error
    if learning.network_sha256 not in ("", digest):
        raise DataError(f"{file} is not the network of network_sha256; name that one")
    return file, digest


def _examples(
    run: Run, separator: BandSplitSeparator, refinement: MaskRefinement
) -> tuple[list[Example], list[Example]]:
    """Examples to learn from and for validation; those that the cache lacks are made.

    An example is found again by all that it depends on: network, search for similar frames, song,
    voices, draws and length. Each takes 9 to 15 kB a frame of the default network.
    """
    config, learning, rate = refinement.config, refinement.learning, separator.sample_rate
    similarity = config.model_dump(include=set(SimilarityConfig.model_fields))
    settings = [learning.network_sha256, similarity, learning.seconds]
    cache = run.cache / "refinement"
    cache.mkdir(parents=True, exist_ok=True)
    planned = plan_mixtures(run, learning, rate)
    numbers = count(1)

    def example(mixture: PlannedMixture) -> Example:
        # recordings are named by their content
        recordings = [recording.path.name for recording in chain(mixture.song, *mixture.voices)]
        key = json.dumps([*settings, mixture.seed, recordings])
        folder = cache / hashlib.sha256(key.encode()).hexdigest()[:24]
        if not folder.exists():
            stems, bandwidth = make_mixture(mixture, learning.seconds, rate)
            whole = np.sum([wave for _, wave in stems], axis=0)
            known = known_stems(stems, config.sources)
            with torch.inference_mode():
                write_example(folder, separator, config, whole, known, bandwidth)
        run.decoding(next(numbers), len(planned))
        return read_example(folder)

    examples: tuple[list[Example], list[Example]] = [], []
    made = in_threads(example, planned, torch.get_num_threads(), Event())
    for mixture, found in zip(planned, made, strict=True):
        examples[mixture.held].append(found)
    return examples
