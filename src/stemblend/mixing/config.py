"""Configuration of the mixer: collections of songs, and augmentation."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Collection(_Frozen):
    """A dataset to train on.

    Attributes:
        path: its folder, see `stemblend.datasets`.
        split: the split to use; None for all that are not set aside.
        weight: how often its stems are drawn, relative to those of other collections.
        validation: shell patterns for the names of songs kept for validation.
        exclude: shell patterns for the names of songs that are not used at all.
    """

    path: Path
    split: str | None = None
    weight: float = Field(default=1.0, ge=0)
    validation: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class AugmentationConfig(_Frozen):
    """The augmentation of Uhlich et al. (ICASSP 2017, section 3), (a) to (d), and more.

    Options marked with * need `mix`. Shares and probabilities lie in [0, 1].

    Attributes:
        swap: (a) swap left and right at random.
        gain: (b) scale every stem by a factor drawn uniformly from `gain_interval`.
        chunk: (c) start excerpts at any sample rather than at multiples of their length.
        mix: (d) take every stem from another song.
        gain_interval: lowest and highest gain; in the paper [0.25, 1.25], for its FNNs [0.01, 1].
        level: * first bring every stem to the usual RMS of its source, so that collections
            recorded at different levels can be mixed.
        pan: * pan mono recordings at random, except bass and drums.
        active_share: share of target excerpts drawn around a frame that is not silent.
        drop: * probability that a source other than the first one drawn is left out.
        instrumental: * share of mixtures without vocals; in most songs the singer rests for a
            third of the time or more. Such a mixture may be one stem of several sources, since
            the vocals are known to be silent in it.
        together: * share of mixtures whose stems come from the same song at the same time.
        master_gain: * interval of a gain for the whole mixture.
        speed_semitones: * change each stem's speed, and with it the pitch, by up to this much.
        equaliser_db: raise or lower broad bands of every target by up to this much.
        mono: * share of mixtures that are made mono.
        narrow: * share of mixtures that are low-passed, as old or lossy recordings are.
        width: * scale the side signal of each stem by a factor of up to this; 0 for never.
        effects: * share of stems with an echo, doubling, overdrive or telephone filter.
        room: * share of stems with artificial reverberation.
        codec: * share of mixtures that are coded as mp3 or ogg; the change that this makes
            belongs to no source.
    """

    swap: bool = True
    gain: bool = True
    gain_interval: tuple[float, float] = (0.25, 1.25)
    chunk: bool = True
    mix: bool = True
    level: bool = True
    pan: bool = True
    active_share: float = Field(default=0.7, ge=0, le=1)
    drop: float = Field(default=0.1, ge=0, le=1)
    instrumental: float = Field(default=0.0, ge=0, lt=1)
    together: float = Field(default=0.0, ge=0, le=1)
    master_gain: tuple[float, float] = (0.4, 1.4)
    speed_semitones: float = Field(default=0.0, ge=0, le=12)
    equaliser_db: float = Field(default=0.0, ge=0, le=20)
    mono: float = Field(default=0.0, ge=0, le=1)
    narrow: float = Field(default=0.0, ge=0, le=1)
    width: float = Field(default=0.0, ge=0, le=4)
    effects: float = Field(default=0.0, ge=0, le=1)
    room: float = Field(default=0.0, ge=0, le=1)
    codec: float = Field(default=0.0, ge=0, le=1)
