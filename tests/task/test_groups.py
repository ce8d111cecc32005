"""A group comes from the rows to the task, by the ids of the test rows, and changes no example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.ladder.tree import splits_digest
from tuneladder.task.build import build
from tuneladder.types import Task


@pytest.fixture
def made(tmp_path: Path) -> Any:
    rows = [
        {"text": f"note {n} of the day {n * 7}", "label": "ab"[n % 2], "region": ["north", "south", 3.0, None][n % 4], "one": "x"}
        for n in range(60)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def make(group: str | None, **more: Any) -> Task:
        given = {"kind": "classify", "data": str(tmp_path / "rows.jsonl"), "input": "text", "target": "label", **more}
        return build(name="notes", group=group, **given)[0]

    return make


def test_every_test_row_has_its_group_or_none(made: Any) -> None:
    task = made("region")
    kinds = ["north", "south", "3"]
    for row in task.examples.test:
        number = int(row.turns[0].text.split()[1])
        assert task.groups.get(row.id) == (kinds[number % 4] if number % 4 < 3 else None)
    assert set(task.groups) < {row.id for row in task.examples.test}


def test_it_may_be_jinja(made: Any) -> None:
    task = made("{{ 'late' if text|length > 21 else 'early' }}")
    assert set(task.groups.values()) == {"late", "early"}
    assert len(task.groups) == len(task.examples.test)


def test_nothing_is_made_anew_for_it(made: Any) -> None:
    """A group is in no example, so in no key of a step or a measurement."""
    assert made("region").examples == made(None).examples
    assert splits_digest(made("region")) == splits_digest(made(None))


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("regions", "no column 'regions': did you mean 'region'?"),
        ("{{ regin }}", "no column 'regin': did you mean 'region'?"),
        ("one", "test rows are all of one group, 'x'"),
        ("{{ '' }}", "test rows are of no group"),
    ],
)
def test_a_column_that_parts_nothing_is_said(made: Any, group: str, said: str) -> None:
    with pytest.raises(BadInput, match=said.replace("?", r"\?")):
        made(group)
