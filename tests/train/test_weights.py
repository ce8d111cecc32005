"""Class weights: torch's own weighted cross-entropy, however a batch is cut and whichever way the head is read; and they reach the
steps that learn labels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from tuneladder.ladder.tree import key_of, root_of, splits_digest
from tuneladder.model.ask import turns_of
from tuneladder.model.attach import draw_head
from tuneladder.model.packed import pack
from tuneladder.model.shelf import Shelf
from tuneladder.prompt.few_shot import FewShot
from tuneladder.task.encode import Encoded, encode_all
from tuneladder.task.pairs import encode_pairs
from tuneladder.train import losses
from tuneladder.train.batches import Labelled, bundle, packed, pad, pad_labelled, pad_pairs, side_by_side
from tuneladder.train.loop import Passes, read_log
from tuneladder.train.losses import answer_token, label_of, next_token, through_head
from tuneladder.train.supervised import lent_head
from tuneladder.tune.full import Full
from tuneladder.tune.linear_probe import LinearProbe
from tuneladder.tune.lora import Lora
from tuneladder.types import Variant

WEIGHTS = {"parcels": 0.3, "money": 2.5, "account": 1.0}


@pytest.fixture(scope="module")
def weighted(tiny_task):
    return replace(tiny_task, weights=WEIGHTS)


def pairs_of(task):
    rows = task.examples.train[:12]
    return [(turns_of(task.prompt, row), row.references[0]) for row in rows], [task.weights[row.references[0]] for row in rows]


def compare(passes, micros, expected, named):
    """The mean loss and all gradients, beside what torch gave for the whole batch."""
    learned = sum(micro.learned for micro in micros)
    expected.backward()
    wanted = {name: weight.grad.clone() for name, weight in named}
    for _, weight in named:
        weight.grad = None
    for _ in range(2):  # lanes go in turn at first, and then at once
        assert passes.gradients(micros, learned) == pytest.approx(expected.item(), rel=1e-5)
        for name, weight in named:
            torch.testing.assert_close(weight.grad, wanted[name], rtol=1e-3, atol=1e-6, msg=name)
            weight.grad = None
    assert passes.looked(passes.loss, micros)[0] == pytest.approx(expected.item(), rel=1e-5)
    passes.close()


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_heads_loss_is_torchs_weighted_cross_entropy(tiny_encoder, weighted, lanes):
    variant = lent_head(root_of(tiny_encoder, weighted), weighted)
    count = torch.tensor(list(WEIGHTS.values()))
    with Shelf("cpu", dtype=torch.float32).live(variant) as live:
        draw_head(live.model, live.fresh, seed=0)
        model = live.model.requires_grad_(True)
        labels = [weighted.labels.index(row.references[0]) for row in weighted.examples.train[:12]]
        read = live.texts.encode_many([row.turns[0].text for row in weighted.examples.train[:12]])
        rows = [Labelled(row.ids, [label], weight=float(count[label])) for row, label in zip(read, labels, strict=True)]
        whole = pad_labelled(rows)
        expected = functional.cross_entropy(model(**whole.read).logits, torch.tensor(labels), weight=count)
        micros = bundle(rows, tokens=96, lanes=lanes, pad=pad_labelled)
        assert len(micros) > 2
        assert sum(micro.learned for micro in micros) == pytest.approx(float(count[labels].sum()))
        named = [(name, own) for name, own in model.named_parameters() if "pooler" not in name or own.requires_grad]
        passes = Passes(model, label_of, [own for _, own in named], autocast=None, lanes=lanes)
        used = {name for name, own in named if torch.autograd.grad(label_of(model, whole), own, allow_unused=True)[0] is not None}
        compare(passes, micros, expected, [(name, own) for name, own in named if name in used])


@pytest.mark.parametrize("way", ["padded", "packed", "bare", "packed and bare"])
@pytest.mark.parametrize("lanes", [1, 2])
def test_an_answers_tokens_have_the_rows_weight(tiny_folder, tiny_base, weighted, way, lanes, monkeypatch):
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr(losses, "PART", 320 * 3)
    monkeypatch.setattr(losses, "PIECE", 320 * 2)
    with Shelf("cpu", dtype=torch.float32).live(Variant(tiny_base, weighted.prompt)) as live:
        pairs, weights = pairs_of(weighted)
        rows, _ = encode_all(live.coder, pairs, weights=weights)
    assert [row.weight for row in rows] == weights
    plain = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    nats, counts = [], []
    for row in rows:  # one at a time, by transformers' own logits
        logits = plain(input_ids=torch.tensor([row.ids])).logits[0, :-1]
        learn = torch.tensor(row.learn[1:])
        nats.append(functional.cross_entropy(logits[learn], torch.tensor(row.ids[1:])[learn], reduction="none"))
        counts.append(torch.full((int(learn.sum()),), row.weight))
    expected = (torch.cat(nats) * torch.cat(counts)).sum() / torch.cat(counts).sum()
    if "packed" in way:
        assert pack(plain)
    lay = partial(side_by_side, pad=packed) if "packed" in way else partial(bundle, pad=pad)
    micros = lay(rows, tokens=256, lanes=lanes)
    assert len(micros) > 2
    named = list(plain.named_parameters())
    loss = partial(next_token, bare="bare" in way)
    compare(Passes(plain, loss, [own for _, own in named], autocast=None, lanes=lanes), micros, expected, named)


def test_a_seq2seqs_answers_too(tiny_seq2seq, weighted):
    from transformers import AutoModelForSeq2SeqLM

    with Shelf("cpu", dtype=torch.float32).live(Variant(tiny_seq2seq, weighted.prompt)) as live:
        pairs, weights = pairs_of(weighted)
        rows, _ = encode_pairs(live.pairs, pairs, weights=weights)
        start = live.pairs.start
    plain = AutoModelForSeq2SeqLM.from_pretrained(tiny_seq2seq.location)
    total = 0.0
    for row in rows:
        each = plain(input_ids=torch.tensor([row.source]), labels=torch.tensor([row.target])).loss
        total = total + each * len(row.target) * row.weight
    expected = total / sum(len(row.target) * row.weight for row in rows)
    micros = bundle(rows, tokens=256, pad=partial(pad_pairs, start=start))
    assert len(micros) > 2
    named = list(plain.named_parameters())
    compare(Passes(plain, answer_token, [own for _, own in named], autocast=None, lanes=1), micros, expected, named)


def test_the_bare_heads_loss_in_parts_is_weighted_cross_entropy(monkeypatch):
    monkeypatch.setattr(losses, "PART", 50 * 7)
    monkeypatch.setattr(losses, "PIECE", 50 * 3)
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 50)
    hidden, targets = torch.randn(23, 8, requires_grad=True), torch.randint(0, 50, (23,))
    classes = torch.rand(50) + 0.1
    expected = functional.cross_entropy(head(hidden), targets, weight=classes, reduction="sum")
    found = through_head(head, hidden, targets, classes[targets])
    torch.testing.assert_close(found, expected)
    wanted = [hidden, head.weight, head.bias]
    for mine, other in zip(torch.autograd.grad(found / 3, wanted), torch.autograd.grad(expected / 3, wanted), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_rows_that_all_count_one_have_no_weights():
    rows = [Encoded([1, 2, 3], [False, True, True], 0), Encoded([4, 5], [False, True], 0)]
    assert pad(rows).weights is None
    assert pad(rows).learned == 3
    assert pad([replace(rows[0], weight=0.5), rows[1]]).weights.tolist() == [0.5, 0.5, 1.0]
    # a first token is behind none that could foretell it, so that it is not learned and has no weight
    assert packed([Encoded([1, 2], [True, True], 0, weight=0.5)]).weights.tolist() == [0.5]


def test_what_does_not_fit_takes_its_weight_along(tiny_base, weighted):
    with Shelf("cpu", dtype=torch.float32).live(Variant(tiny_base, weighted.prompt)) as live:
        pairs, _ = pairs_of(weighted)
        pairs[1] = (pairs[1][0], "too long " * 400)
        rows, tally = encode_all(live.coder, pairs, weights=[float(at) for at in range(1, 13)])
    assert tally.dropped == 1
    assert [row.weight for row in rows] == [1.0, *(float(at) for at in range(3, 13))]


@pytest.mark.parametrize("step", [Full(epochs=1), Lora(epochs=1)])
@pytest.mark.parametrize("family", ["decoder", "encoder", "seq2seq"])
def test_weights_reach_the_steps_that_train(step, family, request, tiny_task, weighted, lend):
    base = request.getfixturevalue({"decoder": "tiny_base", "encoder": "tiny_encoder", "seq2seq": "tiny_seq2seq"}[family])
    found = []
    for name, task in (("plain", tiny_task), ("weighted", weighted)):
        kit = lend(name)
        step.apply(root_of(base, task), task, kit)
        found.append(read_log(kit.folder))
    assert found[0][0].loss != found[1][0].loss
    assert found[0][-1].dev != found[1][-1].dev


def test_a_probes_rows_count_as_scikit_learns_do(tiny_encoder, weighted, lend):
    kit, root = lend(), root_of(tiny_encoder, weighted)
    made = LinearProbe(strength=0.3).apply(root, weighted, kit)
    with kit.shelf.engine(root) as engine:
        train, dev = (
            engine.embed([turns_of(root.prompt, row) for row in rows]) for rows in (weighted.examples.train, weighted.examples.dev)
        )
    mean, scale = train.mean(0), np.where(train.std(0) > 1e-6, train.std(0), 1)
    right = [weighted.labels.index(row.references[0]) for row in weighted.examples.train]
    counts = np.array([WEIGHTS[row.references[0]] for row in weighted.examples.train])
    model = LogisticRegression(C=0.3, max_iter=2000).fit((train - mean) / scale, right, sample_weight=counts / counts.mean())
    with kit.shelf.engine(made) as engine:
        asks = [turns_of(made.prompt, row) for row in weighted.examples.dev]
        scores = np.array(engine.score(asks, [weighted.labels] * len(asks)))
    assert np.allclose(np.exp(scores), model.predict_proba((dev - mean) / scale), atol=1e-4)


def test_keys_change_with_the_weights_of_what_is_learned(tiny_base, tiny_task, weighted):
    plain, own = splits_digest(tiny_task), splits_digest(weighted)
    assert plain["train"] != own["train"]
    assert plain["dev"] == own["dev"]
    keys = [key_of(FewShot(), "root", each, tiny_base, 0) for each in (plain, splits_digest(replace(tiny_task, weights={})))]
    assert keys[0] == keys[1]
