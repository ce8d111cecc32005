"""Span corruption: how much is taken, in what form, that a step always takes the same; and the lessons beside it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

from tuneladder.errors import BadInput
from tuneladder.ladder.tree import root_of
from tuneladder.model.inspect import from_shape
from tuneladder.model.root import root_base
from tuneladder.store import Store
from tuneladder.task.pairs import PairCoder, Paired
from tuneladder.task.tokenizer import train_tokenizer
from tuneladder.train.batches import Blocks
from tuneladder.train.corrupting import Corrupted, LessonTokens, framed, held_out, spans_of, times_of
from tuneladder.train.loop import read_log
from tuneladder.train.losses import answer_token
from tuneladder.tune.pretrain import Pretrain
from tuneladder.types import Document, Lesson, Text

STEP = Pretrain(tokens=1024, length=32, batch_size=4, learning_rate=2e-3, looks=4, compile="off")


@pytest.fixture(scope="module")
def coder() -> PairCoder:
    text = "The river runs past the mill. A heron stands in the shallows and waits."
    tokenizer = train_tokenizer([Document(text)], vocabulary=400, context=64, mixture={}, seed=0, family="seq2seq")
    return PairCoder(tokenizer, 64, start=tokenizer.pad_token_id)


@pytest.fixture
def blocks() -> Blocks:
    tokens = {"mill": np.arange(5000, dtype=np.uint16) % 290 + 102}
    return Blocks(tokens, {}, length=40, batch=8, rows=4, steps=20, seed=0)


def test_a_seventh_is_taken_in_spans_of_three() -> None:
    draw = np.random.default_rng(0)
    sizes = []
    for _ in range(200):
        spans = spans_of(512, most=100, draw=draw)
        assert len(spans) == round(0.15 * 512 / 3)
        assert sum(end - start for start, end in spans) == round(0.15 * 512)
        assert spans[0][0] > 0  # a text begins with what is kept, and ends with a span
        assert spans[-1][1] == 512
        assert all(a[1] < b[0] for a, b in pairwise(spans))
        sizes += [end - start for start, end in spans]
    assert min(sizes) == 1
    assert max(sizes) > 8
    assert len(spans_of(512, most=5, draw=draw)) == 5
    assert spans_of(2, most=5, draw=draw) == [(1, 2)]


def test_source_and_target_make_the_text_again(coder: PairCoder) -> None:
    block = np.arange(102, 142)
    row = framed(block, coder, np.random.default_rng(3))
    end, sentinels = coder.closing[0], set(coder.sentinels)
    assert (row.source[-1], row.target[-1]) == (end, end)
    assert [token for token in row.source if token in sentinels] == [token for token in row.target if token in sentinels]
    told: list[int] = []
    for token in row.source[:-1]:
        if token in sentinels:
            after = row.target[row.target.index(token) + 1 : -1]
            stop = next((at for at, other in enumerate(after) if other in sentinels), len(after))
            told += after[:stop]
        else:
            told.append(token)
    assert told == block.tolist()


def test_rows_of_a_step_are_of_one_length_and_the_loss_is_plain_transformers(coder, blocks, tiny_seq2seq) -> None:
    micros = Corrupted(blocks, coder, {}, lanes=1, seed=5)[3]
    assert [micro.ids.shape for micro in micros] == [(4, 40 - 6 + 2 + 1)] * 2
    assert [micro.answers.shape for micro in micros] == [(4, 6 + 2 + 1)] * 2
    assert all(micro.mask is None and micro.rows is None for micro in micros)
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_seq2seq.location)
    labels = micros[0].targets.view(4, -1)
    with torch.no_grad():
        expected = float(model(input_ids=micros[0].ids, labels=labels).loss) * labels.numel()
        found = float(answer_token(model, micros[0]))
    assert found == pytest.approx(expected, rel=1e-5)


def test_what_is_taken_is_a_function_of_the_step(coder: PairCoder, blocks: Blocks) -> None:
    one, again, other = (Corrupted(blocks, coder, {}, lanes=1, seed=seed) for seed in (5, 5, 6))
    assert all(torch.equal(a.targets, b.targets) and torch.equal(a.ids, b.ids) for a, b in zip(one[7], again[7], strict=True))
    assert not all(torch.equal(a.ids, b.ids) for a, b in zip(one[7], other[7], strict=True))


def test_lessons_are_read_whole_each_round_beside_the_text(coder: PairCoder) -> None:
    rows = [Paired([200 + n % 100] * (3 + n % 9), [300 + n % 50] * (2 + n % 4)) for n in range(400)]
    lessons = LessonTokens.of(rows, length=40, width=np.uint16)
    assert lessons.within(0, len(lessons.tokens)) == rows
    tokens = {"mill": np.arange(5000, dtype=np.uint16) % 290 + 102, "asked": lessons.tokens}
    steps = 2 * len(lessons.tokens) // (40 * 8)  # with half of the weight, one round
    drawn = Blocks(tokens, {"mill": 1, "asked": 1}, length=40, batch=8, rows=4, steps=steps, seed=1)
    batches = Corrupted(drawn, coder, {"asked": lessons}, lanes=2, seed=0)
    seen = sum(len(micro.ids) for step in range(steps) for micro in batches[step] if micro.mask is not None)
    assert seen == pytest.approx(400, rel=0.15)
    long = LessonTokens.of([Paired(list(range(100)), [7, 0])], length=40, width=np.uint16).within(0, 1)
    assert long == [Paired([*range(19), *range(81, 100)], [7, 0])]  # its middle is gone, its answer is not


def test_a_lesson_is_asked_as_a_step_that_tunes_asks(tiny_seq2seq, tiny_task, lend) -> None:
    """A source of lessons alone beside the prose: its answers are learned, and its text is no running text."""
    asked = tuple(
        Lesson(f"Which desk?\n\n{row.turns[0].text}\nAnswer: {row.references[0]}", "desks", row.turns[0].text, row.references[0])
        for row in tiny_task.examples.train
        for _ in range(3)
    )
    root = root_of(tiny_seq2seq, tiny_task)
    both = replace(tiny_task, text=replace(tiny_task.text, train=(*tiny_task.text.train, *asked)), mixture={"desks": 3.0})
    kits = {name: lend(name) for name in ("plain", "both", "again")}
    STEP.apply(root, tiny_task, kits["plain"])
    for name in ("both", "again"):
        STEP.apply(root, both, kits[name])
    logs = {name: [tick.loss for tick in read_log(kit.folder)] for name, kit in kits.items()}
    assert logs["both"] == logs["again"] != logs["plain"]


def test_held_out_text_is_corrupted_alike_each_time(coder: PairCoder) -> None:
    texts = ["The river runs past the mill. " * 20]
    first, again = (held_out(texts, coder, length=24, rows=3, end=0) for _ in range(2))
    assert len(first) > 1
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(first, again, strict=True))
    assert held_out(["The mill"], coder, length=24, rows=3, end=0) == []


def test_too_little_text_says_so(tiny_seq2seq, tiny_task, lend) -> None:
    none = replace(tiny_task, text=Text((Document("the mill", "mill"),)))
    with pytest.raises(BadInput, match="no source of text is longer than 32 tokens"):
        STEP.apply(root_of(tiny_seq2seq, none), none, lend())


def test_only_who_asks_has_the_stacks_compiled(tiny_seq2seq, tiny_task, lend, monkeypatch) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
    monkeypatch.setattr(Pretrain, "_compiled", True)  # as for work of millions of tokens
    for how, names in (("auto", []), ("on", ["T5Stack", "T5Stack"])):
        compiled.clear()
        replace(STEP, tokens=128, compile=how).apply(root_of(tiny_seq2seq, tiny_task), tiny_task, lend(how))
        assert compiled == names


def test_rates_of_a_t5_follow_the_sizes_of_its_weights(tiny_seq2seq) -> None:
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_seq2seq.location)
    times = times_of(model)
    assert times["shared.weight"] == pytest.approx(1, abs=0.05)
    assert times["encoder.block.0.layer.0.SelfAttention.q.weight"] == pytest.approx(8**-0.5)
    assert times["decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] == pytest.approx(32**0.5)
    assert len(times) == 1 + 2 + 6  # the table, two biases, and the queries of two layers of an encoder and of a decoder
    with torch.no_grad():
        model.shared.weight.mul_(3)
    assert times_of(model)["shared.weight"] == pytest.approx(3, abs=0.15)
    as_t5_draws_it = AutoModelForSeq2SeqLM.from_config(model.config)
    assert times_of(as_t5_draws_it)["shared.weight"] == pytest.approx(32**0.5, rel=0.05)
    model.config.scale_decoder_outputs = False
    assert "shared.weight" not in times_of(model)


def test_a_root_has_a_narrow_table_and_guesses_evenly_at_first(tiny_task, tmp_path) -> None:
    shape = {"family": "seq2seq", "layers": 2, "width": 64, "heads": 4, "vocabulary": 420}
    base = root_base(from_shape("tiny", shape), tiny_task, Store(tmp_path), seed=0)
    model = AutoModelForSeq2SeqLM.from_pretrained(base.location)
    assert float(model.shared.weight.detach().std()) == pytest.approx(64**-0.5, rel=0.05)
    ids = torch.arange(4, 68)[None]
    logits = model(input_ids=ids, decoder_input_ids=ids.flip(1)).logits
    assert float(logits.detach().std()) == pytest.approx(1, rel=0.15)


def test_narrower_passes_have_the_same_rows(coder: PairCoder) -> None:
    own = Blocks({"mill": np.arange(102, 5102, dtype=np.uint16) % 290 + 102}, {}, length=40, batch=8, rows=4, steps=20, seed=0)
    batches = Corrupted(own, coder, {}, lanes=1, seed=5)
    wide = batches[3]
    assert batches.narrow()
    assert [len(micro.ids) for micro in batches[3]] == [2, 2, 2, 2]
    assert torch.equal(torch.cat([micro.ids for micro in batches[3]]), torch.cat([micro.ids for micro in wide]))
