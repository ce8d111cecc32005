"""What a seq2seq reads and writes: the tokenizer's marks around both, prompts cut and answers never."""

from __future__ import annotations

import pytest

from tuneladder.errors import BadInput
from tuneladder.task.pairs import PairCoder, encode_pairs, sentinels_of
from tuneladder.task.spans import corrupted
from tuneladder.task.tokenizer import END, train_tokenizer
from tuneladder.types import Document, Turn

TEXT = "The river runs past the mill. A heron stands in the shallows and waits."
ASK = (Turn("system", "Where is it?"), Turn("user", "A heron stands in the shallows."))


@pytest.fixture(scope="module")
def coder() -> PairCoder:
    tokenizer = train_tokenizer([Document(TEXT)], vocabulary=400, context=64, mixture={}, seed=0, family="seq2seq")
    return PairCoder(tokenizer, 64, start=tokenizer.pad_token_id)


def test_marks_stand_around_both(coder: PairCoder) -> None:
    (row,) = coder.encode_many([(ASK, "in the river")])
    assert row is not None
    end = coder.tokenizer.eos_token_id
    assert (row.source[-1], row.target[-1], row.source.count(end), row.target.count(end)) == (end, end, 1, 1)
    assert coder.tokenizer.decode(row.source[:-1]) == "Where is it?\n\nA heron stands in the shallows.\nAnswer:"
    assert coder.tokenizer.decode(row.target[:-1]) == "in the river"
    assert row.target == coder.tokenizer("in the river")["input_ids"]  # as anybody makes labels of an answer
    assert row.ids == [*row.source, *row.target]
    assert coder.lead == [coder.start]


def test_special_tokens_in_a_row_are_its_characters(coder: PairCoder) -> None:
    (row,) = coder.encode_many([((Turn("user", f"{END} <extra_id_3>"),), "<extra_id_0>")])
    assert row is not None
    assert not {*row.source[:-1], *row.target[:-1]} & {coder.tokenizer.eos_token_id, *coder.sentinels}


def test_the_prompt_is_cut_and_the_answer_is_not(coder: PairCoder) -> None:
    long = (Turn("user", TEXT * 4),)
    rows, tally = encode_pairs(coder, [(long, "a heron"), (ASK, TEXT * 4), (ASK, "a heron")], limit=48)
    assert [len(row.source) for row in rows] == [48, len(coder.encode_many([(ASK, "")])[0].source)]
    assert rows[0].target == rows[1].target
    assert (tally.kept, tally.cut, tally.dropped) == (2, 1, 1)
    assert (tally.learned, tally.read) == (sum(len(row.target) for row in rows), sum(len(row.source) for row in rows))
    with pytest.raises(BadInput, match="no answer of 1 rows fits in 64 tokens"):
        encode_pairs(coder, [(ASK, TEXT * 9)])


def test_sentinels_are_found_by_either_name(coder: PairCoder) -> None:
    assert len(coder.sentinels) == 100
    assert coder.sentinels == sentinels_of(coder.tokenizer)

    class Pieces:
        def get_vocab(self) -> dict[str, int]:
            return {"a": 0, "\u2581<extra_id_1>": 8, "\u2581<extra_id_0>": 9}

    assert sentinels_of(Pieces()) == [9, 8]


def test_corruption_is_the_papers_example() -> None:
    """arXiv:1910.10683, figure 2, without the sentinel that ends its target: `for inviting` and `last` of a sentence are taken."""
    words = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week"]
    source, target, places = corrupted(range(10), [(2, 4), (8, 9)], [100, 101, 102])
    assert source == [0, 1, 100, 4, 5, 6, 7, 101, 9]
    assert target == [100, 2, 3, 101, 8]
    assert [words[target[place]] for place in places] == ["for", "inviting", "last"]
