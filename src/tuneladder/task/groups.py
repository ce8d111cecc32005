"""The group of people or texts that a row is of: dialect, region, channel, length. It is looked at when answers are counted, and
stands apart from the examples: no prompt shows it, no step learns from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tuneladder.errors import BadInput
from tuneladder.task.formats import text_of, value_of
from tuneladder.task.read import Row
from tuneladder.types import Example


def groups_of(expression: str, numbered: Iterable[tuple[str, Row]]) -> dict[str, str]:
    """What the column or Jinja says of each row, by its id; a row of which it says nothing is of no group."""
    said = ((id, text_of(value_of(expression, row, id), id).strip()) for id, row in numbered)
    return {id: name for id, name in said if name}


def asked_about(groups: Mapping[str, str], rows: Sequence[Example], expression: str) -> dict[str, str]:
    """The groups of these rows, which answers are counted by. Raises BadInput where there is nothing to compare."""
    found = {row.id: groups[row.id] for row in rows if row.id in groups}
    names = sorted(set(found.values()))
    if len(names) < 2:
        which = f"are all of one group, {names[0]!r}" if names else "are of no group"
        raise BadInput(f"fairness: by {expression!r} the {len(rows):,} test rows {which}", "name a column that parts them")
    return found
