"""Learning answers on a seq2seq: the loss and gradients of plain transformers, however rows are batched; what is saved opens."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

from tuneladder.model.ask import turns_of
from tuneladder.model.shelf import Shelf
from tuneladder.task.pairs import Paired, encode_pairs
from tuneladder.train.batches import bundle, pad_pairs
from tuneladder.train.loop import Passes
from tuneladder.train.losses import answer_token
from tuneladder.tune.full import Full
from tuneladder.tune.lora import Lora
from tuneladder.types import Decoding, Variant


@pytest.fixture(scope="module")
def rows(tiny_seq2seq, tiny_task):
    """Pairs of unlike length, and the coder that made them."""
    long = " and ".join(["the mill turns"] * 5)
    with Shelf("cpu", dtype=torch.float32).live(Variant(tiny_seq2seq, tiny_task.prompt)) as live:
        pairs = [
            (turns_of(tiny_task.prompt, example), long if at % 3 == 0 else example.references[0])
            for at, example in enumerate(tiny_task.examples.train[:9])
        ]
        return encode_pairs(live.pairs, pairs)[0], live.pairs


@pytest.mark.parametrize("lanes", [1, 2])
def test_loss_and_gradients_are_those_of_plain_transformers(rows, tiny_seq2seq, lanes):
    paired, coder = rows
    plain = AutoModelForSeq2SeqLM.from_pretrained(tiny_seq2seq.location)
    learned = sum(len(row.target) for row in paired)
    expected = 0.0
    for row in paired:  # one at a time: no padding at all
        loss = plain(input_ids=torch.tensor([row.source]), labels=torch.tensor([row.target])).loss * len(row.target) / learned
        loss.backward()
        expected += float(loss.detach())
    wanted = {name: weight.grad.clone() for name, weight in plain.named_parameters()}
    plain.zero_grad(set_to_none=True)
    micros = bundle(paired, tokens=256, lanes=lanes, pad=partial(pad_pairs, start=coder.start))
    assert len(micros) > 1
    assert sum(micro.learned for micro in micros) == learned
    passes = Passes(plain, answer_token, list(plain.parameters()), autocast=None, lanes=lanes)
    assert passes.gradients(micros, learned) == pytest.approx(expected, rel=1e-5)
    for name, weight in plain.named_parameters():
        assert torch.allclose(weight.grad, wanted[name], rtol=1e-3, atol=1e-6), name
    passes.close()


def test_pairs_stand_beside_those_whose_parts_are_as_long(rows):
    coder = rows[1]
    shapes = [(16, 240), (240, 16), (128, 128), (20, 200), (200, 20), (130, 120)] * 4
    data = [Paired([5] * source, [6] * target) for source, target in shapes]
    micros = bundle(data, tokens=2048, overhead=16, pad=partial(pad_pairs, start=coder.start))
    assert sum(len(micro.ids) for micro in micros) == len(data)
    assert all(micro.size <= 2048 for micro in micros)
    # sorted by their sums alone, all of these would be padded to twice what they hold
    assert sum(micro.size for micro in micros) < 1.25 * sum(map(sum, shapes))


def test_the_head_runs_on_learned_places_alone(rows, tiny_seq2seq):
    paired, coder = rows
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_seq2seq.location)
    seen = []
    model.lm_head.register_forward_hook(lambda module, given, made: seen.append(made.shape[:-1]))
    micro = pad_pairs(paired, start=coder.start)
    answer_token(model, micro)
    assert seen == [(sum(len(row.target) for row in paired),)]
    assert micro.size == micro.ids.numel() + micro.answers.numel()


@pytest.mark.parametrize(
    "step", [Lora(epochs=2, learning_rate=1e-2, batch_size=8), Full(epochs=2, learning_rate=2e-3, batch_size=8)]
)
def test_what_is_saved_answers_the_same_everywhere(step, tiny_seq2seq, tiny_task, lend):
    from peft import PeftModel

    task = replace(tiny_task, examples=replace(tiny_task.examples, train=tiny_task.examples.train[:12]))
    made = step.apply(Variant(tiny_seq2seq, task.prompt), task, lend())
    model = AutoModelForSeq2SeqLM.from_pretrained(made.weights or tiny_seq2seq.location, dtype=torch.float32)
    model = (PeftModel.from_pretrained(model, made.adapter) if made.adapter else model).eval()
    asks = [turns_of(made.prompt, example) for example in task.examples.dev[:3]]
    with Shelf("cpu", dtype=torch.float32).engine(made) as engine:
        texts = engine.generate(asks, Decoding(max_new_tokens=6))
        scores = engine.score(asks, [task.labels] * 3)
        for ask, (text,), own in zip(asks, texts, scores, strict=True):
            source = torch.tensor([engine.coder.sources([ask])[0][0]])
            out = model.generate(input_ids=source, max_new_tokens=6, do_sample=False)
            assert text == engine.coder.tokenizer.decode(out[0], skip_special_tokens=True)
            labels = torch.tensor(engine.coder.targets([task.labels[0]], close=False))
            with torch.no_grad():
                expected = -float(model(input_ids=source, labels=labels).loss) * labels.numel()
            assert own[0] == pytest.approx(expected, rel=1e-3)
