"""What outsiders make of labelled rows: out of fold, and by their neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tuneladder.evaluate.disagreements import suspicion
from tuneladder.ladder import outsiders
from tuneladder.ladder.outsiders import embeddings, out_of_fold, pool, views
from tuneladder.model.shelf import Shelf
from tuneladder.store import Store
from tuneladder.types import Base, Example, Prompt, Turn, Variant

WORDS = {"sport": ("goal", "match", "coach", "team"), "money": ("bank", "tax", "shares", "profit")}
LABELS = tuple(WORDS)


def example(number: int, text: str, label: str) -> Example:
    return Example(str(number), (Turn("user", text),), (label,))


@pytest.fixture
def rows() -> list[Example]:
    """40 rows whose words tell their label, the first of each label under the other's."""
    texts = [(f"the {a} and the {b} {n}", label) for label, own in WORDS.items() for n, a in enumerate(own) for b in (*own, "end")]
    flipped = {0: "money", 20: "sport"}
    return [example(n, text, flipped.get(n, label)) for n, (text, label) in enumerate(texts)]


def test_a_wrong_label_is_the_most_suspect(rows: list[Example]) -> None:
    (seen,) = views(rows, len(rows), LABELS, None, seed=0)
    assert seen.name == "TF-IDF"
    assert seen.probabilities.sum(1) == pytest.approx(np.ones(len(rows)))
    doubt = suspicion([seen], [row.references[0] for row in rows], LABELS)
    assert set(np.argsort(-doubt)[:2].tolist()) == {0, 20}


def test_a_rows_own_label_does_not_speak_for_it(rows: list[Example]) -> None:
    features = np.eye(len(rows))  # nothing can be learned of a row but from itself
    found = out_of_fold(features, rows, len(rows), LABELS, 1e6, seed=0)
    own = [LABELS.index(row.references[0]) for row in rows]
    assert found[np.arange(len(rows)), own].max() < 0.6
    drawn = np.random.default_rng(0).normal(size=(len(rows), 4))
    once, again, other = (out_of_fold(drawn, rows, len(rows), LABELS, 1.0, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


def test_only_what_is_asked_about_is_answered_and_neighbours_are_others(rows: list[Example]) -> None:
    (seen,) = views(rows, 3, LABELS, None, seed=0)
    assert len(seen.probabilities) == len(seen.nearest) == 3
    for row, near in zip(rows, seen.nearest, strict=False):
        assert len(near) == outsiders.NEAREST
        assert row.turns[0].text not in [each.text for each in near]
        assert [each.likeness for each in near] == sorted((each.likeness for each in near), reverse=True)


def test_an_encoder_is_a_second_view_made_once(rows: list[Example], tiny_encoder: Base, tmp_path: Path) -> None:
    variant, store = Variant(tiny_encoder, Prompt()), Store(tmp_path)
    first = embeddings(variant, rows, Shelf(), store)
    assert first.shape == (len(rows), tiny_encoder.width)
    before = sorted(tmp_path.glob("embeddings-*/done.json"))
    assert np.array_equal(first, embeddings(variant, rows, Shelf(), store))
    assert sorted(tmp_path.glob("embeddings-*/done.json")) == before
    assert [view.name for view in views(rows, 5, LABELS, first, seed=0)] == ["TF-IDF", "encoder"]


def test_what_is_scarce(monkeypatch: pytest.MonkeyPatch) -> None:
    signs = [example(n, "!", "sport") for n in range(3)]
    assert views(signs, 3, LABELS, None, seed=0) == ()
    single = [example(n, f"word {n}", "sport") for n in range(7)]
    (seen,) = views(single, 7, LABELS, None, seed=0)
    assert seen.probabilities[:, 0] == pytest.approx(np.ones(7))
    (alone,) = views(single[:1], 1, LABELS, None, seed=0)
    assert alone.nearest == ((),)
    monkeypatch.setattr(outsiders, "MOST", 5)
    drawn = pool(single[:2], single[2:], seed=0)
    assert drawn[:2] == single[:2]
    assert len(drawn) == 5
    assert drawn == pool(single[:2], single[2:], seed=0)
