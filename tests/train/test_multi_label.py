"""Several labels a row: the loss is that of plain transformers, what is saved answers the same there, text is written and read."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tuneladder.errors import Refused
from tuneladder.ladder.tree import root_of
from tuneladder.model.ask import ask
from tuneladder.model.shelf import Shelf
from tuneladder.prompt.few_shot import FewShot
from tuneladder.prompt.zero_shot import ZeroShot
from tuneladder.store import Store
from tuneladder.task.multi_label import labels_of, likely
from tuneladder.train.batches import bundle, pad_labelled
from tuneladder.train.loop import read_log
from tuneladder.train.losses import labels_of as loss_of
from tuneladder.train.supervised import _label
from tuneladder.tune.full import Full
from tuneladder.tune.linear_probe import LinearProbe
from tuneladder.tune.lora import Lora
from tuneladder.tune.selective import Selective
from tuneladder.types import Decoding, Example, Head, Kit, Pace, Prompt, Split, Task, Turn

LABELS = ("animal", "never", "team", "water")
SENTENCES = (
    ("The river runs past the mill", "water"),
    ("A heron stands in the shallows and waits", "animal, water"),
    ("The team won the final by two goals", "team"),
    ("A heron looks on while the team plays", "animal, team"),
    ("Have a good day", "none"),
)
FULL = Full(epochs=10, batch_size=5, learning_rate=5e-3)
LORA = Lora(epochs=10, batch_size=5, learning_rate=2e-2)
PACE = Pace(1e9)


@pytest.fixture(scope="module")
def task() -> Task:
    rows = [
        Example(f"{number} {time}", (Turn("user", f"{text} {time}"),), (own,))
        for time in ("once", "then", "now", "here", "there")
        for number, (text, own) in enumerate(SENTENCES)
    ]
    prompt = Prompt(instruction="What is in it?", parse="labels", decoding=Decoding(max_new_tokens=16))
    split = Split(tuple(rows[:15]), tuple(rows[15:20]), tuple(rows[20:]))
    return Task("scenes", "classify", split, prompt=prompt, labels=LABELS, metric="micro_f1", multi_label=True)


@pytest.fixture(scope="module")
def root(tiny_encoder, task):
    return root_of(tiny_encoder, task)


def right(engine, variant, rows) -> float:
    answers = ask(engine, variant.prompt, rows, LABELS)
    return sum(answer.text == row.references[0] for answer, row in zip(answers, rows, strict=True)) / len(rows)


def test_loss_and_gradients_are_those_of_plain_transformers(root, task):
    with Shelf("cpu", dtype=torch.float32).live(replace(root, head=Head("multi_label", LABELS))) as live:
        rows, tally = _label(live, root, task.examples.train, task, 128)
        assert tally["kept"] == 15
        assert rows[1].labels == [1, 0, 0, 1]
        micros = bundle(rows, tokens=150, pad=pad_labelled)
        assert len(micros) > 1
        model = live.model.requires_grad_(True)
        assert model.config.problem_type == "multi_label_classification"
        loss = sum(loss_of(model, micro) for micro in micros) / sum(micro.learned for micro in micros)
        loss.backward()
        ours = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
        model.zero_grad()
        read = live.tokenizer([row.turns[0].text for row in task.examples.train], padding=True, return_tensors="pt")
        has = [[float(label in labels_of(row.references[0], LABELS)) for label in LABELS] for row in task.examples.train]
        inputs = {"input_ids": read["input_ids"], "attention_mask": read["attention_mask"]}
        plain = model(**inputs, labels=torch.tensor(has))
        plain.loss.backward()
        assert float(loss.detach()) == pytest.approx(float(plain.loss.detach()), rel=1e-5)
        for name, weight in model.named_parameters():
            if weight.grad is not None:
                assert torch.allclose(ours[name], weight.grad, atol=1e-6), name


@pytest.fixture(scope="module", params=[FULL, LORA], ids=["full", "lora"])
def made(request, root, task, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    kit = Kit(folder, Store(tmp_path_factory.mktemp("store")), 0, "cpu", None, None, Shelf("cpu", dtype=torch.float32))
    return request.param.apply(root, task, kit), kit


def test_it_learns_every_label_for_itself(made, task):
    variant, kit = made
    assert variant.head == Head("multi_label", LABELS)
    log = read_log(kit.folder)
    assert log[-1].loss < 0.4 * log[0].loss
    with kit.shelf.engine(variant) as engine:
        assert right(engine, variant, task.examples.train) > 0.9
        assert engine.generate([task.examples.train[0].turns], Decoding(samples=2)) == [["water", "water"]]
        assert engine.read(["The river runs"]) != [0.0]  # with the base's own head on the body below


def test_plain_transformers_and_peft_open_it_and_answer_the_same(made, task):
    from peft import PeftModel

    variant, kit = made
    told = {} if variant.weights else {"num_labels": len(LABELS), "problem_type": "multi_label_classification"}
    model = AutoModelForSequenceClassification.from_pretrained(variant.weights or variant.base.location, **told)
    if variant.weights:
        kept = json.loads((kit.folder / "config.json").read_text())
        assert kept["problem_type"] == "multi_label_classification"
        assert model.config.id2label == dict(enumerate(LABELS))
    else:
        assert json.loads((kit.folder / "adapter_config.json").read_text())["task_type"] == "SEQ_CLS"
        model = PeftModel.from_pretrained(model, variant.adapter)
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(variant.base.location)
    rows = [*task.examples.dev, *task.examples.test]
    with kit.shelf.engine(variant) as engine:
        ours = [answer.text for answer in ask(engine, variant.prompt, rows, LABELS)]
    for row, said in zip(rows, ours, strict=True):
        with torch.no_grad():
            logits = model(**tokenizer(row.turns[0].text, return_tensors="pt")).logits[0]
        assert said == likely(logits.tolist(), LABELS)
        assert labels_of(said, LABELS) == [label for label, p in zip(LABELS, logits.sigmoid(), strict=True) if p > 0.5]


def test_the_top_layer_learns_from_kept_states(root, task, lend):
    kit = lend()
    made = Selective(top=1, epochs=10, batch_size=5, learning_rate=1e-2).apply(root, task, kit)
    with kit.shelf.engine(made) as engine:
        assert right(engine, made, task.examples.train) > 0.7


@pytest.mark.parametrize("family", ["encoder", "decoder", "seq2seq"])
def test_the_probe_is_one_regression_against_the_rest_for_each_label(family, tiny_base, tiny_encoder, tiny_seq2seq, task, lend):
    root = root_of({"encoder": tiny_encoder, "decoder": tiny_base, "seq2seq": tiny_seq2seq}[family], task)
    kit = lend()
    made = LinearProbe(strength=0.3).apply(root, task, kit)
    facts = json.loads((kit.folder / "probe.json").read_text())
    assert facts["multi_label"]
    rows = [*task.examples.train, *task.examples.test]
    with kit.shelf.engine(made) as engine:
        said = [answer.text for answer in ask(engine, made.prompt, rows, LABELS)]
        embedded = engine.embed([(row.turns if family == "encoder" else _asked(made, row)) for row in rows])
    train = embedded[: len(task.examples.train)]
    scale = np.where(train.std(0) > 1e-6, train.std(0), 1.0)
    learned = [label for label in LABELS if label != "never"]
    has = np.array([[label in labels_of(row.references[0], LABELS) for label in learned] for row in task.examples.train])
    model = OneVsRestClassifier(LogisticRegression(C=0.3, max_iter=2000)).fit((train - train.mean(0)) / scale, has)
    wanted = model.predict((embedded - train.mean(0)) / scale)
    assert [labels_of(text, LABELS) for text in said] == [
        [label for label, own in zip(learned, row, strict=True) if own] for row in wanted
    ]


def _asked(variant, row):
    from tuneladder.model.ask import turns_of

    return turns_of(variant.prompt, row)


def test_the_probes_strength_is_chosen_on_dev(root, task, lend):
    kit = lend()
    LinearProbe().apply(root, task, kit)
    assert json.loads((kit.folder / "probe.json").read_text())["strength"] > 0.003  # the weakest says the labels' shares alone


@pytest.mark.parametrize("family", ["decoder", "seq2seq"])
def test_sets_are_written_and_read(family, tiny_base, tiny_seq2seq, task, lend):
    root, kit = root_of(tiny_base if family == "decoder" else tiny_seq2seq, task), lend()
    made = replace(FULL, epochs=30, learning_rate=3e-3 if family == "decoder" else 1e-2).apply(root, task, kit)
    with kit.shelf.engine(made) as engine:
        answers = ask(engine, made.prompt, task.examples.train, LABELS)
    assert made.head is None
    assert any(", " in answer.text for answer in answers)
    wanted = [row.references[0] for row in task.examples.train]
    assert sum(answer.text == own for answer, own in zip(answers, wanted, strict=True)) > 0.7 * len(wanted)


def test_what_is_refused(root, task, tiny_base):
    with pytest.raises(Refused, match="can rank labels by their words, and not say which of several a text has"):
        ZeroShot().plan(root, task, PACE)
    assert ZeroShot().plan(replace(root, head=Head("multi_label", LABELS)), task, PACE)
    assert ZeroShot().plan(replace(root, probe="somewhere"), task, PACE)
    writer = root_of(tiny_base, task)
    assert ZeroShot().plan(writer, task, PACE)
    with pytest.raises(Refused, match="centroid is that of one label"):
        LinearProbe(head="centroid").plan(root, task, PACE)
    with pytest.raises(Refused, match="calibrate ranks labels"):
        FewShot(calibrate=True).plan(writer, task, PACE)
    assert FewShot(shots=3).plan(writer, task, PACE)[0].prompt.shots.count == 3
