"""The one printer of Markdown tables."""

from __future__ import annotations

import pytest

from runtime.evaluation import markdown


def test_a_table_is_laid_out_and_no_cell_can_break_it():
    assert markdown.table(("a", "b"), [("x|y\n<b>", 1), ("\\", None)]) == (
        "| a | b |\n| --- | --- |\n| x\\|y &lt;b> | 1 |\n| \\\\ | None |\n"
    )


def test_a_row_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="3 cells under 2 headings"):
        markdown.table(("a", "b"), [(1, 2, 3)])
