"""The published frame-wise scores of SiSEC 2016 give the paper's tables to the last digit."""

import os
from pathlib import Path

import polars as pl
import pytest

from stemblend.evaluation.protocols import aggregate, get_protocol

ROOT = Path(__file__).parents[2]
REFERENCE = Path(os.environ.get("STEMBLEND_REFERENCE", ROOT / ".." / "shared" / "reference"))
FRAMES = REFERENCE / "sisec2016_mus_frames.csv.gz"
TARGETS = ("bass", "drums", "other", "vocals", "accompaniment")

# Uhlich et al. 2017, Tables 1 and 3: FNN-2, BLSTM-3, BLEND (MWF) and NUG, dB SDR on Test
PUBLISHED = {
    "UHL1": ("2.54", "3.75", "2.92", "4.47", "11.12"),
    "UHL2": ("2.89", "4.00", "3.24", "4.86", "11.26"),
    "UHL3": ("2.98", "4.13", "3.52", "5.23", "11.70"),
    "NUG1": ("2.72", "3.89", "3.18", "4.55", "10.29"),
}


@pytest.fixture(scope="module")
def medians():
    if not FRAMES.exists():
        pytest.skip(f"{FRAMES.name} is not in {REFERENCE}")
    return aggregate(pl.read_csv(FRAMES), get_protocol("dsd100"))


@pytest.mark.parametrize("system", PUBLISHED)
def test_aggregation_gives_the_published_rows(medians, system):
    rows = medians.filter(system=system, subset="test")
    assert rows["songs"].to_list() == [50] * 5
    sdr = dict(rows.select("target", "sdr").rows())
    assert tuple(f"{sdr[target]:.2f}" for target in TARGETS) == PUBLISHED[system]


def test_a_source_that_a_system_lacks_scores_zero_as_published(medians):
    row = medians.filter(system="JEO1", subset="test", target="bass")
    assert row.select("sdr", "isr", "sir", "sar").rows() == [(0.0, 0.0, None, None)]
