"""Tables as text: CSV, Markdown, LaTeX, and cells for the terminal."""

import polars as pl

PROBABILITIES = ("p", "p Holm")
"""Columns of p-values instead of scores."""

_LATEX = str.maketrans(
    {
        **{sign: rf"\{sign}" for sign in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "–": "--",
        "λ": r"$\lambda$",
    }
)


def format_cells(table: pl.DataFrame) -> list[list[str]]:
    """Format a table: scores with two decimals, p-values with two significant digits."""
    return [
        [_cell(value, column) for column, value in zip(table.columns, row, strict=True)]
        for row in table.iter_rows()
    ]


def is_text(table: pl.DataFrame, column: str) -> bool:
    """Whether a column is text and therefore aligned to the left."""
    return table.schema[column] == pl.String and column != "songs"


def to_csv(table: pl.DataFrame) -> str:
    """Format a table as CSV with a header; cells without a score are empty."""
    texts = [
        [
            None if value is None else _cell(value, column, exact=True)
            for column, value in row.items()
        ]
        for row in table.iter_rows(named=True)
    ]
    schema = dict.fromkeys(table.columns, pl.String)
    return pl.DataFrame(texts, schema=schema, orient="row").write_csv()


def to_markdown(table: pl.DataFrame, text: str) -> str:
    """Format a table as Markdown, with its caption below."""
    header = list(table.columns)
    rule = ["---" if is_text(table, column) else "---:" for column in header]
    lines = [
        header,
        rule,
        *([cell.replace("|", r"\|") for cell in row] for row in format_cells(table)),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{text}\n"


def to_latex(table: pl.DataFrame, text: str) -> str:
    """Format a table as LaTeX (package booktabs), with its caption above."""
    columns = "".join("l" if is_text(table, column) else "r" for column in table.columns)
    body = [
        [_latex(cell, column) for column, cell in zip(table.columns, row, strict=True)]
        for row in format_cells(table)
    ]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{text.translate(_LATEX)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(column.translate(_LATEX) for column in table.columns) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in body),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex(cell: str, column: str) -> str:
    signed = cell.startswith(("-", "<")) and column != "system"
    return f"${cell[0]}${cell[1:]}" if signed else cell.translate(_LATEX)


def _cell(value: object, column: str, *, exact: bool = False) -> str:
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    if column in PROBABILITIES:
        return "<0.001" if value < 0.001 and not exact else f"{value:.2g}"
    # z: no negative zero
    return f"{value:z.2f}"
