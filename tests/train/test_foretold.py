"""What a plan foretells of seconds: tokens that all rows begin with are counted once in a pass, looks at dev too, and what lies
below the layers that learn once or in each epoch; and of memory: whether layers will be one function."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import pytest
from transformers import ModernBertConfig

from tuneladder.ladder import tree
from tuneladder.ladder.tree import foretell, root_of, splits_digest
from tuneladder.model import memory
from tuneladder.model.hardware import peak_how
from tuneladder.model.inspect import inspect
from tuneladder.model.memory import lora_parameters, skeleton_of
from tuneladder.train import supervised
from tuneladder.train.batches import bundle, side_by_side
from tuneladder.tune.adapter import Adapter
from tuneladder.tune.constitution import Constitution
from tuneladder.tune.dpo import Dpo
from tuneladder.tune.full import Full
from tuneladder.tune.grpo import Grpo
from tuneladder.tune.ia3 import Ia3
from tuneladder.tune.kto import Kto
from tuneladder.tune.lora import Lora
from tuneladder.tune.ppo import Ppo
from tuneladder.tune.prefix_tuning import PrefixTuning
from tuneladder.tune.prompt_tuning import PromptTuning
from tuneladder.tune.rest import Rest
from tuneladder.tune.reward import Reward
from tuneladder.tune.selective import Selective
from tuneladder.types import Cost, Pace, Rung, Split

STEP = Lora(epochs=1, batch_size=10)
TOP = Selective(top=1, batch_size=10)


def foretold(base, task, before):
    """Seconds where each row is asked after the text that `before` makes of its number."""
    rows = tuple(
        replace(row, turns=(replace(row.turns[0], text=f"{before(at)}\n\n{row.turns[0].text}"),))
        for at, row in enumerate(task.examples.train)
    )
    asked = replace(task, examples=replace(task.examples, train=rows), prompt=replace(task.prompt, instruction=""))
    return STEP.plan(root_of(base, asked), asked, Pace(1e9))[1].seconds


@pytest.fixture
def two_lanes(monkeypatch):
    monkeypatch.setattr(supervised, "lanes_for", lambda device, **given: 2)
    monkeypatch.setattr(supervised, "device", lambda: "cpu")


def test_what_all_rows_begin_with_is_counted_once_a_pass(tiny_base, tiny_task, two_lanes):
    same = foretold(tiny_base, tiny_task, lambda at: "x" * 120)
    apart = foretold(tiny_base, tiny_task, lambda at: f"{at:02d}"[::-1] + "x" * 118)
    adapter = lora_parameters(tiny_base, r=STEP.r)
    flops = (4 * tiny_base.active + 6 * adapter) / 1e9
    # three steps of ten rows in two passes, which lanes take one after another in the first: thirty tokens are not computed for
    # eight rows of each
    assert apart - same == pytest.approx((3 + 1) * 8 * 30 * flops, rel=0.03)


def test_rows_that_are_cut_within_what_all_begin_with_are_planned(tiny_base, tiny_task, two_lanes, monkeypatch):
    monkeypatch.setattr(supervised, "PASS_TOKENS", 1)  # several passes
    assert foretold(tiny_base, tiny_task, lambda at: "x" * 100_000) > 0


def test_soft_tokens_are_counted_once_a_pass(tiny_base, tiny_task, two_lanes, monkeypatch):
    step = PromptTuning(epochs=1, batch_size=10, tokens=20)
    same = step.plan(root_of(tiny_base, tiny_task), tiny_task, Pace(1e9))[1]
    monkeypatch.setattr(supervised, "COMMON", 10_000)
    apart = step.plan(root_of(tiny_base, tiny_task), tiny_task, Pace(1e9))[1]
    assert apart.seconds - same.seconds >= 0.97 * (3 + 1) * 8 * 20 * 4 * tiny_base.active / 1e9
    assert apart.memory > same.memory


def test_a_short_beginning_is_computed_for_each_row(tiny_base, tiny_task, two_lanes):
    same = foretold(tiny_base, tiny_task, lambda at: "x" * 24)
    assert same == pytest.approx(foretold(tiny_base, tiny_task, lambda at: f"{at:02d}"[::-1] + "x" * 22))


def test_padded_rows_share_nothing(tiny_base, tiny_task, two_lanes, monkeypatch):
    monkeypatch.setattr(supervised, "device", lambda: "cuda")
    same = foretold(tiny_base, tiny_task, lambda at: "x" * 120)
    assert same == pytest.approx(foretold(tiny_base, tiny_task, lambda at: f"{at:02d}"[::-1] + "x" * 118))


def alone(task, *, dev=()):
    """The task with its rows to train on, and these of dev."""
    return replace(task, examples=Split(task.examples.train, dev))


def seconds(step, base, task):
    return step.plan(root_of(base, task), task, Pace(1e9))[1].seconds


def test_looks_at_dev_are_counted(tiny_base, tiny_task, two_lanes):
    without, own = alone(tiny_task), alone(tiny_task, dev=tiny_task.examples.dev)
    trained = seconds(STEP, tiny_base, without)
    looked = seconds(STEP, tiny_base, own) - trained
    mean, *_ = supervised.lengths_of(root_of(tiny_base, own), own.examples.dev, tiny_base.context, 0)
    # one after each of three steps, the first in one lane after another
    assert looked == pytest.approx((3 + 1) * 2 * tiny_base.active * 15 * mean / 1e9)
    many = replace(STEP, epochs=20)
    assert seconds(many, tiny_base, own) - seconds(many, tiny_base, without) == pytest.approx((10 + 1) / (3 + 1) * looked)


def test_a_pass_takes_its_time_however_narrow(tiny_base, tiny_task, two_lanes):
    task = alone(tiny_task)
    root = root_of(tiny_base, task)

    def waited(step, each=0.5):
        return step.plan(root, task, Pace(1e9, each=each))[1].seconds - step.plan(root, task, Pace(1e9))[1].seconds

    work = 1 + 6 * lora_parameters(tiny_base, r=STEP.r) / tiny_base.active / 4
    assert waited(STEP) == pytest.approx((3 + 1) * 0.5 * work)  # two passes a step, at once
    assert waited(replace(STEP, batch_size=5)) == pytest.approx((6 + 1) * 0.5 * work)
    # layers as they are trained are four times as fast as the base's own
    assert STEP.plan(root, task, Pace(1e9, learning=4e9))[1].seconds == pytest.approx(seconds(STEP, tiny_base, task) / 4)


@pytest.fixture(scope="module")
def modern(tmp_path_factory):
    """A ModernBERT of six layers, of which every so many attend to all tokens: its folder, as a base."""

    def make(every):
        sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 6, "num_attention_heads": 4, "vocab_size": 320}
        marks = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "pad_token_id"))
        config = ModernBertConfig(**sizes, **marks, global_attn_every_n_layers=every, architectures=["ModernBertForMaskedLM"])
        folder = tmp_path_factory.mktemp(f"modern-{every}")
        config.save_pretrained(folder)
        return inspect(str(folder))

    return make


def test_what_cannot_be_asked_once_is_counted_in_each_epoch(modern, tiny_task, monkeypatch):
    monkeypatch.setattr(supervised, "MOVED", 0.0)
    task = alone(tiny_task)

    def epochs(base):
        return seconds(replace(TOP, epochs=11), base, task) - seconds(replace(TOP, epochs=1), base, task)

    once, anew = modern(1), modern(3)
    assert once.active == anew.active
    learns = sum(count for _, count in TOP._chosen(skeleton_of(once), "encoder")) / once.active
    assert (epochs(anew) - epochs(once)) / epochs(once) == pytest.approx(2 * (1 - learns) / (6 * learns))


def test_of_a_seq2seq_the_encoder_alone_is_asked_once(tiny_seq2seq, tiny_task, monkeypatch):
    monkeypatch.setattr(supervised, "MOVED", 0.0)
    task, base, model = alone(tiny_task), tiny_seq2seq, skeleton_of(tiny_seq2seq)
    learns = sum(count for _, count in TOP._chosen(model, "seq2seq"))
    kept = sum(weight.numel() for weight in model.get_encoder().parameters()) - model.get_input_embeddings().weight.numel()
    mean, *_ = supervised.lengths_of(root_of(base, task), task.examples.train, base.context, 0)
    epochs = seconds(replace(TOP, epochs=11), base, task) - seconds(replace(TOP, epochs=1), base, task)
    assert epochs == pytest.approx(10 * 30 * mean * (6 * learns + 2 * (base.active - learns - kept)) / 1e9)


def test_weights_that_learn_are_moved_in_every_step(tiny_base, tiny_task, two_lanes, monkeypatch):
    task = alone(tiny_task)
    step = Full(epochs=1, batch_size=10)
    moved = seconds(step, tiny_base, task)
    monkeypatch.setattr(supervised, "MOVED", 0.0)
    assert moved - seconds(step, tiny_base, task) == pytest.approx(3 * tiny_base.parameters * 5e-9)


def test_what_is_kept_of_the_frozen_part_lies_on_disk(tiny_base, tiny_task):
    root = root_of(tiny_base, tiny_task)
    disk, plain = (step.plan(root, tiny_task, Pace(1e9))[1].disk for step in (TOP, replace(TOP, top=0, train="norms")))
    rows = (*tiny_task.examples.train, *tiny_task.examples.dev)
    mean, *_ = supervised.lengths_of(root, rows, tiny_base.context, 0)
    assert disk - plain == pytest.approx(4 * tiny_base.width * len(rows) * mean, rel=0.01)


@pytest.mark.parametrize("family", ["decoder", "seq2seq"])
@pytest.mark.parametrize(
    ("step", "fused"),
    [
        (Adapter(r=4, epochs=1), False),
        (Ia3(epochs=1), False),
        (PrefixTuning(tokens=4, epochs=1), False),
        (Lora(epochs=1, dora=True), False),
        (Lora(epochs=1, dropout=0.1), False),
        (Lora(epochs=1), True),
        (PromptTuning(tokens=4, epochs=1), True),
        (Full(epochs=1), True),
    ],
    ids=lambda own: type(own).__name__,
)
def test_a_plan_knows_whether_layers_will_be_one_function(
    step, fused, family, tiny_base, tiny_seq2seq, tiny_task, lend, monkeypatch
):
    base = tiny_seq2seq if family == "seq2seq" else tiny_base
    seen, own = [], supervised.in_hand
    monkeypatch.setattr(supervised, "device", lambda: "cpu")
    monkeypatch.setattr(supervised, "in_hand", lambda *given, **shape: seen.append(shape["fused"]) or own(*given, **shape))
    step.plan(root_of(base, tiny_task), tiny_task, Pace(1e9))
    step.apply(root_of(base, tiny_task), tiny_task, lend())
    assert seen == [fused, fused]


@pytest.mark.skipif(peak_how() != "high-water mark", reason="peaks can only be sampled on this system")
def test_a_plan_is_near_what_a_step_takes(tmp_path):
    """Peak resident memory of our steps in fresh processes, over what they held before the model was read."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    script = Path(__file__).parents[2] / "benchmarks" / "estimates.py"
    running = {}
    for step in ("full", "lora"):
        (tmp_path / step).mkdir()
        settings = {"folder": str(tmp_path / step), "configuration": ["decoder", step, 256, 16, "10M"], "steps": 2}
        command = [sys.executable, str(script), "--child", "one", "--settings", json.dumps(settings)]
        running[step] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    for step, process in running.items():
        out, _ = process.communicate(timeout=300)
        found = json.loads(out.splitlines()[-1])
        assert found["foretold"]["memory"] == pytest.approx(found["measured"]["memory"], rel=0.3), step


