"""A whole climb of five rungs: what it makes, what it shares, and what a second one does again (nothing)."""

from __future__ import annotations

import json
import re
import shutil
import time
from types import SimpleNamespace

import pytest
import torch
import yaml

from tuneladder import api
from tuneladder.errors import BadInput
from tuneladder.evaluate import forgetting
from tuneladder.ladder.climb import Climb
from tuneladder.model.quantized import WHOLE
from tuneladder.prompt.zero_shot import ZeroShot
from tuneladder.train.loop import read_log
from tuneladder.tune.lora import Lora
from tuneladder.types import Bar, Cost, Measurement, Pace, Rollout, Rung, Variant


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rungs_of(run):
    return {rung["name"]: rung for rung in json.loads((run / "results.json").read_text())["rungs"]}


LORA = "lora(batch_size=8,epochs=2,r=4)"


def test_the_run_folder_is_as_the_blueprint_says(whole):
    found = json.loads((whole / "results.json").read_text())
    assert set(found) == {"task", "bases", "bar", "baselines", "rungs", "billed", "notes", "pick"}
    rungs = rungs_of(whole)
    assert list(rungs) == ["zero_shot", "few_shot(shots=4)", "full(batch_size=8,epochs=2)", LORA, f"{LORA}+few_shot(shots=4)"]
    for rung in rungs.values():
        assert rung["failure"] == ""
        assert rung["dev"]["macro_f1"]["count"] == found["task"]["rows"]["dev"]
        assert rung["test"]["macro_f1"]["count"] == found["task"]["rows"]["test"]
        assert rung["predicted"]["memory"] > 0
        assert (whole.parent / ".store" / rung["node"] / "done.json").is_file()
    assert rungs["zero_shot"]["forgetting"] == rungs["few_shot(shots=4)"]["forgetting"] == 0.0
    assert rungs[LORA]["forgetting"] != 0.0
    assert found["pick"]["rung"] in rungs
    assert {each["name"] for each in found["baselines"]} == {"majority", "tfidf"}
    answers = sorted((whole / "answers").iterdir())
    assert len(answers) == 5
    for path in answers:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(rows) == found["task"]["rows"]["test"]
        assert set(rows[0]) == {"id", "input", "reference", "answer", "confidence", "correct"}
    assert yaml.safe_load((whole / "recipe.yaml").read_text())["task"]["kind"] == "classify"
    assert json.loads((whole / "environment.json").read_text())["seed"] == 0
    assert "<html" in (whole / "report.html").read_text()
    assert (whole / "README.md").is_file() or list(whole.glob("**/README.md"))


def test_what_two_rungs_share_is_made_once(whole):
    store = whole.parent / ".store"
    made = [path.name for path in store.iterdir() if path.is_dir()]
    assert not [name for name in made if name.endswith((".part", ".copy"))]
    assert len([name for name in made if name.startswith("lora-")]) == 1
    assert len([name for name in made if name.startswith("few_shot-")]) == 2
    rungs = rungs_of(whole)
    alone, shared = rungs[LORA], rungs[f"{LORA}+few_shot(shots=4)"]
    assert shared["cost_alone"]["seconds"] >= alone["cost_alone"]["seconds"]
    assert shared["cost_here"]["seconds"] < alone["cost_here"]["seconds"]
    assert shared["probes"] == alone["probes"]  # a prompt changes no weight
    (adapter,) = store.glob("lora-*/adapter_model.safetensors")
    assert not list(adapter.parent.glob("*.pt"))


def test_a_second_climb_makes_nothing(copied, recipe, monkeypatch):
    """Neither with other limits: they are in no key."""

    def refuse(*given):
        raise AssertionError("a step was applied again")

    monkeypatch.setattr(Climb, "_apply", refuse)
    monkeypatch.setattr("tuneladder.ladder.climb.measure", refuse)
    store = copied.parent / ".store"
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    kept = json.loads((copied / "results.json").read_text())
    began = time.process_time()
    seen = []
    ladder = api.climb(recipe, "limit.minutes=600", "limit.memory=50GB", out=copied, each=seen.append)
    assert time.process_time() - began < 20
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()} == before
    again = json.loads((copied / "results.json").read_text())
    for rung, earlier in zip(again["rungs"], kept["rungs"], strict=True):
        assert {**rung, "predicted": None} == {**earlier, "predicted": None}
    assert again["pick"] == kept["pick"]
    assert len(seen) == 5
    assert [result.failure for result in ladder.results] == [""] * 5
    assert seen[0].rung.name == "zero_shot"


