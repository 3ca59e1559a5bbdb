"""The one printer of Markdown tables, for reports, benchmarks and tools."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table with a last newline; numbers come formatted.

    Args:
        headings: K of them; rows: K cells each.
    Raises:
        ValueError: a row has another number of cells.
    """
    lines: list[Sequence[object]] = [headings, ["---"] * len(headings), *rows]
    for cells in lines:
        if len(cells) != len(headings):
            raise ValueError(f"{len(cells)} cells under {len(headings)} headings: {cells}")
    return "".join(f"| {' | '.join(map(cell, cells))} |\n" for cells in lines)


def cell(text: object) -> str:
    """Text that cannot break a table, whatever a file is called."""
    return str(text).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
