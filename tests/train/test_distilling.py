"""Distilled sentence embeddings: pieces of text, batches with aims, and the loss."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
import torch

from tuneladder.model.attention import packs
from tuneladder.model.shelf import Shelf
from tuneladder.train.batches import Micro
from tuneladder.train.distilling import (
    Aims,
    AlsoTowardTeacher,
    Student,
    TowardTeacher,
    beside,
    drawn,
    embeddings,
    encoded,
    hidden_in,
    laid,
    pieces,
    reading_of,
)
from tuneladder.train.losses import next_token
from tuneladder.types import Document, Prompt, Turn, Variant

TEXT = " ".join(f"Sentence {n} of the story is here." for n in range(200))


def test_pieces_are_whole_sentences_and_all_of_the_text() -> None:
    found = pieces(TEXT, random.Random(0))
    assert " ".join(found) == TEXT
    assert all(piece.endswith(".") for piece in found)
    sizes = [len(piece) for piece in found]
    assert min(sizes) < 150
    assert max(sizes) > 400


@pytest.mark.parametrize(
    ("text", "between"),
    [
        (" ".join(f"word{n}" for n in range(2000)), " "),  # a table or a list: no sentence ends
        ("\n".join(f"- entry {n}" for n in range(800)), ""),
        ("这是一个句子。" * 500, ""),
        ("这是一个没有标点的句子" * 500, ""),
    ],
)
def test_pieces_are_all_of_a_text_without_latin_sentences(text: str, between: str) -> None:
    found = pieces(text, random.Random(0))
    assert "".join(between.join(found).split()) == "".join(text.split())
    assert max(map(len, found)) <= 900
    assert len(found) > 5


def test_sources_are_drawn_by_their_weight() -> None:
    documents = [Document(TEXT, "a"), Document(TEXT.replace("story", "river"), "b")]
    texts = drawn(documents, {"a": 1, "b": 3}, characters=80_000, seed=0)
    size = {name: sum(len(text) for text in texts if name in text) for name in ("story", "river")}
    assert size["river"] / size["story"] == pytest.approx(3, rel=0.1)
    assert sum(map(len, texts)) == pytest.approx(80_000, rel=0.1)
    assert drawn(documents, {"a": 1, "b": 3}, characters=80_000, seed=0) == texts


@pytest.fixture(scope="module")
def live(tiny_encoder):
    with Shelf("cpu", dtype=torch.float32).live(Variant(tiny_encoder, Prompt())) as lent:
        yield lent


def aims(live, *, tokens: int) -> Aims:
    lay = partial(hidden_in, coder=live.texts, vocabulary=320, seed=0)
    return Aims(*texts_and_aims(live, "encoder"), lay, batch=8, tokens=tokens)


def texts_and_aims(live, family):
    texts = pieces(TEXT, random.Random(0))[:16]
    ids = encoded(texts, reading_of(live, family, length=64), vocabulary=320)
    vectors = np.random.default_rng(0).normal(size=(len(texts), 8))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return ids, unit, list(range(len(texts)))


def total(live, micros: list[Micro], *, similarity: float, hidden: float) -> float:
    student = Student(live.model, width=32, aims=8, seed=0)
    loss = TowardTeacher(similarity=similarity, hidden=hidden, per_row=4.0)
    with torch.no_grad():
        return float(sum(loss(student, micro) for micro in micros)) / sum(micro.learned for micro in micros)


def test_the_loss_is_the_large_batch_however_it_is_cut(live) -> None:
    whole, cut = aims(live, tokens=10**6)[1], aims(live, tokens=100)[1]
    assert len(whole) == 1
    assert len(cut) > 2
    assert whole[0].learned == 8
    assert total(live, whole, similarity=0, hidden=0.1) == pytest.approx(total(live, cut, similarity=0, hidden=0.1), rel=1e-4)


def test_each_part_of_the_loss_counts(live) -> None:
    micros = aims(live, tokens=10**6)[0]
    plain = total(live, micros, similarity=0, hidden=0)
    assert 0 < plain < 2
    assert total(live, micros, similarity=4, hidden=0) > plain
    assert total(live, micros, similarity=0, hidden=0.1) > plain


def test_half_of_the_rows_have_tokens_hidden(live) -> None:
    batches = aims(live, tokens=10**6)
    rows = [
        row for step in range(len(batches)) for micro in batches[step] for row in (micro.ids == live.texts.mask).any(1).tolist()
    ]
    assert 0.2 < sum(rows) / len(rows) < 0.8


def test_narrower_passes_have_the_same_rows(live) -> None:
    batches = aims(live, tokens=512)
    wide = max(micro.size for micro in batches[1])
    rows = sum(len(micro.ids) for micro in batches[1])
    assert batches.narrow()
    assert max(micro.size for micro in batches[1]) <= wide / 2
    assert sum(len(micro.ids) for micro in batches[1]) == rows
    while batches.narrow():
        assert batches.tokens >= 1
    assert all(len(micro.ids) == 1 for micro in batches[1])


# ---- beside running text ----


@pytest.fixture(scope="module")
def decoder(tiny_base):
    with Shelf("cpu", dtype=torch.float32).live(Variant(tiny_base, Prompt())) as lent:
        yield lent


@pytest.mark.parametrize("family", ["decoder", "seq2seq"])
def test_a_student_embeds_as_its_engine_does(family, tiny_base, tiny_seq2seq):
    variant = Variant({"decoder": tiny_base, "seq2seq": tiny_seq2seq}[family], Prompt())
    shelf = Shelf("cpu", dtype=torch.float32)
    texts = ["The heron waits.", "A mill turns slowly in the wind.", "Fish."]
    with shelf.engine(variant) as engine:
        expected = engine.embed([(Turn("text", text),) for text in texts])
    with shelf.live(variant) as live, torch.no_grad():
        ids = encoded(texts, reading_of(live, family, length=64), vocabulary=320)
        (micro,) = Aims(ids, np.zeros((3, 8), np.float32), [0, 1, 2], laid, batch=3, tokens=10**6)[0]
        found = embeddings(live.model.eval(), micro)
    order = sorted(range(3), key=lambda at: len(ids[at]))
    np.testing.assert_allclose(found.numpy(), expected[order], atol=1e-5)


def test_packed_rows_have_the_embeddings_of_padded_ones(decoder) -> None:
    own = texts_and_aims(decoder, "decoder")
    (apart,) = Aims(*own, laid, batch=8, tokens=10**6)[1]
    with torch.no_grad():
        expected = embeddings(decoder.model.eval(), apart)
        assert packs(decoder.model, 64, "cpu")
        (micro,) = Aims(*own, partial(laid, side_by_side=True), batch=8, tokens=10**6)[1]
        found = embeddings(decoder.model, micro)[: len(micro.aims)]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(micro.aims, apart.aims)


def test_rows_with_aims_count_as_asked_beside_the_text(tiny_base) -> None:
    with Shelf("cpu", dtype=torch.float32).live(Variant(tiny_base, Prompt())) as live, torch.no_grad():
        ids = torch.arange(40).view(2, 20)
        text = [Micro(ids[:, :-1].contiguous(), None, ids[:, 1:].reshape(-1))]
        aimed = Aims(*texts_and_aims(live, "decoder"), laid, batch=8, tokens=200)[0]
        assert len(aimed) > 1
        student = Student(live.model.eval(), width=32, aims=8, seed=0)
        loss = AlsoTowardTeacher(next_token, similarity=0.0)

        def mean(micros):
            return float(sum(loss(student, micro) for micro in micros)) / sum(micro.learned for micro in micros)

        alone = float(next_token(live.model, text[0])) / 38
        rows = mean(beside(text, aimed, toward=1.0)[1:])
        assert 0.2 < rows < 2
        for toward in (0.5, 3.0):
            both = beside(text, aimed, toward=toward)
            assert sum(micro.learned for micro in both) == pytest.approx(38 * (1 + toward))
            assert mean(both) == pytest.approx((alone + toward * rows) / (1 + toward), rel=1e-4)


def test_the_first_rows_follow_the_last(live) -> None:
    batches = aims(live, tokens=10**6)
    assert len(batches) == 2
    assert torch.equal(batches[2][0].ids, batches[0][0].ids)
