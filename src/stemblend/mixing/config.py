"""What mixtures are made of: collections of songs, and what happens to their excerpts."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Collection(_Frozen):
    """A folder of songs to train on.

    Attributes:
        path: the dataset's folder, see `stemblend.datasets`.
        split: the part of it to use; None takes all that is usual.
        weight: how often its stems are drawn, against those of other collections.
        validation: names of the songs kept for validation, by shell patterns.
        exclude: names of songs that are not used at all, by shell patterns.
    """

    path: Path
    split: str | None = None
    weight: float = Field(default=1.0, ge=0)
    validation: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class AugmentationConfig(_Frozen):
    """Which of the paper's augmentations are on (ICASSP 2017, section 3), and what we add.

    Attributes:
        swap: (a) swap left and right at random.
        gain: (b) scale every instrument by a factor drawn evenly from `gain_interval`.
        chunk: (c) cut excerpts at random places rather than on a fixed grid.
        mix: (d) take every instrument from another song.
        gain_interval: the paper's is [0.25, 1.25]; for its FNNs [0.01, 1].
        level: bring every stem to the usual level of its source first, so that collections
            recorded at different levels mix; only with `mix`.
        pan: place mono takes at random between left and right.
        active_share: share of target excerpts that surely hold sound; only with `chunk`.
        drop: probability that an instrument other than the target is left out; only with `mix`.
        instrumental: share of mixtures without vocals: in most songs singers rest for a third of
            the time or more, and what plays alone is seldom a voice. A recording of several
            sources may be all of it, since that nobody sings is known; only with `mix`.
        together: share of mixtures whose instruments come from one song and one place in it, as
            they were played together; only with `mix`.
        master_gain: interval of a gain for the whole mixture.
        speed_semitones: play every instrument faster or slower by up to so many semitones; only
            with `mix`.
        equaliser_db: raise or lower bands of every target by up to so many dB.
        mono: share of mixtures that are made mono; only with `mix`.
        narrow: share of mixtures that lose what lies above some frequency, as in old or lossy
            recordings; only with `mix`.
        width: scale the difference of left and right of every instrument by up to this factor; 0
            leaves it as it is; only with `mix`.
        effects: share of instruments that go through an echo, a doubling, an overdrive or a
            telephone; only with `mix`.
        room: share of instruments that are put into a random room; only with `mix`.
        codec: share of mixtures that go through an mp3 or ogg encoder; what that changes belongs
            to no source; only with `mix`.
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
