"""Pretraining from a shape: a base and a tokenizer made of nothing but the task's own text."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.embeddings import cosines

from tuneladder.errors import BadInput, Refused
from tuneladder.ladder.tree import key_of, lent, root_of, splits_digest
from tuneladder.model.inspect import from_shape, inspect
from tuneladder.model.root import root_base
from tuneladder.model.shelf import Shelf
from tuneladder.store import Store
from tuneladder.task.encode import Coder
from tuneladder.train import loop
from tuneladder.train.answers import Answers
from tuneladder.train.batches import Blocks
from tuneladder.tune import pretrain
from tuneladder.tune.pretrain import Pretrain, held_out_micros, shared
from tuneladder.types import Document, Lesson, Pace, Task, Text, Turn, Variant

WORDS = re.findall(
    r"\w+", "the heron stands in the shallow river and waits for a small silver fish while the old mill turns slowly"
)
STEP = Pretrain(tokens=6_400, length=32, batch_size=4, learning_rate=5e-3, compile="off", looks=4)


def texts(count, seed):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=60)) + "." for _ in range(count)]


@pytest.fixture(scope="module")
def task():
    train = tuple(Document(text, source) for source, seed in (("mill", 1), ("river", 2)) for text in texts(20, seed))
    dev = tuple(Document(text, "mill") for text in texts(6, 3))
    return Task("mill", "text", text=Text(train, dev, dev), mixture={"mill": 1.0, "river": 3.0})


@pytest.fixture(scope="module")
def shape():
    return from_shape("mill", {"layers": 2, "width": 32, "heads": 4, "vocabulary": 300, "context": 64})


@pytest.fixture(scope="module")
def base(shape, task, tmp_path_factory):
    return root_base(shape, task, Store(tmp_path_factory.mktemp("store")), seed=0)


def test_a_shape_becomes_a_base_once(shape, base, task, tmp_path):
    assert (base.source, base.name, base.vocabulary, base.context) == ("folder", "mill", 300, 64)
    assert base.parameters == shape.parameters
    store = Store(tmp_path)
    again = root_base(shape, task, store, seed=0)
    assert again.content == base.content  # the same bytes anywhere
    assert root_base(shape, task, store, seed=0).location == again.location
    assert root_base(shape, task, store, seed=1).content != base.content
    assert root_base(base, task, store, seed=1) is base


def test_text_shorter_than_a_block_is_refused_before_any_work(base, task, replaying):
    root = root_of(base, task)
    text = "the heron waits " * 9
    short = replace(task, text=Text((Document("the heron", "mill"), Document(text, "river"))))
    most = len(_tokenizer(Variant(base, task.prompt, weights=base.location))(text, add_special_tokens=False)["input_ids"]) + 1
    with pytest.raises(Refused, match=f"no source of text is longer than the {most} tokens of a block: the longest has {most}"):
        replace(STEP, length=most).plan(root, short, Pace(1e9))
    assert replace(STEP, length=most - 1).plan(root, short, Pace(1e9))
    general = replace(replaying, replay=(Document("the sea", "sea"),))
    with pytest.raises(Refused, match="no source of text to replay is longer than the 32 tokens of a block"):
        replace(STEP, replay=0.25).plan(root, general, Pace(1e9))


def test_settings_that_would_do_nothing_are_refused(base, task):
    root = root_of(base, task)
    with pytest.raises(Refused, match="length 65 is more than the 64 tokens that mill reads at once"):
        replace(STEP, length=65).plan(root, task, Pace(1e9))
    assert replace(STEP, length=64).plan(root, task, Pace(1e9))
    for name, value in {"readings": 2, "sentences": 64, "toward": 0.5}.items():
        with pytest.raises(Refused, match=f"{name} {value:g} is of what a teacher says, and none is named"):
            replace(STEP, **{name: value}).plan(root, task, Pace(1e9))


def test_exactly_one_bos(base):
    with Shelf("cpu", dtype=torch.float32).live(root_of(base, Task("mill", "text"))) as live:
        coder = Coder(live.tokenizer, base.context)
        bos = live.tokenizer.bos_token_id
        whole = coder.encode_whole("the river")
        assert whole.count(bos) == 1
        assert whole[0] == bos
        learned = coder.encode((), "the river")
        assert [learned.ids[0], learned.ids.count(bos)] == [bos, 2]  # it opens the text; the same token closes it
        assert learned.ids[-1] == live.tokenizer.eos_token_id
        assert not learned.learn[0]


def test_the_loss_falls_and_the_text_is_learned(base, task, lend):
    kit, root = lend(), root_of(base, task)
    with kit.shelf.engine(root) as engine:
        before = sum(engine.read([document.text for document in task.text.test]))
    made = STEP.apply(root, task, kit)
    assert inspect(str(kit.folder)).parameters == base.parameters  # what a recipe with rows takes as its base
    log = loop.read_log(kit.folder)
    assert len(log) == 50
    assert log[-1].loss < 0.7 * log[0].loss
    seen = [tick.dev for tick in log if tick.dev is not None]
    assert len(seen) == 4  # as often as was asked, though 50 steps are no multiple of it
    assert seen == sorted(seen, reverse=True)
    with kit.shelf.engine(made) as engine:
        after = sum(engine.read([document.text for document in task.text.test]))
    assert after > 0.7 * before  # log-probabilities: closer to 0
    # what the loop saw as dev loss is what an engine reads in the saved weights
    assert -after / sum(len(Coder(_tokenizer(made), 64).encode_whole(d.text)) - 1 for d in task.text.test) == pytest.approx(
        seen[-1], rel=0.1
    )


def _tokenizer(variant):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(variant.weights)


def test_killed_between_checkpoints_it_ends_the_same(base, task, lend, monkeypatch):
    step, root = replace(STEP, tokens=1280), root_of(base, task)
    step.apply(root, task, lend("straight"))
    moments = itertools.count(0.0, 20.0)  # a clock by which every step takes 40 seconds or so: a checkpoint after each second one
    with monkeypatch.context() as patch:
        patch.setattr(loop.time, "monotonic", lambda: next(moments))
        calls, true = itertools.count(1), loop.Passes.gradients

        def accumulate(*given):
            if next(calls) == 8:
                raise SystemError("killed")
            return true(*given)

        patch.setattr(loop.Passes, "gradients", accumulate)
        with pytest.raises(SystemError):
            step.apply(root, task, lend("cut"))
    assert (lend("cut").folder / "checkpoint.pt").exists()
    ran, true_again = itertools.count(), loop.Passes.gradients
    monkeypatch.setattr(loop.Passes, "gradients", lambda *given: (next(ran), true_again(*given))[1])
    step.apply(root, task, lend("cut"))
    assert 3 <= next(ran) < 10
    assert (lend("cut").folder / "model.safetensors").read_bytes() == (lend("straight").folder / "model.safetensors").read_bytes()
    assert [(t.step, t.loss, t.dev) for t in loop.read_log(lend("cut").folder)] == [
        (t.step, t.loss, t.dev) for t in loop.read_log(lend("straight").folder)
    ]


def test_sources_are_drawn_by_their_weight(task):
    tokens = {"mill": np.arange(5000, dtype=np.uint16), "river": np.arange(5000, dtype=np.uint16)}
    blocks = Blocks(tokens, {"mill": 1.0, "river": 3.0}, length=16, batch=8, rows=4, steps=200, seed=0)
    assert blocks.names == ["mill", "river"]
    share = float((blocks.source == 1).mean())
    assert share == pytest.approx(0.75, abs=0.03)
    only = Blocks(tokens, {"mill": 0.0, "river": 1.0}, length=16, batch=8, rows=4, steps=20, seed=0)
    assert set(only.source.tolist()) == {1}


def test_a_source_is_read_whole_before_any_of_it_comes_again():
    blocks = Blocks({"a": np.arange(16 * 32 + 1, dtype=np.uint16)}, {}, length=16, batch=4, rows=4, steps=8, seed=0)
    assert sorted(blocks.start // 16) == list(range(32))


def test_a_source_of_less_than_two_blocks_is_read_to_its_end():
    blocks = Blocks({"a": np.arange(28, dtype=np.uint16)}, {}, length=16, batch=4, rows=4, steps=50, seed=0)
    assert {int(token) for at in range(200) for token in blocks.block(at)} == set(range(28))
    assert set(blocks.start.tolist()) == set(range(28 - 16))


def test_blocks_predict_the_next_token():
    micro = Blocks({"a": np.arange(200, dtype=np.uint16)}, {}, length=16, batch=4, rows=2, steps=1, seed=0)[0]
    assert len(micro) == 2
    for part in micro:
        assert part.ids.shape == (2, 16)
        assert torch.equal(part.targets.view(2, 16), part.ids + 1)


def test_too_little_text_says_so(base, task, lend):
    short = replace(task, text=Text((Document("the mill", "mill"),)))
    with pytest.raises(BadInput, match="no source of text is longer than 32 tokens"):
        STEP.apply(root_of(base, short), short, lend())


def test_no_dev_text_means_no_looks(base, task, lend):
    bare = replace(task, text=replace(task.text, dev=()))
    kit = lend()
    replace(STEP, tokens=640).apply(root_of(base, bare), bare, kit)
    assert [tick.dev for tick in loop.read_log(kit.folder)] == [None] * 5


def test_what_is_held_out_is_not_for_the_lanes_to_say(base, task):
    with Shelf("cpu", dtype=torch.float32).live(root_of(base, task)) as live:

        def held(rows):
            micros = held_out_micros(live.tokenizer, task.text.dev, length=32, rows=rows)
            assert all(micro.ids.shape[0] <= rows for micro in micros)
            return torch.cat([micro.ids for micro in micros])

        assert held(1).shape[1] == 32
        assert all(torch.equal(held(rows), held(1)) for rows in (3, 4, 7))
        assert held_out_micros(live.tokenizer, task.text.dev[:1], length=4096, rows=4) == []
        said = (Document(f"the {live.tokenizer.eos_token} heron waits " * 9, "mill"),)
        (micro,) = held_out_micros(live.tokenizer, said, length=64, rows=4, most=1)
        assert live.tokenizer.eos_token_id not in micro.ids  # a special token that a document says is plain text


# ---- replay ----


@pytest.fixture(scope="module")
def replaying(task):
    general = tuple(Document(text, source) for source, seed in (("sea", 4), ("hills", 5)) for text in texts(20, seed))
    return replace(task, replay=general, mixture={**task.mixture, "sea": 1.0, "hills": 4.0})


def test_the_shares_are_those_asked_for():
    names = {"mill": 1.0, "river": 3.0, "sea": 1.0, "hills": 4.0}
    weights = shared(names, ["mill", "river"], ["sea", "hills"], replay=0.25)
    assert weights == pytest.approx({"mill": 0.1875, "river": 0.5625, "sea": 0.05, "hills": 0.2})
    tokens = {name: np.arange(5000, dtype=np.uint16) for name in names}
    blocks = Blocks(tokens, weights, length=16, batch=8, rows=4, steps=500, seed=0)
    read = {name: float((blocks.source == at).mean()) for at, name in enumerate(blocks.names)}
    assert read == pytest.approx(weights, abs=0.025)
    assert read["sea"] + read["hills"] == pytest.approx(0.25, abs=0.025)


def test_replay_changes_what_is_read(base, replaying, lend, monkeypatch):
    """A quarter of the blocks is general text, to the token what stands in its documents; without `replay` none is."""
    seen = []

    def learn(model, batches, *given, **named):
        seen.append(batches)
        return loop.learn(model, batches, *given, **named)

    monkeypatch.setattr(pretrain, "learn", learn)
    step, root, kit = replace(STEP, replay=0.25), root_of(base, replaying), lend("with")
    step.apply(root, replaying, kit)
    replace(step, replay=0.0).apply(root, replaying, lend("without"))
    mixed, plain = seen
    assert (mixed.names, plain.names) == (["hills", "mill", "river", "sea"], ["mill", "river"])
    assert float(np.isin(mixed.source, (0, 3)).mean()) == pytest.approx(0.25, abs=0.07)
    with kit.shelf.live(root) as live:
        said = "".join(live.tokenizer.batch_decode(np.asarray(mixed.tokens[0][:])))
    assert all(document.text in said for document in replaying.replay if document.source == "hills")
    first, second = (loop.read_log(lend(name).folder) for name in ("with", "without"))
    assert [tick.loss for tick in first] != [tick.loss for tick in second]
    # general text beside it changes nothing where nothing is replayed
    bare = replace(replaying, replay=(), mixture={"mill": 1.0, "river": 3.0})
    replace(step, replay=0.0).apply(root, bare, lend("bare"))
    assert (lend("bare").folder / "model.safetensors").read_bytes() == (lend("without").folder / "model.safetensors").read_bytes()


def test_replay_is_deterministic_and_taken_up_again(base, replaying, lend):
    step, root = replace(STEP, replay=0.25, tokens=1280), root_of(base, replaying)
    step.apply(root, replaying, lend("straight"))
    step.apply(root, replaying, lend("cut", deadline=0.0))
    step.apply(root, replaying, lend("cut"))
    assert (lend("cut").folder / "model.safetensors").read_bytes() == (lend("straight").folder / "model.safetensors").read_bytes()


def test_the_content_of_what_is_replayed_is_in_the_key(base, replaying):
    step = replace(STEP, replay=0.25)
    changed = replace(replaying, replay=(*replaying.replay[:-1], Document("Another word.", "hills")))
    keys = {key_of(step, "", splits_digest(each), base, 0) for each in (replaying, changed, replace(replaying, replay=()))}
    assert len(keys) == 3
    assert lent(replaying, step).replay == replaying.replay


def test_replay_is_refused_where_there_is_nothing_to_replay(base, task, replaying, lend):
    step = replace(STEP, replay=0.25)
    with pytest.raises(Refused, match="to replay 25% general text, and this task has none"):
        step.plan(root_of(base, task), task, Pace(1e9))
    assert step.plan(root_of(base, replaying), replaying, Pace(1e9))
    with pytest.raises(BadInput, match="no source to replay is longer than 32 tokens"):
        step.apply(root_of(base, task), replace(task, replay=(Document("the sea", "sea"),)), lend())
    for share in (-0.1, 1.5, 1.0):
        with pytest.raises(BadInput, match="replay"):
            Pretrain(replay=share)


@pytest.fixture(scope="module")
def asking(task):
    """The task, each of whose texts asks and answers; nothing held out, so that the last weights are kept."""
    train = tuple(
        replace(document, text="\n\n".join(f"{said[:60]}\nAnswer: {WORDS[at]} river" for at, said in enumerate(texts(9, own))))
        for own, document in enumerate(task.text.train)
    )
    return replace(task, text=Text(train))


def test_what_answers_counts_as_often_as_was_asked(base):
    with Shelf("cpu", dtype=torch.float32).live(root_of(base, Task("mill", "text"))) as live:
        tokenizer = live.tokenizer
    weigh = Answers.of(tokenizer, 7.0)
    said = ["the mill\nAnswer:", " old river", "\n\nthe fish\nAnswer:", " small", tokenizer.eos_token, "Answer: river\n"]
    parts = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in said]
    ids = np.array([[token for part in parts for token in part]])
    expected = [7.0 if said[at] in (" old river", " small") else 1.0 for at, part in enumerate(parts) for _ in part]
    assert weigh(ids).tolist() == [expected[1:]]
    cut = len(parts[0]) + 1  # a block that ends within an answer
    assert weigh(ids[:, :cut]).tolist() == [expected[1:cut]]
    assert weigh(ids[:, :2]).tolist() == [[1.0]]
    assert weigh(np.repeat(ids, 3, axis=0)).shape == (3, ids.shape[1] - 1)


def test_answers_that_count_are_learned_sooner(base, asking, lend):
    def right(step):
        """How sure the model is of the second word of an answer, which is always the same."""
        kit = lend(f"answers {step.answers}")
        made = step.apply(root_of(base, asking), asking, kit)
        with kit.shelf.live(made, dtype=torch.float32) as live, torch.no_grad():
            ids = live.tokenizer("the heron\nAnswer: mill", return_tensors="pt", add_special_tokens=False)["input_ids"]
            aim = live.tokenizer(" river", add_special_tokens=False)["input_ids"][0]
            return float(live.model(ids).logits[0, -1].log_softmax(-1)[aim])

    short = replace(STEP, tokens=5_120)
    assert right(replace(short, answers=20.0)) > right(short) + 0.2


def test_answers_are_refused_where_there_are_none(base, task, lend, tiny_encoder):
    with pytest.raises(BadInput, match="answers count 5 times, and no line of the text says `Answer:`"):
        replace(STEP, answers=5.0).apply(root_of(base, task), task, lend())
    with pytest.raises(BadInput, match="pretrain cannot use answers 0"):
        replace(STEP, answers=0.0)
    masked = replace(tiny_encoder, settings={**tiny_encoder.settings, "masked": True})
    with pytest.raises(Refused, match=r"answers are counted in a decoder's text, and .* is a encoder"):
        replace(STEP, answers=5.0).plan(root_of(masked, task), task, Pace(1e12))


# ---- with a teacher ----


@pytest.fixture(scope="module")
def teacher(tiny_task, tmp_path_factory):
    """An encoder of another width and vocabulary."""
    shape = {"family": "encoder", "layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "context": 64}
    return root_base(from_shape("teacher", shape), tiny_task, Store(tmp_path_factory.mktemp("teacher")), seed=1)


@pytest.mark.parametrize("family", ["decoder", "seq2seq"])
def test_beside_the_text_a_teacher_is_followed(family, teacher, tiny_base, tiny_seq2seq, tiny_task, lend):
    base = {"decoder": tiny_base, "seq2seq": tiny_seq2seq}[family]
    step = replace(STEP, tokens=8_000, teacher=teacher.location, sentences=8, toward=3.0)
    kit, root = lend("taught"), root_of(base, tiny_task)
    asks = [(Turn("text", document.text),) for document in tiny_task.text.dev]
    aim = cosines(kit.shelf, Variant(teacher, tiny_task.prompt), asks)

    def off(variant):
        return float(np.abs(cosines(kit.shelf, variant, asks) - aim).mean())

    made = step.apply(root, tiny_task, kit)
    assert loop.read_log(kit.folder)[-1].stopped == "done"
    assert off(made) < 0.7 * off(root)
    alone = replace(step, teacher="").apply(root, tiny_task, lend("alone"))
    assert off(made) < 0.7 * off(alone)
    # the text is learned all the same
    texts = [document.text for document in tiny_task.text.dev]

    def read(variant):
        with kit.shelf.engine(variant) as engine:
            return sum(engine.read(texts))

    assert read(made) > read(root) + 0.5 * (read(alone) - read(root))
    # how many pieces there are, how often each is read, and how much they count, is told in what is learned
    changes = ({"sentences": 4}, {"readings": 3}, {"toward": 0.5})
    weights = {
        (kit.folder / "model.safetensors").read_bytes(),
        *(_weights(replace(step, **change), root, tiny_task, lend) for change in changes),
    }
    assert len(weights) == 4


def _weights(step, root, task, lend):
    kit = lend(f"{step.sentences} {step.readings} {step.toward}")
    step.apply(root, task, kit)
    return (kit.folder / "model.safetensors").read_bytes()


def test_a_teacher_is_followed_to_the_same_end_after_a_stop(teacher, tiny_seq2seq, tiny_task, lend):
    step, root = replace(STEP, tokens=1280, teacher=teacher.location, sentences=8), root_of(tiny_seq2seq, tiny_task)
    step.apply(root, tiny_task, lend("straight"))
    step.apply(root, tiny_task, lend("cut", deadline=0.0))
    step.apply(root, tiny_task, lend("cut"))
    assert (lend("cut").folder / "model.safetensors").read_bytes() == (lend("straight").folder / "model.safetensors").read_bytes()


def test_a_teacher_is_planned_and_refused(teacher, base, tiny_base, tiny_encoder, tiny_seq2seq, tiny_task, lend):
    taught = replace(STEP, teacher=teacher.location)
    for own in (tiny_base, tiny_seq2seq):
        root = root_of(own, tiny_task)
        (_, cost), (_, alone) = (step.plan(root, tiny_task, Pace(1e9)) for step in (taught, replace(taught, teacher="")))
        assert cost.seconds > alone.seconds
        assert cost.disk > alone.disk
        (_, twice) = replace(taught, readings=2).plan(root, tiny_task, Pace(1e9))
        assert alone.seconds < twice.seconds < cost.seconds  # the teacher reads each piece once
        assert alone.disk < twice.disk < cost.disk
    with pytest.raises(Refused, match="a teacher is an encoder"):
        replace(STEP, teacher=tiny_base.location).plan(root, tiny_task, Pace(1e9))
    with pytest.raises(Refused, match="pretrain has no teacher"):
        replace(STEP, teacher="nowhere").plan(root, tiny_task, Pace(1e9))
    masked = replace(tiny_encoder, settings={**tiny_encoder.settings, "masked": True})
    with pytest.raises(Refused, match="pretrain has a teacher for a decoder or a seq2seq"):
        taught.plan(root_of(masked, tiny_task), tiny_task, Pace(1e9))
    lessons = tuple(Lesson("the mill\nAnswer: turns", "mill", "the mill", "turns") for _ in range(40))
    with pytest.raises(BadInput, match="no sentence in the text to learn from"):
        taught.apply(root_of(tiny_seq2seq, tiny_task), replace(tiny_task, text=Text(lessons)), lend())
    for name in ("sentences", "readings", "toward"):
        with pytest.raises(BadInput, match=name):
            replace(STEP, **{name: 0})
