"""Tagging words by a head: the numbers of plain transformers, what it opens, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from tuneladder.errors import Refused
from tuneladder.ladder.tree import root_of
from tuneladder.model.ask import ask
from tuneladder.model.shelf import Shelf
from tuneladder.prompt.zero_shot import ZeroShot
from tuneladder.train.batches import bundle, pad_labelled
from tuneladder.train.loop import read_log
from tuneladder.train.losses import label_of
from tuneladder.train.supervised import _label
from tuneladder.tune.full import Full
from tuneladder.tune.linear_probe import LinearProbe
from tuneladder.tune.lora import Lora
from tuneladder.types import Decoding, Example, Head, Pace, Prompt, Split, Task, Turn

LABELS = ("O", "B-LOC", "I-LOC", "B-PER")
SENTENCES = (
    ("The minister said that Heron left Stone Bridge .", "O O O O B-PER O B-LOC I-LOC O"),
    ("Heron waits in May", "B-PER O O O"),
    ("Nobody runs past Stone Bridge today", "O O O B-LOC I-LOC O"),
    ("In May the river runs past the mill", "O O O O O O O O"),
)
FULL = Full(epochs=8, batch_size=4, learning_rate=5e-3)
LORA = Lora(epochs=8, batch_size=4, learning_rate=2e-2)
PACE = Pace(1e9)


@pytest.fixture(scope="module")
def task() -> Task:
    rows = [
        Example(f"{number} {time}", (Turn("user", f"{text} {time}"),), (f"{tags} O",))
        for time in ("once", "then", "now", "here", "there")
        for number, (text, tags) in enumerate(SENTENCES)
    ]
    prompt = Prompt(instruction="Tag the words.", parse="tags", decoding=Decoding(max_new_tokens=24))
    return Task(
        "names",
        "tag",
        Split(tuple(rows[:12]), tuple(rows[12:16]), tuple(rows[16:])),
        prompt=prompt,
        labels=LABELS,
        metric="span_f1",
    )


@pytest.fixture(scope="module")
def root(tiny_encoder, task):
    return root_of(tiny_encoder, task)


def test_loss_and_gradients_are_those_of_plain_transformers(root, task):
    """Its labels stand at each word's first token, and -100 at every other."""
    shelf = Shelf("cpu", dtype=torch.float32)
    with shelf.live(replace(root, head=Head("tags", LABELS))) as live:
        rows, tally = _label(live, root, task.examples.train, task, 128)
        micros = bundle(rows, tokens=200, pad=pad_labelled)
        assert len(micros) > 1
        model = live.model.requires_grad_(True)
        words = sum(len(example.turns[0].text.split()) for example in task.examples.train)
        assert (tally["kept"], tally["learned"], sum(micro.learned for micro in micros)) == (12, words, words)
        loss = sum(label_of(model, micro) for micro in micros) / words
        loss.backward()
        ours = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
        model.zero_grad()
        ids, labels = [], []
        for example in task.examples.train:  # as the guides of transformers align labels with words
            text = example.turns[0].text
            read = live.tokenizer(text, return_offsets_mapping=True)
            starts = [at for at, before in enumerate(" " + text[:-1]) if before == " "]
            tags, own = dict(zip(starts, example.references[0].split(), strict=True)), []
            for span in read["offset_mapping"]:
                letter = next((at for at in range(*span) if text[at] != " "), None)
                own.append(LABELS.index(tags.pop(letter)) if letter in tags else -100)
            assert not tags
            ids.append(read["input_ids"])
            labels.append(own)
        width = max(map(len, ids))
        plain = model(
            input_ids=torch.tensor([row + [live.tokenizer.pad_token_id] * (width - len(row)) for row in ids]),
            attention_mask=torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids]),
            labels=torch.tensor([row + [-100] * (width - len(row)) for row in labels]),
        )
        plain.loss.backward()
        assert float(loss.detach()) == pytest.approx(float(plain.loss.detach()), rel=1e-5)
        for name, weight in model.named_parameters():
            if weight.grad is not None:
                assert torch.allclose(ours[name], weight.grad, atol=1e-6), name


@pytest.fixture(scope="module", params=[FULL, LORA], ids=["full", "lora"])
def made(request, root, task, tmp_path_factory):
    from tuneladder.store import Store
    from tuneladder.types import Kit

    folder = tmp_path_factory.mktemp("made")
    kit = Kit(folder, Store(tmp_path_factory.mktemp("store")), 0, "cpu", None, None, Shelf("cpu", dtype=torch.float32))
    return request.param.apply(root, task, kit), kit


