"""Training of sNMF, dNMF and DeepNMF, each on top of the one before.

sNMF learns the bases of single sources. dNMF (Weninger et al., Interspeech 2014) keeps its
activations, and learns bases to rebuild the sources from that minimise the error after the ratio
mask. DeepNMF (Le Roux, Hershey and Weninger, ICASSP 2015) learns the bases of the last updates of
the activations, too; a dNMF is a DeepNMF of which only the last layer is learned.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import get_args

import torch
from torch import Tensor

from stemblend.datasets.base import Track
from stemblend.errors import DataError
from stemblend.interfaces import in_order
from stemblend.models.export import WEIGHTS
from stemblend.separators.nmf.bases import audible, train_bases
from stemblend.separators.nmf.descent import Descent, descend
from stemblend.separators.nmf.examples import (
    NMFLearning,
    draw_frames,
    make_examples,
    read_stems,
    spectrogram,
)
from stemblend.separators.nmf.model import (
    Factorisation,
    Kind,
    NMFConfig,
    load_factorisation,
    save_factorisation,
)
from stemblend.training.checkpoint import read_checkpoint
from stemblend.training.log import RunLog
from stemblend.training.run import Report, Run

_KINDS: tuple[Kind, ...] = get_args(Kind)


def train_snmf(
    tracks: Sequence[Track],
    sources: Sequence[str],
    config: NMFConfig,
    learning: NMFLearning,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int, float], None] | None = None,
) -> Factorisation:
    """Learn the bases of supervised sparse NMF: Q of each song and source, side by side.

    Args:
        tracks: songs; a source that is silent in a song, or is not by itself in a stem, gets no
            bases from it.
        sources: those to separate.
        config: all but its songs is used.
        learning: frames of a stem, and updates.
        seed: of the frames and the random start.
        device: where to compute.
        progress: see `train_bases`.

    Returns:
        A factorisation on the CPU.

    Raises:
        DataError: if no song has one of the sources in a stem of its own.
        AudioError: if a stem cannot be read.
    """
    generator = torch.Generator().manual_seed(seed)
    magnitudes: dict[str, dict[str, Tensor]] = {source: {} for source in in_order(sources)}
    for track in tracks:
        stems = read_stems(track, config.sample_rate)
        for source in [source for source in magnitudes if source in stems]:
            magnitude = audible(spectrogram(stems[source], config).abs().pow_(config.power))
            drawn = draw_frames(magnitude.shape[1], learning.frames, generator)
            if len(drawn):
                magnitudes[source][track.name] = magnitude[:, drawn].to(device)
    for source, by_song in magnitudes.items():
        if not by_song:
            raise DataError(
                f"no song has {source} to be heard in a stem of its own; "
                "add one, or leave that source out"
            )
    bases = train_bases(
        [magnitude for by_song in magnitudes.values() for magnitude in by_song.values()],
        config.atoms,
        generator,
        iterations=learning.updates,
        beta=config.beta,
        sparsity=config.sparsity,
        progress=progress,
    )
    songs = {source: tuple(by_song) for source, by_song in magnitudes.items()}
    return Factorisation.supervised(config.model_copy(update={"songs": songs}), bases.cpu())


class FactorisationTraining:
    """One run, whose stages are kinds of factorisations; `state` says where it stands."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.config = run.system_config(NMFConfig)
        self.learning = run.learning(NMFLearning)
        self.checkpoint = run.folder / "checkpoint.safetensors"
        self.state = Descent([], [])
        learned, most = self.learning.learned, self.config.iterations
        if self.learning.kind == "deepnmf" and learned > most:
            raise DataError(
                f"{learned} layers cannot be learned of {most + 1}; set learned to 1 to {most}"
            )
        if self.checkpoint.exists():
            stored = read_checkpoint(self.checkpoint, run.config.differences)
            self.state = Descent.stored(*stored, run.device)
        self.log = RunLog(run.folder, self.state.total)

    def train(self) -> None:
        """Go through the stages until the last one or the time ends."""
        run = self.run
        deadline = math.inf if run.minutes is None else time.monotonic() + 60 * run.minutes
        model, stages = self._start()
        self._save()
        for left, kind in zip(range(len(stages), 0, -1), stages, strict=True):
            path = run.folder / (WEIGHTS if left == 1 else f"{kind}.safetensors")
            if not path.exists() or (left == 1 and kind != "snmf"):
                if model is None:
                    model, ended = self._learn_bases(left), True
                else:
                    model, ended = self._descend(model, kind, left, deadline)
                path = path if ended else run.folder / WEIGHTS
                metadata = run.metadata(self.state.total, self.state.best_score)
                save_factorisation(model, path, metadata)
                if not ended:
                    break
            # read even what is new, so that stopping in between makes no difference
            model = load_factorisation(path)
        self.log.close()

    def _start(self) -> tuple[Factorisation | None, Sequence[Kind]]:
        """What is there before the first stage, and the stages."""
        path, kind = self.run.config.start, self.learning.kind
        stages = _KINDS[: _KINDS.index(kind) + 1]
        if path is None:
            return None, stages
        if kind == "snmf":
            raise DataError(f"an sNMF starts from nothing; leave out start = {path}")
        model = load_factorisation(path)
        structure = (model.config.model_copy(update={"songs": {}}), model.config.sources)
        if structure != (self.config, in_order(self.run.config.sources)):
            raise DataError(
                f"{path} holds a factorisation of another structure or other sources than the "
                "run's; give the run the same [system] and sources, or leave out start"
            )
        # a dNMF or DeepNMF may go on with itself
        return model, stages[_KINDS.index(model.kind) + 1 :] or stages[-1:]

    def _learn_bases(self, left: int) -> Factorisation:
        config = self.run.config

        def progress(done: int, total: int, objective: float) -> None:
            self.state.total = done
            self.log.write({"step": done, "loss": objective})
            self.run.progress(Report(done, total + (left - 1) * config.steps, objective))

        settings = {"seed": config.seed, "device": self.run.device, "progress": progress}
        songs, _ = self.run.tracks()
        model = train_snmf(songs, config.sources, self.config, self.learning, **settings)
        self._save()
        return model

    def _descend(
        self, model: Factorisation, kind: Kind, left: int, deadline: float
    ) -> tuple[Factorisation, bool]:
        """Learn the last layers of a model; whether that ended before the time did."""
        run, config = self.run, self.run.config
        learned = self.learning.learned if kind == "deepnmf" else 1
        model = model.to(run.device)
        generator = torch.Generator().manual_seed(config.seed)
        songs, held = run.tracks()
        training = make_examples(songs, model, learned - 1, self.learning, generator)
        validation = None
        if held:
            unmixed = self.learning.unmixed()
            validation = make_examples(held, model, learned - 1, unmixed, generator)
        if self.state.kind != kind:
            layers = model.last_layers(learned)
            self.state = Descent(layers, layers, kind=kind, total=self.state.total)
        state, limits = self.state, {"steps": config.steps, "patience": config.patience}
        before = state.total - state.step
        for loss in descend(state, training, validation, model.config, **limits):
            state.total = before + state.step
            entry = {"step": state.total, "loss": loss}
            self.log.write(entry if state.score is None else entry | {"score": state.score})
            self._save()
            total = before + left * config.steps
            run.progress(Report(state.total, total, loss, state.score, state.best_score))
            if time.monotonic() >= deadline:
                return model.with_last_layers(state.best), False
        return model.with_last_layers(state.best), True

    def _save(self) -> None:
        self.state.save(self.checkpoint, self.run.config.model_dump_json())
