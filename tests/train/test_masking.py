"""Masked language modelling: how much is hidden, by what, and that a step always hides the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tuneladder.task.passages import TextCoder
from tuneladder.task.tokenizer import train_tokenizer
from tuneladder.train.batches import Blocks
from tuneladder.train.masking import Masked, hide
from tuneladder.types import Document


@pytest.fixture(scope="module")
def coder() -> TextCoder:
    text = "The river runs past the mill. A heron stands in the shallows and waits."
    return TextCoder(train_tokenizer([Document(text)], vocabulary=300, context=64, mixture={}, seed=0, family="encoder"), 64)


@pytest.fixture
def batches(coder: TextCoder) -> Masked:
    tokens = {"mill": np.arange(3, 5003, dtype=np.uint16) % 297 + 3}
    blocks = Blocks(tokens, {}, length=40, batch=8, rows=4, steps=20, seed=0)
    return Masked(blocks, coder, vocabulary=300, seed=5)


def test_a_seventh_is_hidden_and_eight_of_ten_by_the_mask() -> None:
    ids = np.full(100_000, 7)
    hidden, places = hide(ids, np.arange(100_000), mask=2, vocabulary=1000, draw=np.random.default_rng(0))
    assert len(places) == 15_000
    assert (ids == 7).all()  # what was given stays
    became = hidden[places]
    assert (became == 2).mean() == pytest.approx(0.8, abs=0.01)
    assert (became == 7).mean() == pytest.approx(0.1, abs=0.01)
    assert (hidden[np.setdiff1d(np.arange(100_000), places)] == 7).all()


def test_rows_stand_between_their_marks_which_are_never_hidden(batches: Masked, coder: TextCoder) -> None:
    for step in range(len(batches)):
        for micro in batches[step]:
            assert micro.ids.shape == (4, 42)
            assert (micro.ids[:, 0] == coder.opening[0]).all()
            assert (micro.ids[:, -1] == coder.closing[0]).all()
            assert not set(micro.targets.tolist()) & coder.specials
            assert micro.learned == 4 * 6  # 15 % of 40


def test_what_is_hidden_is_a_function_of_the_step(batches: Masked, coder: TextCoder) -> None:
    again = Masked(batches.blocks, coder, vocabulary=300, seed=5)
    other = Masked(batches.blocks, coder, vocabulary=300, seed=6)
    assert all(torch.equal(a.ids, b.ids) and torch.equal(a.rows, b.rows) for a, b in zip(batches[7], again[7], strict=True))
    assert not all(torch.equal(a.rows, b.rows) for a, b in zip(batches[7], other[7], strict=True))
    assert not torch.equal(batches[0][0].rows, batches[1][0].rows)  # dynamic: another draw each time


def test_narrower_passes_have_the_same_rows(batches: Masked) -> None:
    wide = batches[3]
    assert batches.narrow()
    narrow = batches[3]
    assert [len(micro.ids) for micro in wide + narrow] == [4, 4, 2, 2, 2, 2]
    assert torch.equal(torch.cat([micro.ids for micro in narrow]), torch.cat([micro.ids for micro in wide]))
    assert [batches.narrow(), batches.narrow()] == [True, False]
