"""One evaluation or comparison on disk: evaluation.json, .csv, .md, .html and the plots, each written atomically.

Markdown and page show the same tables (`tables_of`); the CSV has every number in a row of its own.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import jinja2

from runtime.evaluation import markdown, measure, plots, tables
from runtime.evaluation.markdown import cell
from runtime.evaluation.measure import Detector
from runtime.scoring.page_policy import content_policy
from unet_industrial import files

TEMPLATE = "evaluation.html"
# name in the JSON → heading. Order is the order of the columns.
RANKING_COLUMNS = {
    "auc": "AUC",
    "paired": "pairwise accuracy",
    "same_source_auc": "same-source AUC",
    "ap": "AP",
    "eer": "EER",
    "tpr_at_fpr_1": "TPR@1 %FPR",
    "tpr_at_fpr_10": "TPR@10 %FPR",
}
PROBABILITY_COLUMNS = {
    "log_loss": "log loss",
    "brier": "Brier",
    "ece": "ECE",
    "accuracy": "accuracy",
    "tpr": "TPR",
    "fpr": "FPR",
    "unclear": "unclear",
}
PIXEL_COLUMNS = {
    "iou": "IoU (fakes)",
    "dice": "Dice (fakes)",
    "region_auc": "region AUC",
    "pixel_auc": "pixel AUC (fakes)",
    "area_real": "FPR of pixels (reals)",
    "area_fake": "area marked (fakes)",
}
LEVELS = ("frame", "video")
MISSING = "–"
CHANCE_NAME = "chance"


def number(value: Optional[float]) -> str:
    """Three digits without the leading zero, as the field prints rates: .684; 1.000; –.041."""
    if value is None:
        return MISSING
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def estimate(entry: Optional[Mapping[str, Any]]) -> str:
    """`.684 [.602, .755]`, without brackets where there is no interval, with p for a difference."""
    if entry is None or entry.get("value") is None:
        return MISSING
    text = number(entry["value"])
    if entry.get("low") is not None:
        text += f" [{number(entry['low'])}, {number(entry['high'])}]"
    if entry.get("p_value") is not None:
        text += f", p {number(entry['p_value'])}"
    return text


def chance_row(columns: Mapping[str, str], chance: Mapping[str, float]) -> tuple[str, dict[str, Any]]:
    """The row of a detector that always answers 0.5."""
    return CHANCE_NAME, {name: {"value": chance[name]} for name in columns if name in chance}


def counts_line(counts: Mapping[str, Any]) -> str:
    """One sentence on what was measured and what was not."""
    line = (
        f"{counts['videos']} videos ({counts['real_videos']} real, {counts['fake_videos']} fake), "
        f"{counts['rows']} rows, {counts['pairs']} pairs, {counts['identities']} identities"
    )
    if counts["undecided"]:
        states = ", ".join(f"{state} {count}" for state, count in sorted(counts["undecided_by_state"].items()))
        by_class = f"{counts['undecided_real']} real, {counts['undecided_fake']} fake"
        line += f"; undecided {counts['undecided']} ({by_class}: {states})"
    if "unclear_real" in counts:
        real, fake = counts["unclear_real"], counts["unclear_fake"]
        line += f"; verdict unclear {real + fake} ({real} real, {fake} fake)"
    return line


def flat_rows(evaluation: Mapping[str, Any], detector: str = "model") -> Iterator[dict[str, Any]]:
    """One dict for each number: detector, level, group_by, group, undecided, metric, value, low, high, clusters,
    note."""
    for level in LEVELS:
        if level not in evaluation:
            continue
        groups = [("all", "all", evaluation[level]["all"])]
        groups += [
            (column, name, entry) for column, parts in evaluation[level]["by"].items() for name, entry in parts.items()
        ]
        for column, name, entry in groups:
            for treatment in ("dropped", "worst", "pixels"):
                for metric, value in entry.get(treatment, {}).items():
                    yield {
                        "detector": detector,
                        "level": level,
                        "group_by": column,
                        "group": name,
                        "undecided": treatment if treatment != "pixels" else "dropped",
                        "metric": metric,
                        **value,
                    }


def all_notes(evaluation: Mapping[str, Any]) -> list[str]:
    """Every distinct note of the overall numbers, with the metrics it belongs to."""
    notes: dict[str, list[str]] = {}
    for level in filter(evaluation.__contains__, LEVELS):
        for treatment in ("dropped", "worst", "pixels"):
            for metric, value in evaluation[level]["all"].get(treatment, {}).items():
                for part in filter(None, value.get("note", "").split("; ")):
                    notes.setdefault(part, []).append(f"{level} {metric}")
    return [f"{note} ({_list(metrics)})" for note, metrics in notes.items()]


def _list(names: Sequence[str], limit: int = 4) -> str:
    names = list(dict.fromkeys(names))
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


LEVEL_NAMES = {"video": "Videos", "frame": "Frames"}
TREATMENT_NAMES = {"dropped": "undecided left out", "worst": "undecided counted as the worst answer"}
DIFFERENCE_COLUMNS = {
    "auc": "AUC",
    "paired": "pairwise accuracy",
    "same_source_auc": "same-source AUC",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier",
    "log_loss": "log loss",
}


@dataclass(frozen=True)
class Table:
    """heading and intro in plain text; columns: metric → heading; rows: (name, {metric: estimate})."""

    heading: str
    intro: str
    first_heading: str
    columns: Mapping[str, str]
    rows: list[tuple[str, Mapping[str, Any]]]

    def used_columns(self) -> dict[str, str]:
        """The columns that at least one row has a number for, chance aside."""
        measured = [entry for name, entry in self.rows if name != CHANCE_NAME]
        return {metric: heading for metric, heading in self.columns.items() if any(metric in e for e in measured)}

    def markdown(self) -> str:
        """The used columns as a Markdown table, without heading and intro."""
        used = self.used_columns()
        rows = [(name, *(estimate(entry.get(metric)) for metric in used)) for name, entry in self.rows]
        return markdown.table((self.first_heading, *used.values()), rows)


def tables_of(document: Mapping[str, Any]) -> list[Table]:
    """Every table of an evaluation document that has numbers, most important first."""
    detectors, first = document["detectors"], document["first"]
    tables = []
    for level in ("video", "frame"):
        if level not in detectors[first]:
            continue
        tables += _overall(document, level)
    tables += _pixels(document)
    tables += _differences(document)
    for level in ("video", "frame"):
        for column, groups in detectors[first].get(level, {}).get("by", {}).items():
            tables += _by_group(document, level, column, groups)
    return [table for table in tables if table.used_columns() and table.rows]


def _overall(document: Mapping[str, Any], level: str) -> list[Table]:
    tables = []
    entries = {name: e[level]["all"] for name, e in document["detectors"].items() if level in e}
    any_undecided = any(entry["counts"]["undecided"] for entry in entries.values())
    intro = "; ".join(f"{name}: {counts_line(entry['counts'])}" for name, entry in entries.items())
    for treatment, treatment_name in TREATMENT_NAMES.items():
        if treatment == "worst" and not any_undecided:
            continue
        suffix = f", {treatment_name}" if any_undecided else ""
        for what, columns in (("ranking", RANKING_COLUMNS), ("probabilities and verdicts", PROBABILITY_COLUMNS)):
            rows: list[tuple[str, Mapping[str, Any]]] = [(name, e[treatment]) for name, e in entries.items()]
            rows.append(chance_row(columns, document["chance"]))
            heading = f"{LEVEL_NAMES[level]}: {what}{suffix}"
            tables.append(Table(heading, intro if what == "ranking" else "", "detector", columns, rows))
    return tables


def _pixels(document: Mapping[str, Any]) -> list[Table]:
    entries = {name: e["frame"]["all"] for name, e in document["detectors"].items() if "frame" in e}
    rows: list[tuple[str, Mapping[str, Any]]] = [(n, e["pixels"]) for n, e in entries.items() if "pixels" in e]
    if not rows:
        return []
    rows.append(chance_row(PIXEL_COLUMNS, document["chance"]))
    intro = (
        "Read IoU beside the false-positive rate of pixels on reals and region AUC (faked pixels against the same "
        "pixels of the original): a template of the face painted on every image earns IoU without having seen anything."
    )
    return [Table("Pixels", intro, "detector", PIXEL_COLUMNS, rows)]


def _differences(document: Mapping[str, Any]) -> list[Table]:
    tables = []
    for level, level_name in LEVEL_NAMES.items():
        rows: list[tuple[str, Mapping[str, Any]]] = [
            (f"{name} ({parts[level]['common']} rows decided by both)", parts[level]["dropped"])
            for name, parts in document["differences"].items()
            if level in parts
        ]
        heading = f"{level_name}: difference to {document['first']}"
        intro = f"Each detector minus {document['first']} on the same rows, paired bootstrap; p is two-sided."
        tables.append(Table(heading, intro, "detector", DIFFERENCE_COLUMNS, rows))
    return tables


def _by_group(document: Mapping[str, Any], level: str, column: str, groups: Mapping[str, Any]) -> list[Table]:
    columns = {**RANKING_COLUMNS, **{name: PROBABILITY_COLUMNS[name] for name in ("tpr", "fpr", "unclear")}}
    if level == "frame":
        columns.update({name: PIXEL_COLUMNS[name] for name in ("iou", "region_auc", "area_real")})
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for group in groups:
        for name, evaluation in document["detectors"].items():
            entry = evaluation.get(level, {}).get("by", {}).get(column, {}).get(group)
            if entry is not None:
                count = entry["counts"]
                label = f"{group} · {name} ({count['real_videos']} real, {count['fake_videos']} fake)"
                rows.append((label, {**entry["dropped"], **entry.get("pixels", {})}))
    heading = f"{LEVEL_NAMES[level]} by {column.replace('_', ' ')}"
    return [Table(heading, "", f"{column.replace('_', ' ')} · detector", columns, rows)]


def interval_text(settings: Mapping[str, Any]) -> str:
    """How the intervals were made, in one line."""
    return (
        f"{settings['confidence']:.0%} intervals in brackets: {settings['resamples']} bootstrap resamples of each "
        f"{settings['cluster']}, percentiles widened for few of them, seed {settings['seed']}"
    )


def rules_text(rules: Mapping[str, str]) -> str:
    """How video scores were made, in one line: names of detectors by rule."""
    parts = (f"{rule} ({', '.join(names)})" for rule, names in _names_by_rule(rules).items())
    return f"video scores: {'; '.join(parts)}"


def verdicts_text(rules: Mapping[str, str], level: str) -> str:
    """By what videos or frames are called fake, in one line."""
    parts = (f"{', '.join(names)}: {rule}" for rule, names in _names_by_rule(rules).items())
    return f"{LEVEL_NAMES[level].lower()} called fake: {'; '.join(parts)}"


def _names_by_rule(rules: Mapping[str, str]) -> dict[str, list[str]]:
    by_rule: dict[str, list[str]] = {}
    for name, rule in rules.items():
        by_rule.setdefault(rule, []).append(name)
    return by_rule


def probabilities_text(settings: Mapping[str, Any]) -> str:
    """The calibration bins and where the log loss is cut, in one line."""
    return f"ECE over {settings['ece_bins']} equal bins; log loss clipped at {settings['log_loss_clip']:g}"


def method_texts(document: Mapping[str, Any]) -> list[str]:
    """How everything was measured, a line each."""
    settings = document["settings"]
    verdicts = [verdicts_text(rules, level) for level, rules in document["verdict_rules"].items() if rules]
    return [interval_text(settings), rules_text(document["video_rules"]), *verdicts, probabilities_text(settings)]


PLOT_TEXT = {
    "roc": "ROC curves of all detectors over videos",
    "precision_recall": "Precision-recall curves of all detectors over videos",
    "reliability": "Share of fakes against stated probability",
    "histograms": "Histogram of video scores, reals and fakes",
    "frame_histograms": "Histogram of frame scores, reals and fakes",
}


def html_page(document: Mapping[str, Any], drawn: Mapping[str, Path]) -> str:
    """The page of an evaluation document (see `write`) with its plots embedded."""
    facts = [*(f"{key}: {value}" for key, value in document["about"].items()), *method_texts(document)]
    figures = {PLOT_TEXT.get(name, name): path for name, path in drawn.items()}
    notes = all_notes(document["detectors"][document["first"]])
    return page(str(document["title"]), facts, figures, tables_of(document), notes)


def page(
    title: str,
    facts: Sequence[str],
    figures: Mapping[str, Path],
    shown: Sequence[Table],
    notes: Sequence[str] = (),
    text: str = "",
) -> str:
    """One self-contained HTML page (`templates/evaluation.html`): nothing is loaded from anywhere. All arguments are
    plain text.

    Args:
        figures: description → PNG, which is embedded.
        shown: a number's interval stands small beside it, its note in the tooltip.
        text: printed as it is, below the tables.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("runtime.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["number"] = number
    pictures = [(alt, base64.b64encode(Path(path).read_bytes()).decode("ascii")) for alt, path in figures.items()]
    return environment.get_template(TEMPLATE).render(
        policy=content_policy(environment, TEMPLATE),
        title=title,
        facts=facts,
        figures=pictures,
        tables=shown,
        notes=notes,
        text=text,
    )


SCHEMA_VERSION = 1
CSV_COLUMNS = (
    "detector",
    "level",
    "group_by",
    "group",
    "undecided",
    "metric",
    "value",
    "low",
    "high",
    "clusters",
    "note",
)


def write(
    folder: Path,
    result: Mapping[str, Any],
    detectors: Mapping[str, Detector],
    title: str = "Evaluation",
    about: Optional[Mapping[str, Any]] = None,
    frame_table: bool = False,
) -> dict[str, Path]:
    """Write everything under `folder` and return {kind: path}. Where the first detector has pixel counts, the JSON
    begins with `about` and its `measure.summary`.

    Args:
        result: `measure.compare(detectors, …)` (of one detector as well).
        about: provenance to print and keep (model, record files, hashes, command).
        frame_table: write the first detector's frames too, as `compare` reads them.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    first = detectors[result["first"]]
    document = {
        **({} if first.pixels is None else {**dict(about or {}), **measure.summary(first)}),
        "schema_version": SCHEMA_VERSION,
        "title": title,
        "about": dict(about or {}),
        **result,
    }
    drawn = draw(folder / "plots", result, detectors)
    written = {
        kind: folder / f"evaluation.{suffix}"
        for kind, suffix in (("json", "json"), ("csv", "csv"), ("markdown", "md"), ("html", "html"))
    }
    files.write_json(written["json"], document)
    files.write_text(written["csv"], table_csv(result))
    files.write_text(written["markdown"], markdown_text(document))
    files.write_text(written["html"], html_page(document, drawn))
    if frame_table and first.frames is not None:
        written["frames"] = folder / tables.FRAME_TABLE
        tables.write_frames(written["frames"], first.frames)
    return {**written, **{f"plot_{name}": path for name, path in drawn.items()}}


def draw(folder: Path, result: Mapping[str, Any], detectors: Mapping[str, Detector]) -> dict[str, Path]:
    """The plots of the decided videos (ROC, PR of all detectors; reliability and histograms of the first)."""
    decided = {name: measure.filled_table(detector.videos, "dropped") for name, detector in detectors.items()}
    scored = {name: (t["label"].to_numpy(), t["score"].to_numpy(dtype=float)) for name, t in decided.items()}
    drawn = {
        "roc": plots.plot_roc(scored, folder / "roc.png"),
        "precision_recall": plots.plot_precision_recall(scored, folder / "precision_recall.png"),
    }
    first = result["first"]
    labels, scores = scored[first]
    values = measure.calibrated_values(decided[first])
    threshold = line = result["settings"]["threshold"]
    if result["settings"]["own_verdicts"] and tables.CALLED in decided[first]:
        own = detectors[first].thresholds
        line = own[0] if own else None  # by what the verdicts of a table were given is not known
    if values is not None and labels.size:
        title = f"Reliability of {first}, videos"
        drawn["reliability"] = plots.plot_reliability(labels, values, folder / "reliability.png", title)
    shown = scores if values is None else values
    drawn["histograms"] = plots.plot_histograms(
        labels, shown, folder / "histograms.png", line, f"Scores of {first}, videos"
    )
    frames = detectors[first].frames
    if frames is not None:
        kept = measure.filled_table(frames, "dropped")
        drawn["frame_histograms"] = plots.plot_histograms(
            kept["label"].to_numpy(),
            kept["score"].to_numpy(dtype=float),
            folder / "frame_histograms.png",
            threshold,
            f"Scores of {first}, frames",
        )
    return drawn


def table_csv(result: Mapping[str, Any]) -> str:
    """Every number of every detector, one a row."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for name, evaluation in result["detectors"].items():
        for row in flat_rows(evaluation, name):
            writer.writerow({column: files.csv_cell(value) for column, value in row.items()})
    return out.getvalue()


def summary_markdown(summary: Mapping[str, Any], title: str) -> str:
    """A small table of the leading numbers of `measure.summary`, four digits each."""
    rows = [
        (name, "undefined" if value is None else f"{value:.4f}" if isinstance(value, float) else value)
        for name, value in summary.items()
        if name not in ("by_threshold", "mask_threshold")
    ]
    note = (
        f"Masks are cut at {summary['mask_threshold']}; chance is 0.5 for both AUCs and pairwise accuracy (`paired`)."
    )
    return f"## {cell(title)}\n\n{markdown.table(('number', 'value'), rows)}\n{note}\n"


def markdown_text(document: Mapping[str, Any]) -> str:
    """The tables a README quotes: all detectors with chance, undecided both ways, pixels, groups, differences,
    notes."""
    lines = [f"# {cell(document['title'])}", ""]
    lines += [f"- {cell(key)}: {cell(value)}" for key, value in document["about"].items()]
    lines += [f"- {cell(text)}" for text in method_texts(document)] + [""]
    for table in tables_of(document):
        lines += [f"## {cell(table.heading)}", ""]
        lines += [cell(table.intro), ""] if table.intro else []
        lines += [table.markdown()]
    notes = all_notes(document["detectors"][document["first"]])
    if notes:
        lines += ["## Notes", "", *(f"- {cell(note)}" for note in notes), ""]
    return "\n".join(lines)
