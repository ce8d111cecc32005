"""The linear probe beside scikit-learn on the same features, and what is shared."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from tuneladder.errors import BadInput, Failed, Refused
from tuneladder.ladder.tree import root_of
from tuneladder.model.ask import turns_of
from tuneladder.model.inspect import inspect
from tuneladder.tune.linear_probe import STRENGTHS, LinearProbe
from tuneladder.types import Example, Pace, Prompt, Split, Task, Turn

PACE = Pace(1e9)


@pytest.fixture(params=["decoder", "encoder"])
def base(request, tiny_base, tiny_encoder):
    return tiny_base if request.param == "decoder" else tiny_encoder


def embedded(kit, variant, rows):
    with kit.shelf.engine(variant) as engine:
        return engine.embed([turns_of(variant.prompt, row) for row in rows])


def standardised(kit, root, task):
    train, dev = (embedded(kit, root, rows) for rows in (task.examples.train, task.examples.dev))
    mean, scale = train.mean(0), np.where(train.std(0) > 1e-6, train.std(0), 1)
    return (train - mean) / scale, (dev - mean) / scale


def scored(kit, made, task):
    with kit.shelf.engine(made) as engine:
        rows = task.examples.dev
        return np.array(engine.score([turns_of(made.prompt, row) for row in rows], [task.labels] * len(rows)))


@pytest.mark.parametrize("labels", [3, 2])
def test_it_answers_as_scikit_learn_does_on_the_same_features(base, tiny_task, labels, lend):
    names = tiny_task.labels[:labels]
    own = Split(
        *(tuple(row for row in part if row.references[0] in names) for part in (tiny_task.examples.train, tiny_task.examples.dev))
    )
    task = replace(tiny_task, labels=names, examples=own)
    kit, root = lend(), root_of(base, task)
    made = LinearProbe(strength=0.3).apply(root, task, kit)
    train, dev = standardised(kit, root, task)
    model = LogisticRegression(C=0.3, max_iter=2000).fit(train, [names.index(row.references[0]) for row in own.train])
    assert np.allclose(np.exp(scored(kit, made, task)), model.predict_proba(dev), atol=1e-4)


def test_the_nearest_centroid_is_scikit_learns(base, tiny_task, lend):
    kit, root = lend(), root_of(base, tiny_task)
    made = LinearProbe(head="centroid").apply(root, tiny_task, kit)
    train, dev = standardised(kit, root, tiny_task)
    nearest = NearestCentroid().fit(train, [row.references[0] for row in tiny_task.examples.train]).predict(dev)
    assert [tiny_task.labels[k] for k in scored(kit, made, tiny_task).argmax(1)] == nearest.tolist()


def test_the_strength_is_chosen_on_dev(base, tiny_task, lend):
    kit, root = lend(), root_of(base, tiny_task)
    rights = [tiny_task.labels.index(row.references[0]) for row in tiny_task.examples.dev]

    def loss(made):
        return -scored(kit, made, tiny_task)[np.arange(len(rights)), rights].mean()

    losses = {own: loss(LinearProbe(strength=own).apply(root, tiny_task, lend(str(own)))) for own in STRENGTHS}
    chosen = LinearProbe().apply(root, tiny_task, kit)
    assert json.loads((kit.folder / "probe.json").read_text())["strength"] == min(losses, key=losses.__getitem__)
    assert loss(chosen) == pytest.approx(min(losses.values()))


def test_features_are_made_once(base, tiny_task, lend, monkeypatch):
    root = root_of(base, tiny_task)
    first = LinearProbe().apply(root, tiny_task, lend("a"))
    kit = lend("b")
    monkeypatch.setattr(kit.shelf, "engine", lambda *_: pytest.fail("the base was asked again"))
    second = LinearProbe(head="centroid").apply(root, tiny_task, kit)
    assert load_file(f"{first.probe}/probe.safetensors").keys() == load_file(f"{second.probe}/probe.safetensors").keys()


def test_a_base_that_says_nan_is_called_broken(tiny_encoder, tiny_task, lend, tmp_path):
    broken = shutil.copytree(tiny_encoder.location, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if ".0." in name)
    save_file(weights | {name: np.full_like(weights[name], np.nan)}, broken / "model.safetensors", {"format": "pt"})
    root = root_of(inspect(str(broken)), tiny_task)
    with pytest.raises(Failed, match=r"what broken makes of \d+ of \d+ rows is no number \(NaN\)"):
        LinearProbe().apply(root, tiny_task, lend())


def test_a_label_that_train_never_has_is_never_said(base, tiny_task, lend):
    kit, task = lend(), replace(tiny_task, labels=(*tiny_task.labels, "garden"))
    made = LinearProbe().apply(root_of(base, task), task, kit)
    assert np.exp(scored(kit, made, task))[:, 3].max() < 1e-6


def test_what_is_refused(base, tiny_task):
    with pytest.raises(Refused, match="this task has none"):
        LinearProbe().plan(root_of(base, tiny_task), replace(tiny_task, labels=()), PACE)
    with pytest.raises(BadInput, match="strength -1"):
        LinearProbe(strength=-1)


def test_of_pairs_the_head_sees_how_they_differ(tiny_encoder, lend):
    texts = ["the parcel is lost", "the card was charged", "a heron waits", "the vote was held"]

    def rows(name, start):
        made = []
        for n in range(start, start + 24):
            first, same = texts[n % 4], n % 3 > 0
            said = f"{first} {n}.\n\n{first if same else texts[(n + 1) % 4]} {n}."
            made.append(Example(f"{name}{n}", (Turn("user", said),), ("yes" if same else "no",), source=f"{name}{n}"))
        return tuple(made)

    prompt = Prompt(ask="score", parse="label")
    task = Task("pairs", "classify", Split(rows("a", 0), rows("b", 24), rows("c", 48)), prompt=prompt, labels=("no", "yes"))
    kit, root = lend(), root_of(tiny_encoder, task)
    made = LinearProbe(strength=30.0).apply(root, task, kit)
    assert load_file(kit.folder / "probe.safetensors")["mean"].shape == (4 * tiny_encoder.width,)
    right = [("no", "yes").index(row.references[0]) for row in task.examples.dev]
    assert (scored(kit, made, task).argmax(1) == right).mean() > 0.9
    single = replace(task.examples.dev[0], turns=(Turn("user", "one part alone"),))
    with kit.shelf.engine(made) as engine:  # a row of another form is answered too
        assert np.isfinite(engine.score([turns_of(made.prompt, single)], [task.labels])).all()
