"""Disagreements for a person: a page to read and rule on, a CSV to fill, and the references that come of it."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tuneladder.errors import BadInput
from tuneladder.evaluate.adjudicate import BOTH, RIGHT, Ruling, corrected, lines_of
from tuneladder.evaluate.disagreements import SORTS, Disagreement, Sort
from tuneladder.ladder import plots, words
from tuneladder.ladder.results import file_name
from tuneladder.ladder.templates import template
from tuneladder.store import digest, write_lines, write_text
from tuneladder.types import Marked, Score

COLUMNS = ("id", RIGHT, "sort", "reference", "answer", "weight of the reference", "weight of the answer", "witnesses", "input")
MOST_ITEMS = 150  # of each sort on the page; the CSV has all
MOST_PAIRS = 10
_CLIPPED = 700

MEANT: Mapping[Sort, tuple[str, str]] = {
    "reference questionable": ("warn", "The witnesses hold with the answer: these labels are to be doubted first."),
    "ambiguous": ("plain", "The answer has more weight than the reference, and not three times as much."),
    "model wrong": ("bad", "The witnesses hold with the reference."),
    "other": ("plain", "The witnesses see a third label, or the answer is no label at all."),
}


@dataclass(frozen=True)
class Review:
    """A variant's disagreements. `count` is how many rows it answered; `ruled` the references ruled right, by item, of which
    `changed` are others than before; `metrics` are the variant's by the old references and the new, the task's first, and `rungs`
    the task's metric of every rung, the variant first. `report` is the run's, where it has one; `page` and `table` are where they
    were written to."""

    variant: str
    rung: str
    task: str
    labels: tuple[str, ...]
    count: int
    rows: tuple[Disagreement, ...]
    ruled: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    changed: int = 0
    metrics: tuple[Ruling, ...] = ()
    rungs: Mapping[str, Ruling] = field(default_factory=dict)
    report: Path | None = None
    page: Path | None = None
    table: Path | None = None


def sorts(review: Review) -> dict[Sort, int]:
    """How many disagreements are of each sort."""
    counts = Counter(each.sort for each in review.rows)
    return {sort: counts[sort] for sort in SORTS}


def refuse_to_lose(folder: Path, rung: str, ruled: Mapping[str, tuple[str, ...]]) -> None:
    """Raises BadInput where the rung's CSV in `folder` holds rulings that were not handed in, or cannot be read: it would be
    written over."""
    table = folder / f"{file_name(rung)}.csv"
    if not table.exists():
        return
    try:
        kept = lines_of(table)
    except BadInput as error:
        lost = f"{error.message}, and what is ruled there would be written over"
        raise BadInput(lost, f"{error.hint}, or move the file away") from error
    filled = [(row["id"] or "").strip() for _, row in kept if (row[RIGHT] or "").strip()]
    if any(item not in ruled for item in filled):
        raise BadInput(
            f"{table} holds {words.count(len(filled), 'ruling')} that would be written over",
            f"hand them in with --adjudicated {table}, or move the file away",
        )


def write_review(review: Review, answers: Sequence[Marked], folder: Path) -> Review:
    """Write the page and the CSV of a variant into `folder`, and where rows were ruled on the corrected references beside them; the
    review that says where they lie.

    A CSV that holds rulings which were not handed in is never written over: that raises BadInput.
    """
    name = file_name(review.rung)
    page, table = folder / f"{name}.html", folder / f"{name}.csv"
    refuse_to_lose(folder, review.rung, review.ruled)
    write_text(page, review_page(review, back=_way(review.report, folder)))
    write_text(table, _csv(review, answers))
    if review.ruled:
        lines = [
            {"id": own.id, "input": own.input, "reference": own.reference, **({"others": own.others} if own.others else {})}
            for own in corrected(answers, review.ruled)
        ]
        write_lines(folder / f"{name}.corrected.jsonl", lines)
    return replace(review, page=page, table=table)


def _way(report: Path | None, folder: Path) -> str:
    """The link from a page in `folder` to the report, "" where there is none: relative, so that a run can be moved as a whole."""
    if report is None:
        return ""
    try:
        return quote(Path(os.path.relpath(report.absolute(), folder.absolute())).as_posix())
    except ValueError:  # another drive of Windows
        return report.absolute().as_uri()


def review_page(review: Review, *, back: str = "") -> str:
    """The disagreements as HTML that opens from disk: what is ruled on it is kept in the browser and saved as a CSV. `back` is the
    link to the run's report."""
    counts = sorts(review)
    differ = len(review.rows)
    claim = f"{differ:,} of {words.count(review.count, 'answer')} differ from the reference"
    return template("review").render(
        task=review.task,
        back=back,
        rung=review.rung,
        variant=review.variant,
        labels=review.labels,
        claim=claim,
        tiles=[
            {"name": sort, "value": f"{counts[sort]:,}", "under": words.percent(counts[sort] / differ if differ else None)}
            for sort in SORTS
        ],
        witnesses=[one.name for one in review.rows[0].witnesses] if review.rows else [],
        pairs=_pairs(review),
        groups=[_group(review, sort) for sort in SORTS if counts[sort]],
        rulings=_rulings(review),
        ruled={item: _said(rights) for item, rights in review.ruled.items()},
        changed=review.changed,
        key=digest(review.task, review.variant, [(each.marked.id, each.marked.input) for each in review.rows], review.ruled),
        both=BOTH,
        right=RIGHT,
        sorts=SORTS,
        file=f"{file_name(review.rung)}.csv",
    )


