"""One self-contained HTML page: tables, plots inside as data, nothing loaded from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from runtime.evaluation import layout, render

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .2rem 0; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #8886; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; } tbody th { font-weight: 600; }
td small { opacity: .75; }
figure { display: inline-block; margin: .5rem 1rem .5rem 0; vertical-align: top; }
figure img { max-width: 100%; height: auto; background: #fff; }
"""

PLOT_TEXT = {
    "roc": "ROC curves of all detectors over videos",
    "precision_recall": "Precision-recall curves of all detectors over videos",
    "reliability": "Share of fakes against stated probability",
    "histograms": "Histogram of video scores, reals and fakes",
    "frame_histograms": "Histogram of frame scores, reals and fakes",
}


def html_page(document: Mapping[str, Any], plots: Mapping[str, Path]) -> str:
    """The page of an evaluation document (see `report.write`) with its plots embedded."""
    settings = document["settings"]
    title = escape(str(document["title"]))
    facts = [f"{escape(str(key))}: {escape(str(value))}" for key, value in document["about"].items()]
    facts += [escape(layout.interval_text(settings)), escape(layout.threshold_text(settings))]
    body = [f"<h1>{title}</h1>", items(facts)]
    body += [figure(path, PLOT_TEXT.get(name, name)) for name, path in plots.items()]
    body += [table(entry) for entry in layout.tables_of(document)]
    notes = render.all_notes(document["detectors"][document["first"]])
    if notes:
        body += ["<h2>Notes</h2>", items([escape(note) for note in notes])]
    return frame(title, "\n".join(body))


def frame(title: str, body: str) -> str:
    """A whole document around `body`; both are HTML already."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # No script, no request to anywhere: what the page shows is what is in the file.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )


def items(entries: list[str]) -> str:
    """An unordered list of HTML entries."""
    return "<ul>" + "".join(f"<li>{entry}</li>" for entry in entries) + "</ul>"


def figure(path: Path, text: str) -> str:
    """The PNG at `path`, embedded; `text` is its description."""
    data = base64.b64encode(Path(path).read_bytes()).decode("ascii")
    return f'<figure><img alt="{escape(text)}" src="data:image/png;base64,{data}"></figure>'


def table(entry: layout.Table) -> str:
    """One table with its heading; a number's interval stands small beside it, its note in the tooltip."""
    used = entry.used_columns()
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in (entry.first_heading, *used.values()))
    rows = []
    for name, values in entry.rows:
        cells = "".join(_cell(values.get(metric)) for metric in used)
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    caption = f"<caption>{escape(entry.intro)}</caption>" if entry.intro else ""
    return (
        f"<h2>{escape(entry.heading)}</h2>"
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(entry.heading)}">'
        f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(value: Any) -> str:
    if value is None or value.get("value") is None:
        return f"<td>{render.MISSING}</td>"
    text = render.number(value["value"])
    if value.get("low") is not None:
        text += f" <small>[{render.number(value['low'])}, {render.number(value['high'])}]</small>"
    if value.get("p_value") is not None:
        text += f" <small>p {render.number(value['p_value'])}</small>"
    note = value.get("note")
    return f'<td title="{escape(note)}">{text}</td>' if note else f"<td>{text}</td>"
