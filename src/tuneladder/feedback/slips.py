"""Single judgements that stand out among those of labelers who are mostly right: slips, and items worth a second look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from tuneladder.evaluate.intervals import Array
from tuneladder.feedback.accord import Others
from tuneladder.feedback.table import Table

UNLIKELY = 0.02  # how likely the value is right, by what the others say
FAR = 3.0  # of the spread that neither items nor labelers explain
HEARD = 2  # others of the same item without whom nobody is wrong


@dataclass(frozen=True)
class Slip:
    """One judgement, with the evidence in words."""

    item: str
    labeler: str
    value: str
    said: str


def slips(table: Table, heard: Others, leave_out: Collection[str] = ()) -> tuple[Slip, ...]:
    """The least likely first; of the labelers in `leave_out` none, for theirs are no slips."""
    weight = _weights(table, heard)  # below 0 where a judgement stands out
    several = np.bincount(table.item)[table.item] > HEARD
    out = {table.labelers.index(name) for name in leave_out}
    at = [int(n) for n in np.argsort(weight, kind="stable") if weight[n] < 0 and several[n] and int(table.labeler[n]) not in out]
    return tuple(_slip(table, heard, n) for n in at)


def _weights(table: Table, heard: Others) -> Array:
    if heard.right is not None:
        return np.asarray(heard.right[np.arange(len(table.value)), table.value] - UNLIKELY)
    assert heard.means is not None
    rest = heard.means.rest
    # by the median, so that what stands out does not hide itself
    spread = 1.4826 * float(np.median(np.abs(rest))) or float(rest.std()) or 1.0
    return np.asarray(FAR - np.abs(rest) / spread)


def _slip(table: Table, heard: Others, n: int) -> Slip:
    item, labeler, value = table.items[table.item[n]], table.labelers[table.labeler[n]], table.values[table.value[n]]
    theirs = Counter(table.values[table.value[m]] for m in np.flatnonzero(table.item == table.item[n]) if m != n)
    others = ", ".join(f"'{said}' {count}" for said, count in theirs.most_common(4))
    if heard.right is not None:
        share = float(heard.right[n, table.value[n]])
        likely = f"{100 * share:.1f} % likely right" if share >= 0.001 else "less than 0.1 % likely right"
    else:
        assert heard.mean is not None
        likely = f"{table.said[n] - heard.mean[n]:+.2g} from their mean"
    return Slip(item, labeler, value, f"said '{value}', the others {others}: {likely}")