def test_a_node_cut_by_the_budget_goes_on_with_more_of_it(recipe, whole, tmp_path, monkeypatch):
    rows = forgetting._rows
    monkeypatch.setattr(forgetting, "_rows", lambda name: rows(name)[:3])  # the probes are not what is tested
    rungs = f"rungs={json.dumps([{'lora': {'r': 4, 'epochs': 2, 'batch_size': 8}}])}"
    run, store = tmp_path / "run", tmp_path / ".store"
    deadline = Climb._deadline
    monkeypatch.setattr(Climb, "_deadline", lambda self: time.monotonic())
    cut = api.climb(recipe, rungs, "limit.minutes=10", out=run).results[-1]
    (folder,) = [path for path in store.glob("lora-*") if path.is_dir()]
    assert folder.name.endswith("@1")
    assert cut.dev
    assert cut.variant.stamp == folder.name
    assert [tick.stopped for tick in read_log(folder)] == ["budget"]

    apply = Climb._apply
    monkeypatch.setattr(Climb, "_apply", lambda *given: pytest.fail("the same budget trains nothing"))
    again = api.climb(recipe, rungs, "limit.minutes=10", out=run).results[-1]
    assert again.variant == cut.variant
    assert again.dev == cut.dev

    monkeypatch.setattr(Climb, "_apply", apply)
    monkeypatch.setattr(Climb, "_deadline", deadline)
    done = api.climb(recipe, rungs, "limit.minutes=60", out=run).results[-1]
    (finished,) = [path for path in store.glob("lora-*") if path.is_dir() and "@" not in path.name]
    (straight,) = [path for path in (whole.parent / ".store").glob("lora-*") if path.is_dir()]
    assert finished.name == straight.name
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (finished / name).read_bytes() == (straight / name).read_bytes()
    assert [tick.step for tick in done.curve] == [tick.step for tick in read_log(straight)]
    assert done.alone.seconds > done.curve[-1].seconds > done.curve[0].seconds  # what the first try spent is counted
    assert folder.is_dir()  # a named folder stays: the first run's results speak of it


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("limit.memory=1MB", "the limit is 1.0 MB"),
        ("rungs=[{few_shot: {shots: 999}}]", "999 shots asked for"),
    ],
)
def test_what_cannot_be_climbed_is_refused_before_any_work(recipe, tmp_path, monkeypatch, override, said):
    monkeypatch.setattr(Climb, "_apply", lambda self, work: pytest.fail("work was done"))
    if "memory" in override:
        with pytest.raises(BadInput, match=said):
            api.climb(recipe, override, out=tmp_path / "run")
    refused = [each.refused for each in api.plan(recipe, override, out=tmp_path / "run") if each.refused]
    assert refused
    assert all(said in each for each in refused)


def test_one_rung_alone_brings_its_root(recipe, copied):
    ladder = api.climb(recipe, rungs=[LORA], out=copied)
    assert [result.rung.name for result in ladder.results] == ["zero_shot", LORA]
    with pytest.raises(BadInput, match="no rung 'loras': did you mean 'lora"):
        api.climb(recipe, rungs=["loras"], out=copied)


