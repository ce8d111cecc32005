"""The report's part on disagreements: which rungs were looked at, and the way to the pages that show them."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from tuneladder.evaluate.disagreements import SORTS
from tuneladder.ladder.results import file_name
from tuneladder.ladder.templates import template
from tuneladder.store import write_text
from tuneladder.types import Task

FOLDER = "disagreements"  # of a run, where pages and CSVs go
_START, _END = "<!--disagreements-->", "<!--end of disagreements-->"


def has_witnesses(task: Task) -> bool:
    """Whether a task's rows share labels, one each, so that other rows can speak for one."""
    return task.kind in ("classify", "choose") and bool(task.labels) and not task.multi_label


def disagreed(folder: Path, rungs: Sequence[str], pick: str) -> Markup:
    """The part of the report of the run in `folder`, between two comments by which `link` finds it again."""
    reviews = [found for rung in rungs if (found := _review(folder, rung))]
    shown = template("disagreed").render(reviews=reviews, sorts=SORTS, pick=pick, asked=folder.name)
    return Markup(f"{_START}\n{shown}\n{_END}")


def link(folder: Path) -> None:
    """Show what was looked at in the report that the run in `folder` has; one of an older edition is left as it is."""
    report = folder / "report.html"
    try:
        page, kept = report.read_text("utf-8"), json.loads((folder / "results.json").read_text("utf-8"))
    except (OSError, ValueError):
        return
    head, start, rest = page.partition(_START)
    _, end, tail = rest.partition(_END)
    if start and end:
        pick = kept["pick"]["rung"] if kept["pick"] else ""
        anew = disagreed(folder, [str(rung["name"]) for rung in kept["rungs"]], pick)
        write_text(report, f"{head}{anew}{tail}")


def _review(folder: Path, rung: str) -> dict[str, Any] | None:
    """What was found of a rung; `old` where it answers otherwise since."""
    name = file_name(rung)
    try:
        table = (folder / FOLDER / f"{name}.csv").read_text("utf-8-sig")
        answers = (folder / "answers" / f"{name}.jsonl").read_text("utf-8")
    except (OSError, ValueError):
        return None
    if not (folder / FOLDER / f"{name}.html").is_file():
        return None
    rows = [row for row in csv.DictReader(io.StringIO(table, newline="")) if row.get("sort") in SORTS]
    now = {each["id"]: each for each in map(json.loads, filter(None, answers.split("\n")))}
    differ = {item for item, each in now.items() if each["correct"] is False}
    same = {row["id"] for row in rows} == differ and all(now[row["id"]]["answer"] == row["answer"] for row in rows)
    counts = Counter(row["sort"] for row in rows)
    link = quote(f"{FOLDER}/{name}.html")
    return {"rung": rung, "link": link, "counts": [counts[sort] for sort in SORTS], "whole": len(rows), "old": not same}