def _csv(review: Review, answers: Sequence[Marked]) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for each in review.rows:
        own = each.marked
        heard = "; ".join(f"{one.name}: {one.label}" for one in each.witnesses)
        ruled = _said(review.ruled.get(own.id, ()))
        weights = (f"{each.reference:.3f}", f"{each.answer:.3f}")
        writer.writerow((own.id, ruled, each.sort, own.reference, own.answer.text, *weights, heard, own.input))
    differ = {each.marked.id for each in review.rows}
    for own in answers:  # a person may rule on rows where the two agree, too
        if own.id in review.ruled and own.id not in differ:
            rights = _said(review.ruled[own.id])
            writer.writerow((own.id, rights, "agreed", own.reference, own.answer.text, "", "", "", own.input))
    return file.getvalue()


def _said(rights: Sequence[str]) -> str:
    return f" {BOTH} ".join(rights)


def _pairs(review: Review) -> list[dict[str, Any]]:
    """The pairs of reference and answer that are met most often, by sort."""
    pairs: dict[tuple[str, str], Counter[str]] = {}
    for each in review.rows:
        pairs.setdefault((each.marked.reference, each.marked.answer.text), Counter())[each.sort] += 1
    most = sorted(pairs.items(), key=lambda pair: -pair[1].total())[:MOST_PAIRS]
    return [
        {
            "reference": reference,
            "answer": words.clip(answer, 60) or "nothing",
            "counts": [own[sort] or "" for sort in SORTS],
            "whole": own.total(),
        }
        for (reference, answer), own in most
    ]


def _group(review: Review, sort: Sort) -> dict[str, Any]:
    rows = [each for each in review.rows if each.sort == sort]
    badge, said = MEANT[sort]
    return {
        "sort": sort,
        "badge": badge,
        "said": said,
        "count": len(rows),
        "more": max(0, len(rows) - MOST_ITEMS),
        "rows": [_item(review, each) for each in rows[:MOST_ITEMS]],
    }


def _item(review: Review, each: Disagreement) -> dict[str, Any]:
    own = each.marked
    return {
        "id": own.id,
        "input": words.clip(own.input, _CLIPPED),
        "reference": " or ".join((own.reference, *own.others)),
        "answer": words.clip(own.answer.text, 60) or "nothing",
        "sure": words.percent(own.answer.confidence) if own.answer.confidence is not None else "",
        "label": each.label if each.label not in (own.reference, *own.others, own.answer.text) else "",
        "whole": _bar("together", each.reference, each.answer, each.label),
        "bars": [_bar(one.name, one.reference, one.answer, one.label) for one in each.witnesses],
        "near": [(one.label, f"{one.likeness:.2f}", words.clip(one.text, 170)) for one in each.nearest],
        "options": list(dict.fromkeys([own.reference, *([own.answer.text] if own.answer.text in review.labels else [])])),
    }


def _bar(name: str, reference: float, answer: float, label: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "reference": round(100 * reference),
        "answer": round(100 * answer),
        "rest": max(0, 100 - round(100 * reference) - round(100 * answer)),
    }


def _rulings(review: Review) -> list[dict[str, Any]]:
    """A row for each rung, and for each other metric of the variant: before beside after."""
    rows = [(name, own) for name, own in review.rungs.items()]
    rows += [(review.rung, own) for own in review.metrics[1:]]
    out = []
    for name, own in rows:
        both = (own.before, own.after)
        same = [each for _, each in rows if each.metric == own.metric]
        scale = (min(s.low for r in same for s in (r.before, r.after)), max(s.high for r in same for s in (r.before, r.after)))
        before, after = (_cell(score, scale, picked=score is own.after) for score in both)
        change = f"{own.after.value - own.before.value:+.3f}".replace("-", "−")
        out.append({"name": name, "metric": words.metric_name(own.metric), "before": before, "after": after, "change": change})
    return out


def _cell(score: Score, scale: tuple[float, float], *, picked: bool) -> dict[str, Any]:
    drawn = plots.strip(score.value, score.low, score.high, scale, None, picked=picked)
    return {"value": words.figure(score.value), "span": words.span(score), "strip": drawn, "count": f"{score.count:,}"}
