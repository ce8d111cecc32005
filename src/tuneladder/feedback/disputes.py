"""Items in dispute, with what everybody said and why; settled by a person, they come back as items whose answer is known."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tuneladder.errors import BadInput
from tuneladder.evaluate.intervals import Array
from tuneladder.feedback.accord import Others
from tuneladder.feedback.rubric import Worked, unstamped
from tuneladder.feedback.table import Table, Whole, firsts
from tuneladder.store import writing
from tuneladder.task.formats import text_of
from tuneladder.task.read import columns_of, read_rows
from tuneladder.types import Judgement

CLEAR = 0.6  # an item of whose judgements no value has more is in dispute
SETTLED = ("rubric", "item", "right", "why")
COLUMNS = (*SETTLED, "doubt", "said")


@dataclass(frozen=True)
class Dispute:
    """`doubt` of words is the share that did not say the commonest value; of scores the variance between those of this item beside
    that of all. `said` is everybody's judgement of it, in their order."""

    item: str
    doubt: float
    said: tuple[Judgement, ...]


def disputes(table: Table, heard: Others, judgements: Sequence[Judgement], leave_out: Collection[str] = ()) -> tuple[Dispute, ...]:
    """The most disputed first. Those in `leave_out` are heard, and make no dispute: theirs are no reasons to doubt the item.

    Of words an item is in dispute whose commonest value has at most CLEAR of the judgements; of scores one whose own lie as far
    apart as those of any items. `judgements` are the table's.
    """
    out = [at for at, name in enumerate(table.labelers) if name in leave_out]
    kept = np.flatnonzero(~np.isin(table.labeler, out))
    doubt, least = (_apart(table, kept), 1 - CLEAR - 1e-9) if heard.means is None else (_spread(table, heard, kept), 1.0)
    said: dict[str, list[Judgement]] = {}
    for each in firsts(judgements)[0]:
        said.setdefault(each.item, []).append(each)
    found = [int(at) for at in np.argsort(-doubt, kind="stable") if doubt[at] >= least]
    return tuple(Dispute(table.items[at], float(doubt[at]), tuple(said[table.items[at]])) for at in found)


def _apart(table: Table, kept: Whole) -> Array:
    """(I,): the share that did not say the commonest value; 0 of what one alone judged."""
    counts = np.zeros_like(table.counts)
    np.add.at(counts, (table.item[kept], table.value[kept]), 1.0)
    whole = counts.sum(1)
    return np.where(whole > 1, 1 - counts.max(1) / np.maximum(whole, 1), 0.0)


def _spread(table: Table, heard: Others, kept: Whole) -> Array:
    """(I,): an item's variance beside that of all scores, as if all labelers were equally severe; 0 of what one alone judged."""
    assert heard.means is not None
    if not len(kept):
        return np.zeros(len(table.items))
    fair, item = (table.said - heard.means.severity[table.labeler])[kept], table.item[kept]
    count, many = np.bincount(item, minlength=len(table.items)), len(table.items)
    mean = np.bincount(item, fair, minlength=many) / np.maximum(count, 1)
    own = np.bincount(item, (fair - mean[item]) ** 2, minlength=many) / np.maximum(count - 1, 1)
    return np.asarray(own / (fair.var() or 1.0))


def refuse_to_lose_settled(path: Path) -> None:
    """Raises BadInput for a file that is there: somebody may have settled disputes in it."""
    if path.exists():
        raise BadInput(f"{path} is there, and what was settled in it would be written over", "name a new file for the disputes")


def write_disputes(path: Path, found: Mapping[str, Sequence[Dispute]]) -> int:
    """A CSV of the disputes under each rubric, in whose columns `right` and `why` a person settles them. The number of rows."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for rubric, own in found.items():
        for each in own:
            writer.writerow((rubric, each.item, "", "", f"{each.doubt:.2f}", "\n".join(map(_voice, each.said))))
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.getvalue(), encoding="utf-8", errors="replace", newline="")
    return sum(map(len, found.values()))


def read_settled(location: str) -> dict[str, dict[str, Worked]]:
    """By criterion the items that were settled: what is right of each, and why. Rows whose `right` is empty were not.

    Raises BadInput for a file without these columns, one that settles nothing, and an item settled twice.
    """
    rows = read_rows(location)
    if missing := [name for name in SETTLED if name not in columns_of(rows)]:
        raise BadInput(f"{location} has no column `{missing[0]}`", f"it needs the columns {', '.join(SETTLED)}")
    found: dict[str, dict[str, Worked]] = {}
    for row in rows:
        rubric, item, right, why = (text_of(row[name]).strip() for name in SETTLED)
        if not right:
            continue
        own = found.setdefault(unstamped(rubric)[0], {})
        if item in own:
            raise BadInput(f"{location} settles item {item} twice", "keep one of the two rows")
        own[item] = Worked(item, right, why)
    if not found:
        raise BadInput(
            f"{location} settles nothing: its column `right` is empty", "write there what is right of the items in dispute"
        )
    return found


def _voice(judgement: Judgement) -> str:
    return f"{judgement.labeler}: {text_of(judgement.value)}" + (f" ({judgement.why})" if judgement.why else "")
