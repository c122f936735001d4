"""The report: the paper's tables with ours beside them, its figures, and its claims."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from stemblend.evaluation.protocols import Protocol, aggregate
from stemblend.reports.figure_style import save_figure
from stemblend.reports.figures import box_figure, genre_figure, lambda_figure
from stemblend.reports.table_formats import to_markdown
from stemblend.reports.tables import lambda_table
from stemblend.reproduction.claims import CLAIMS, PLAIN_RAW, RAW, Finding, examine
from stemblend.reproduction.published import LAMBDA, TABLE_1, TABLE_2, TABLE_3, TARGETS
from stemblend.reproduction.sweep import BASELINE, LAMBDAS, Fit, lambda_name
from stemblend.util.files import replacing

TABLE_2_SYSTEMS = {BASELINE: "BL", PLAIN_RAW: "without augmentation", RAW: "with augmentation"}


def write_report(
    folder: Path,
    rows: Mapping[str, pl.DataFrame],
    fit: Fit,
    protocol: Protocol,
    facts: Sequence[str],
    rng: np.random.Generator,
) -> Path:
    """Write `report.md` with its figures.

    The rows are scores: `"test"` of all systems of Tables 1 and 3, `"raw development"` and
    `"raw test"` of Table 2, and `"lambda development"` and `"lambda test"`. Facts are sentences
    about the run for the report's head; the generator is that of the confidence intervals.
    """
    test = _scores(rows["test"], protocol)
    by_subset = {"test": _joined(rows, "test"), "development": _joined(rows, "development")}
    findings = [examine(claim, by_subset[claim.subset], protocol, rng) for claim in CLAIMS]
    parts = [
        "# Uhlich et al. (ICASSP 2017), reproduced",
        *(f"- {fact}" for fact in facts),
        f"- {protocol.description}",
        "",
        "## Claims",
        to_markdown(_claims_table(findings), _CLAIMS_TEXT),
        "## Table 1",
        to_markdown(_beside(test, TABLE_1), _BESIDE_TEXT),
        "## Table 2",
        to_markdown(_table_2(rows, protocol), "BLSTM-1, raw outputs; SDR in dB."),
        "## Table 3",
        to_markdown(_beside(test, TABLE_3), _BESIDE_TEXT),
        "## Figure 3",
        _write_lambda_figure(folder, rows, fit, protocol),
        "## Figure 4",
        _write_genre_figure(folder, rows["test"], protocol),
        "## Figure 5",
        _write_box_figure(folder, rows["test"], protocol),
    ]
    path = folder / "report.md"
    with replacing(path) as temporary:
        temporary.write_text("\n".join(parts) + "\n")
    return path


_CLAIMS_TEXT = (
    "Differences in dB, of several targets their mean, with the 95 % interval of a bootstrap "
    "over songs. A claim is held, or not, where the interval leaves out zero."
)
_BESIDE_TEXT = "SDR in dB: ours, and the published figure in brackets."
_FIT_TEXT = (
    "λ by source: fitted to the development songs by least squares, and the best of the sweep: of "
    "raw outputs there by the mean of the songs' SDR, and after the MWF by the protocol."
)


def _joined(rows: Mapping[str, pl.DataFrame], subset: str) -> pl.DataFrame:
    tables = [table for name, table in rows.items() if name in (subset, f"raw {subset}")]
    return pl.concat(tables, how="diagonal")


def _scores(rows: pl.DataFrame, protocol: Protocol) -> dict[tuple[str, str], float | None]:
    """The aggregated SDR by system and target."""
    table = aggregate(rows, protocol, by=("system", "target"))
    return {(row["system"], row["target"]): row["sdr"] for row in table.iter_rows(named=True)}


def _number(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:z.2f}"


def _both(ours: float | None, published: float) -> str:
    return f"{_number(ours)} ({published:.2f})"


def _beside(
    ours: Mapping[tuple[str, str], float | None], table: Mapping[str, Sequence[float]]
) -> pl.DataFrame:
    lines = []
    for system, figures in table.items():
        values = [ours.get((system, target)) for target in TARGETS]
        lines.append([system, *map(_both, values, figures)])
    return pl.DataFrame(lines, schema=["system", *TARGETS], orient="row")


def _table_2(rows: Mapping[str, pl.DataFrame], protocol: Protocol) -> pl.DataFrame:
    found = {subset: _scores(rows[f"raw {subset}"], protocol) for subset in ("development", "test")}
    lines = []
    for target in ("vocals", "accompaniment"):
        for system, title in TABLE_2_SYSTEMS.items():
            values = [scores.get((system, target)) for scores in found.values()]
            lines.append([target, title, *map(_both, values, TABLE_2[target, title])])
    return pl.DataFrame(lines, schema=["target", "network", "development", "test"], orient="row")


def _claims_table(findings: Sequence[Finding]) -> pl.DataFrame:
    lines = [
        [
            finding.claim.text,
            finding.verdict,
            _number(finding.difference),
            f"{_number(finding.low)} to {_number(finding.high)}",
            f"{finding.claim.published:.2f}",
            f"{finding.songs} ({finding.claim.subset})",
        ]
        for finding in findings
    ]
    header = ["claim (section)", "verdict", "difference", "interval", "published", "songs"]
    return pl.DataFrame(lines, schema=header, orient="row")


def _write_lambda_figure(
    folder: Path, rows: Mapping[str, pl.DataFrame], fit: Fit, protocol: Protocol
) -> str:
    systems = {lambda_name(value): value for value in LAMBDAS}
    curves = {}
    for subset in ("development", "test"):
        table = lambda_table(rows[f"lambda {subset}"], protocol, systems, BASELINE)
        curves[subset] = {
            target: table[target].to_list() for target in table.columns if target in TARGETS
        }
    figure = lambda_figure(curves, LAMBDAS, baseline=BASELINE, note=protocol.description)
    save_figure(figure, folder / "figure-3")
    sentences = []
    for subset, by_target in curves.items():
        sources = [curve for target, curve in by_target.items() if target != "accompaniment"]
        best = LAMBDAS[int(np.mean(sources, axis=0).argmax())]
        sentences.append(f"{best:.2f} on the {subset} songs")
    lines = [
        [source, f"{fit.weights[source]:.2f}", f"{fit.best[source]:.2f}"]
        + [
            f"{LAMBDAS[int(np.argmax(by_target[source]))]:.2f}" if source in by_target else "–"
            for by_target in curves.values()
        ]
        for source in fit.weights
    ]
    header = ["source", "least squares", "best of raw", *(f"best, {subset}" for subset in curves)]
    return (
        "![improvement against lambda](figure-3.png)\n\n"
        f"The average over the sources is best at λ = {' and '.join(sentences)} "
        f"(published: {LAMBDA:.2f} on development songs).\n\n"
        + to_markdown(pl.DataFrame(lines, schema=header, orient="row"), _FIT_TEXT)
    )


def _write_genre_figure(folder: Path, rows: pl.DataFrame, protocol: Protocol) -> str:
    shown = rows.filter(pl.col("system").is_in(["FNN-2", "BLSTM-3", "BLEND (MWF)"]))
    if "genre" not in rows.columns or not (shown["genre"].fill_null("") != "").any():
        return "The songs have no genres.\n"
    save_figure(genre_figure(shown, protocol), folder / "figure-4")
    return "![SDR by genre](figure-4.png)\n"


def _write_box_figure(folder: Path, rows: pl.DataFrame, protocol: Protocol) -> str:
    shown = rows.filter(pl.col("system").is_in([*TABLE_3]))
    save_figure(box_figure(shown, protocol), folder / "figure-5")
    return "![box plots](figure-5.png)\n"
