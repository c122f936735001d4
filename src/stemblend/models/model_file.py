"""What model files say.

A model is a small TOML file, beside the weight files that it names:

    kind = "networks"
    summary = "BLSTM with two layers"
    licence = "CC BY-NC-SA 4.0"
    training_data = "..."

    [networks]
    vocals = "blstm-vocals.safetensors"

    [sha256]
    "blstm-vocals.safetensors" = "..."

(a band-split network may have a second file, `repeats = "FILE.safetensors"`, to mend its masks by
what comes again, see `stemblend.separators.bandsplit.refinement`) or, for a blend,

    kind = "blend"
    members = ["fnn", "blstm"]

    [weights]
    vocals = [0.3, 0.7]

where a member is the name of a shipped model or the path of a model file; or, for a method that
needs no weights (see `stemblend.separators.methods`),

    kind = "method"
    method = "repet"

or, for sNMF, dNMF or DeepNMF,

    kind = "factorisation"
    factorisation = "snmf.safetensors"
    sources = ["vocals", "bass", "drums", "other"]

or, for NUG (see `stemblend.separators.nug.separator`),

    kind = "nug"
    spectra = ["nug-0.safetensors", "nug-1.safetensors"]

    [em]
    update = "weighted"

In any of them

    filter = "none"

names the filter that the model is used with unless the user asks for another ("mwf" unless it is
a method, a factorisation or NUG), and

    [scores."test songs"]
    vocals = 6.5

gives SDRs in dB on a set of songs.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from stemblend.separators.nug.separator import EMConfig

FilterName = Literal["mwf", "swf", "sum", "none"]
"""See `stemblend.separation.pipeline.FILTERS`."""


class ModelFile(BaseModel):
    """The contents of a model file.

    Attributes:
        kind: what the model is made of.
        summary: one line that says what it is.
        licence: of the weights.
        training_data: what the weights learned from.
        use: what the weights may be used for.
        scores: SDR in dB by set of songs and source.
        networks: weight file of each source, beside the model file.
        repeats: weight file of what mends a band-split network's masks by what comes again, beside
            the model file.
        sha256: digest of each weight file; a file that differs is refused.
        members: for a blend its members, names of shipped models or paths of model files.
        weights: for a blend the weight of every member, by source.
        method: for a method its name in `stemblend.separators.methods`.
        factorisation: weight file of a factorisation, beside the model file.
        sources: those that a factorisation estimates.
        spectra: for NUG the weight files of its networks, DNN_0 first, beside the model file.
        em: for NUG how its model is fitted.
        filter: what the model is used with unless the user asks for another filter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["networks", "blend", "method", "factorisation", "nug"]
    summary: str = ""
    licence: str = ""
    training_data: str = ""
    use: str = ""
    scores: dict[str, dict[str, float]] = {}
    networks: dict[str, str] = {}
    repeats: str = ""
    sha256: dict[str, str] = {}
    members: tuple[str, ...] = ()
    weights: dict[str, tuple[float, ...]] = {}
    method: str = ""
    factorisation: str = ""
    sources: tuple[str, ...] = ()
    spectra: tuple[str, ...] = ()
    em: EMConfig = EMConfig()
    filter: FilterName = "mwf"

    @model_validator(mode="before")
    @classmethod
    def _unfiltered_kinds(cls, values: dict[str, Any]) -> dict[str, Any]:
        unfiltered = values.get("kind") in ("method", "factorisation", "nug")
        return {"filter": "none"} | values if unfiltered else values
