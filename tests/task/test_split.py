from __future__ import annotations

from collections import Counter

from tuneladder.task.split import draw
from tuneladder.types import Example, Turn


def rows(count: int, sources: int | None = None) -> list[Example]:
    return [
        Example(id=str(n), turns=(Turn("user", "x"),), references=("ab"[n % 3 == 0],), source=f"s{n % (sources or count)}")
        for n in range(count)
    ]


def label(example: Example) -> str:
    return example.references[0]


def test_shares_and_order() -> None:
    drawn, rest = draw(rows(300), 60, seed=1, stratum=label)
    assert Counter(map(label, drawn)) == {"a": 40, "b": 20}
    assert [int(e.id) for e in drawn] == sorted(int(e.id) for e in drawn)
    assert sorted([*drawn, *rest], key=lambda e: int(e.id)) == rows(300)
    assert draw(rows(300), 60, seed=1, stratum=label)[0] == drawn
    assert draw(rows(300), 60, seed=2, stratum=label)[0] != drawn


def test_sources_are_whole() -> None:
    drawn, rest = draw(rows(300, sources=50), 60, seed=1, stratum=lambda _: "")
    assert not {e.source for e in drawn} & {e.source for e in rest}
    assert len(drawn) == 60


def test_each_stratum_keeps_a_source() -> None:
    drawn, rest = draw(rows(6), 6, seed=0, stratum=label)
    assert {label(e) for e in rest} == {"a", "b"}
    assert len(drawn) == 4


def test_caps_are_exact() -> None:
    for count in range(1, 30):
        assert len(draw(rows(29, sources=4), count, seed=0, stratum=label, whole=False, keep=0)[0]) == count