def test_prompts_that_ask_more_are_climbed_and_say_how_they_were_made(recipe, tmp_path, monkeypatch):
    rows = forgetting._rows
    monkeypatch.setattr(forgetting, "_rows", lambda name: rows(name)[:3])  # the probes are not what is tested
    rungs = [
        "zero_shot",
        {"few_shot": {"shots": 2, "choose": "nearest", "similarity": "bm25"}},
        {"self_consistency": {"samples": 3, "tokens": 3}},
        {"search": {"candidates": 2, "shown": 2, "rows": 2, "tokens": 4}},
    ]
    ladder = api.climb(recipe, f"rungs={json.dumps(rungs)}", out=tmp_path / "run")
    assert [result.failure for result in ladder.results] == [""] * 4
    near, voted = ladder.results[1:3]
    assert near.variant.prompt.shots.similarity == "bm25"
    assert near.alone.annotations == len(near.variant.prompt.shots.pool) > 2
    assert {round(3 * answer.answer.confidence) for answer in voted.test.answers} <= {1, 2, 3}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "rows of train, by bm25" in page
    assert "different instructions of 2 proposed" in page
    # one rung alone brings the root, which is zero_shot and no other prompt
    alone = api.climb(recipe, f"rungs={json.dumps(rungs)}", rungs=["few_shot"], out=tmp_path / "run")
    assert [result.rung.name.partition("(")[0] for result in alone.results] == ["zero_shot", "few_shot"]


def test_shots_that_are_more_than_the_context_holds_are_left_out_and_it_is_said(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("tuneladder.ladder.climb.measured_pace", lambda base, shelf: Pace(1e9))
    monkeypatch.setattr(Climb, "_with_forgetting", lambda self, rung, variant, dev: dev)
    monkeypatch.setattr(Climb, "_baselines", lambda self: {})
    ladder = api.climb(recipe, "rungs=[{few_shot: {shots: 24}}]", out=tmp_path / "run")
    assert [result.failure for result in ladder.results] == [""] * 2
    page = (tmp_path / "run" / "report.html").read_text()
    for split, rows in (("dev", len(ladder.task.examples.dev)), ("test", len(ladder.task.examples.test))):
        said = f"few_shot(shots=24): {rows} prompts of {split} were longer than the context: shots were left out"
        assert said in page
        assert sum(said in note for note in ladder.notes) == 1
    assert page.count("were longer than the context") == 2
    assert json.loads((tmp_path / "run" / "results.json").read_text())["notes"] == list(ladder.notes)


def test_what_was_forgotten_is_set_beside_the_base_as_it_is_held_whole(tiny_base, tiny_task, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Climb, "_probe", lambda self, rung, variant: seen.append(variant))
    own = Climb(tiny_task, [tiny_base], [], bar=Bar(), limit=Cost(), seed=0, folder=tmp_path / "run", device="cpu")
    quantised = Variant(tiny_base, tiny_task.prompt, format="nf4", adapter="somewhere")
    own._with_forgetting(Rung("r", tiny_base.name, ()), quantised, Measurement({}, {}, None, Cost(), Cost(), "fake"))
    assert [(each.format, each.adapter) for each in seen] == [(WHOLE, None), ("nf4", "somewhere")]


def test_a_rung_that_the_disk_has_no_room_for_is_refused(tiny_base, tiny_task, tmp_path, monkeypatch):
    rungs = [Rung(name, tiny_base.name, (step,)) for name, step in (("zero", ZeroShot()), ("lora", Lora()))]
    own = Climb(tiny_task, [tiny_base], rungs, bar=Bar(), limit=Cost(), seed=0, folder=tmp_path / "run", device="cpu")
    assert [each.refused for each in own.plan()] == ["", ""]
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=10))
    refused = [each.refused for each in own.plan()]
    assert refused[0] == ""
    assert re.search(r"^what it makes takes .* and .*\.store has 10 B left \(make room", refused[1])


def test_answers_that_all_earned_the_same_are_told(tiny_base, tiny_task, tmp_path):
    own = Climb(tiny_task, [tiny_base], [], bar=Bar(), limit=Cost(), seed=0, folder=tmp_path / "run", device="cpu")
    rung = Rung("grpo", tiny_base.name, ())
    for spreads in ((0.0, 0.1), (0.0, 0.0)):
        made = [Rollout(step, 0.5, spread, 0.0, 1.0, 8.0) for step, spread in enumerate(spreads)]
        own._say_rewards(rung, made)
    assert own.notes == ["grpo: all its answers earned the same reward, 0.5: nothing was learned from them"]