def test_it_learns_to_tag(made, task):
    variant, kit = made
    log = read_log(kit.folder)
    assert log[-1].loss < 0.6 * log[0].loss
    with kit.shelf.engine(variant) as engine:
        answers = ask(engine, variant.prompt, task.examples.train, task.labels)
    assert [len(answer.text.split()) for answer in answers] == [len(e.references[0].split()) for e in task.examples.train]
    right = [
        a == b for answer, e in zip(answers, task.examples.train) for a, b in zip(answer.text.split(), e.references[0].split())
    ]
    assert sum(right) > 0.85 * len(right)


def test_plain_transformers_and_peft_open_it(made, task):
    from peft import PeftModel

    variant, kit = made
    assert variant.head == Head("tags", LABELS)
    count = {} if variant.weights else {"num_labels": len(LABELS)}
    model = AutoModelForTokenClassification.from_pretrained(variant.weights or variant.base.location, **count)
    if variant.weights:
        assert model.config.id2label == dict(enumerate(LABELS))
    else:
        assert json.loads((kit.folder / "adapter_config.json").read_text())["task_type"] == "TOKEN_CLS"
        model = PeftModel.from_pretrained(model, variant.adapter)
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(variant.base.location)
    asks = [example.turns for example in task.examples.dev]
    with kit.shelf.engine(variant) as engine:
        ours = list(engine.generate(asks, Decoding(samples=2)))
        assert engine.read(["The river runs"]) != [0.0]  # with the base's own head on the body below
    for (turn,), (first, second) in zip(asks, ours, strict=True):
        read = tokenizer(turn.text, return_tensors="pt", return_offsets_mapping=True)
        ends = read.pop("offset_mapping")[0, :, 1].tolist()
        with torch.no_grad():
            best = model(**read).logits[0].argmax(-1)
        starts = [at for at, before in enumerate(" " + turn.text) if before == " "]
        places = [next(place for place, end in enumerate(ends) if end > start) for start in starts]
        assert first == second == " ".join(LABELS[int(best[place])] for place in places)


def test_a_row_longer_than_the_context_is_tagged_whole(made, task):
    variant, kit = made
    text = " ".join([task.examples.train[0].turns[0].text] * 12)
    with kit.shelf.engine(variant) as engine:
        assert len(engine.coder.encode_words([text])[0]) > 2
        ((tags,),) = engine.generate([(Turn("user", text),)], Decoding())
        assert engine.calls.cut == 0
    assert len(tags.split(" ")) == len(text.split(" "))
    assert "B-PER" in tags.split(" ")[len(text.split(" ")) // 2 :]


def test_a_long_row_is_learned_whole(root, task, lend):
    long = Example("long", (Turn("user", " ".join([SENTENCES[0][0]] * 12)),), (" ".join([SENTENCES[0][1]] * 12),))
    kit = lend()
    some = replace(task, examples=Split((long, *task.examples.train[:3]), (), ()))
    replace(FULL, epochs=1, max_length=48).apply(root, some, kit)
    rows = json.loads((kit.folder / "rows.json").read_text())
    words = sum(len(example.references[0].split()) for example in some.examples.train)
    assert (rows["kept"], rows["cut"], rows["dropped"], rows["learned"]) == (4, 0, 0, words)


def test_the_same_seed_gives_the_same_weights(root, task, lend):
    one, two = lend("one"), lend("two")
    for kit in (one, two):
        replace(LORA, epochs=1).apply(root, task, kit)
    name = "adapter_model.safetensors"
    assert (one.folder / name).read_bytes() == (two.folder / name).read_bytes()


def test_what_is_refused(root, task, tiny_base):
    with pytest.raises(Refused, match="no head that tags words"):
        ZeroShot().plan(root, task, PACE)
    assert ZeroShot().plan(replace(root, head=Head("tags", LABELS)), task, PACE)
    for variant in (root, root_of(tiny_base, task)):
        with pytest.raises(Refused, match="one for each word"):
            LinearProbe().plan(variant, task, PACE)
    wrapped = replace(root, prompt=replace(root.prompt, template="Tag: {{ input }}"))
    with pytest.raises(Refused, match="the template adds others"):
        FULL.plan(wrapped, task, PACE)
    assert FULL.plan(root, task, PACE)[0].head == Head("tags", LABELS)


def test_a_decoder_writes_the_tags(tiny_base, task, lend):
    root, kit = root_of(tiny_base, task), lend()
    made = replace(FULL, epochs=12, learning_rate=3e-3).apply(root, task, kit)
    with kit.shelf.engine(made) as engine:
        answers = ask(engine, made.prompt, task.examples.train, task.labels)
    assert [len(answer.text.split()) for answer in answers] == [len(e.references[0].split()) for e in task.examples.train]
    assert set(" ".join(answer.text for answer in answers).split()) <= set(LABELS)
    log = read_log(kit.folder)
    assert log[-1].loss < 0.7 * log[0].loss