@pytest.mark.parametrize("lay", [bundle, partial(side_by_side, tight=True), partial(side_by_side, tight=False)])
def test_passes_hold_every_row_and_at_once_no_more_than_is_allowed(lay):
    packed = isinstance(lay, partial) and lay.keywords["tight"]
    for length, lanes, rows, count in product((17, 33, 64), (1, 2, 3, 6), (2, 7, 8, 40), (1, 5, 16)):
        for answer in (0, 20) if lay is bundle else (0,):
            for once in (0, 16) if packed else (0,):
                passes = supervised._passes(lay, count, rows, lanes, length=length, answer=answer, packed=packed, once=once)
                assert sum(passes) == count
                room = max(length, rows * length // lanes)  # of a lane, with what all begin with once
                assert all(own == 1 or own * (length - once) + once <= room for own in passes)
                assert once or sum(sorted(passes)[-lanes:]) <= max(rows, lanes)
                assert rows < count or len(passes) == min(lanes, count)


def test_a_climb_holds_more_than_a_process_that_answers(tiny_base, tiny_task, monkeypatch):
    def told():
        found = foretell(Rung("zero_shot", tiny_base.name, ()), tiny_base, tiny_task, Pace(1e9), Cost(), {}, 0)
        return found.cost.memory

    before = told()
    monkeypatch.setattr(memory, "CLIMBING", memory.CLIMBING + 7)
    assert told() - before == (7 if tree.device() == "cpu" else 0)


FREE = "tests.rewards:letters"


@pytest.mark.parametrize(
    ("steps", "judged"),
    [
        ((Dpo(),), 45), ((Kto(),), 45), ((Reward(),), 45), ((Constitution(), Dpo()), 0), ((Constitution(), Kto()), 0),
        ((Lora(), Constitution(), Dpo()), 45), ((Grpo(reward="metric"),), 30),
        ((Ppo(reward="exact_match"),), 30), ((Grpo(reward="json"),), 0), ((Ppo(reward=FREE),), 0),
        ((Rest(reward="metric", data=False),), 45), ((Rest(reward=FREE, data=True),), 30), ((Rest(reward=FREE, data=False),), 0),
    ],
    ids=lambda own: "-".join(type(step).__name__.lower() for step in own) if isinstance(own, tuple) else "",
)  # fmt: skip
def test_annotations_are_what_people_said_of_what_is_read(steps, judged, tiny_base, tiny_task):
    """The rows whose references a reward goes by, and nothing that a model said of a model's answers."""
    found = foretell(Rung("r", tiny_base.name, steps), tiny_base, tiny_task, Pace(1e12), Cost(), splits_digest(tiny_task), 0)
    assert (found.refused, found.cost.annotations) == ("", judged)
