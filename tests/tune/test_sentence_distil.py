"""Sentence embeddings from a teacher: every setting counts, the teacher is asked once, and the student comes nearer."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace

import numpy as np
import pytest
from tests.embeddings import cosines

from tuneladder.errors import BadInput, Refused
from tuneladder.ladder.tree import key_of, root_of, splits_digest
from tuneladder.model.inspect import from_shape, inspect
from tuneladder.model.root import root_base
from tuneladder.store import Store
from tuneladder.train.loop import read_log
from tuneladder.tune.sentence_distil import SentenceDistil
from tuneladder.types import Pace, Text, Turn, Variant

PACE = Pace(1e9)
CHANGES = [
    {"tokens": 700},
    {"readings": 2},
    {"length": 16},
    {"batch_size": 4},
    {"learning_rate": 1e-3},
    {"weight_decay": 0.9},
    {"warmup": 0.9},
    {"similarity": 0.0},
    {"hidden": 0.0},
    {"looks": 1},
]


@pytest.fixture(scope="module")
def teacher(tiny_task, tmp_path_factory):
    """Another encoder, of another width and vocabulary."""
    shape = {"family": "encoder", "layers": 1, "width": 16, "heads": 2, "vocabulary": 300, "context": 64}
    return root_base(from_shape("teacher", shape), tiny_task, Store(tmp_path_factory.mktemp("teacher")), seed=1)


@pytest.fixture(scope="module")
def step(teacher):
    return SentenceDistil(teacher=teacher.location, tokens=1500, length=32, batch_size=8, learning_rate=3e-3, looks=3)


def learned(step, base, task, kit):
    made = step.apply(root_of(base, task), task, kit)
    return (kit.folder / "model.safetensors").read_bytes(), [tick.dev for tick in read_log(kit.folder)], made


def test_every_setting_changes_what_is_learned(step, tiny_encoder, tiny_task, lend):
    named = {name for change in CHANGES for name in change}
    assert named | {"teacher"} == {field.name for field in fields(SentenceDistil)}
    plain = learned(step, tiny_encoder, tiny_task, lend())[:2]
    for change in [*CHANGES, {"teacher": tiny_encoder.location}]:
        name = "-".join(f"{key}" for key in change)
        assert learned(replace(step, **change), tiny_encoder, tiny_task, lend(name))[:2] != plain, change


def test_another_teacher_under_the_same_name_has_another_key(step, teacher, tiny_encoder, tiny_task, tmp_path):

    keys = []
    for source in (teacher, tiny_encoder):
        shutil.rmtree(tmp_path / "teacher", ignore_errors=True)
        shutil.copytree(source.location, tmp_path / "teacher")
        named = replace(step, teacher=str(tmp_path / "teacher"))
        keys.append(key_of(named, "", splits_digest(tiny_task), tiny_encoder, 0))
    assert keys[0] != keys[1]
    moved = shutil.copytree(tmp_path / "teacher", tmp_path / "elsewhere" / "teacher")
    assert key_of(replace(step, teacher=str(moved)), "", splits_digest(tiny_task), tiny_encoder, 0) == keys[1]
    assert key_of(SentenceDistil(teacher="nowhere"), "", splits_digest(tiny_task), tiny_encoder, 0)


def test_the_student_comes_nearer_and_the_teacher_is_asked_once(step, teacher, tiny_encoder, tiny_task, lend):
    kit = lend()
    more = replace(step, tokens=12_000)
    _, devs, made = learned(more, tiny_encoder, tiny_task, kit)
    seen = [dev for dev in devs if dev is not None]
    assert min(seen) < 0.9 * seen[0]
    asks = [(Turn("user", document.text),) for document in tiny_task.text.dev]
    aim = cosines(kit.shelf, Variant(teacher, tiny_task.prompt), asks)
    before, after = (cosines(kit.shelf, each, asks) for each in (root_of(tiny_encoder, tiny_task), made))
    assert np.abs(after - aim).mean() < np.abs(before - aim).mean()
    chunks = sorted(path.name for path in kit.store.root.glob("aims-*") if path.is_dir())
    learned(replace(more, learning_rate=1e-3), tiny_encoder, tiny_task, lend("again"))
    assert sorted(path.name for path in kit.store.root.glob("aims-*") if path.is_dir()) == chunks


def test_what_is_refused(step, tiny_base, tiny_encoder, tiny_task, tmp_path):
    root = root_of(tiny_encoder, tiny_task)
    with pytest.raises(Refused, match="plain text"):
        step.plan(root, replace(tiny_task, text=Text()), PACE)
    with pytest.raises(Refused, match="a teacher is an encoder"):
        replace(step, teacher=tiny_base.location).plan(root, tiny_task, PACE)
    with pytest.raises(Refused, match="no teacher"):
        replace(step, teacher=str(tmp_path / "nowhere")).plan(root, tiny_task, PACE)
    bare = replace(root, base=replace(root.base, settings={**root.base.settings, "masked": False}))
    with pytest.raises(Refused, match="without the head"):
        step.plan(bare, tiny_task, PACE)
    with pytest.raises(BadInput, match="hidden -1"):
        SentenceDistil(hidden=-1)


def test_minilm_is_a_teacher_where_it_is_installed(tiny_encoder, tiny_task):
    try:
        inspect("minilm")
    except BadInput as error:
        pytest.skip(str(error))
    _, cost = SentenceDistil(tokens=10_000).plan(root_of(tiny_encoder, tiny_task), tiny_task, PACE)
    assert cost.seconds > 0
