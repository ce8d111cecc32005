"""What the benchmarks count with."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))  # they are scripts, which import each other by their own names

import defaults
import doubts
import estimates
import labelers
import learning
import lectures
import same
import sharing
import train_step
import unseen
from pairs import alternating, as_child, halves, interval, options, ratio, same_scores
from works import Work, seconds_of, useful_flops

import ladder
from tuneladder.feedback.table import table_of
from tuneladder.recipe import find_step
from tuneladder.train import supervised
from tuneladder.types import Answer, Judgement, Marked, Prompt, Tick, Variant


def test_pairs_alternate_and_their_ratio_has_an_interval():
    drawn = iter([2.0, 8.0, 9.0, 3.0, 2.0, 8.0])
    asked = []

    def run(name):
        return lambda: asked.append(name) or {"speed": next(drawn)}

    runs = alternating(3, {"theirs": run("theirs"), "ours": run("ours")})
    assert asked == ["theirs", "ours", "ours", "theirs", "theirs", "ours"]
    found = ratio(runs, "speed")
    assert found["value"] == pytest.approx((4 * 3 * 4) ** (1 / 3))
    assert found["low"] < found["value"] < found["high"]
    assert interval([2.0]) == {"value": pytest.approx(2.0), "low": None, "high": None}


def test_answers_may_differ_only_where_their_margin_is_nothing():
    theirs = [[-1.0, -2.0], [-1.0, -1.00005], [-3.0, -1.0]]
    ours = [[-1.0, -2.25], [-1.0, -0.9999], [-1.0, -3.0]]
    found = same_scores(theirs, ours)
    assert {name: found[name] for name in ("count", "alike", "differ_beyond_margin", "margins_below")} == {
        "count": 3, "alike": 1, "differ_beyond_margin": 1, "margins_below": 1,
    }  # fmt: skip
    assert found["largest_difference"] == pytest.approx(2)


def test_halves_are_written_as_they_are_measured(tmp_path, capsys):
    out = tmp_path / "r.json"
    parser = options("doc", works=("a", "b"), items=7, results=out)
    calls = []

    def timing(work):
        calls.append(work)
        return {"summary": {"speed": 2}, "runs": [1]}

    halves(parser.parse_args(["--works", "a"]), lambda: {"cores": 2}, lambda work: {"alike": 3}, timing)
    halves(parser.parse_args(["--works", "b", "--only", "answers"]), lambda: {"cores": 9}, lambda work: {"alike": 4}, timing)
    assert calls == ["a"]
    assert json.loads(out.read_text()) == {
        "machine": {"cores": 2},
        "answers": {"a": {"alike": 3}, "b": {"alike": 4}},
        "summary": {"a": {"speed": 2}},
        "speed": {"a": {"runs": [1]}},
    }
    run = parser.parse_args(["--child", "ours", "--settings", '{"folder": "here", "batch": 1}'])
    capsys.readouterr()
    assert as_child(run, {"ours": lambda own: {"batch": own.batch, "attention": own.attention, "folder": str(own.folder)}})
    assert json.loads(capsys.readouterr().out) == {"batch": 1, "attention": "sdpa", "folder": "here"}
    assert not as_child(parser.parse_args([]), {})


def test_useful_operations_are_those_of_the_matrices_and_half_the_square():
    shape = {"body": 100, "head": 50, "width": 4, "layers": 2}
    assert useful_flops(**shape, lengths=[10, 10], learned=3, frozen=True, causal=True) == 4 * (2000 + 150) + 12 * 200 * 4
    assert useful_flops(**shape, lengths=[10], learned=0, frozen=False, causal=False) == 6 * 1000 + 12 * 100 * 4 * 2
    assert seconds_of([1.0, 3.0, 4.0, 4.5], warm=2) == [1.0, 0.5]


def test_the_ladders_steps_are_read_from_its_store(tmp_path):
    store = tmp_path / ".store" / "lora-1"
    store.mkdir(parents=True)
    (store / "log.jsonl").write_text('{"step": 1}\n{"step": 150}\n')
    (tmp_path / "run").mkdir()
    rungs = [{"name": "pocket-decoder/lora", "node": "lora-1"}, {"name": "zero_shot", "node": ""}, {"name": "x", "node": "x-2"}]
    (tmp_path / "run" / "results.json").write_text(json.dumps({"rungs": rungs}))
    assert ladder.steps_of(tmp_path) == {"pocket-decoder/lora": 150}


def test_what_sharing_can_save_is_counted_in_passes_of_layers():
    assert sharing.allowed()["selective"] == pytest.approx(5 * 32 / (29 + 15))
    assert set(sharing.allowed()) < set(sharing.SHARED) == set(sharing.WANTED)
    assert sharing.share("linear_probe", 4.5) == {"allowed": 5.0, "share": 0.9, "share_wanted": 0.8}
    assert sharing.share("ladder", 2.5) == {}


def test_what_is_kept_and_what_is_asked_anew_learn_the_same(tiny_folder, tmp_path, monkeypatch):
    (tmp_path / "bfloat16").symlink_to(tiny_folder)
    monkeypatch.setattr(sharing, "ROWS", 16)
    monkeypatch.setattr(supervised, "_from_states", supervised._from_states)  # which the child process changes for good
    kept, anew = (sharing.selective(tmp_path, kept=kept) for kept in (True, False))
    assert kept["last_loss"] == pytest.approx(anew["last_loss"], rel=1e-2)


def test_every_work_says_what_it_wants():
    works = train_step.found()
    assert {"lora_short", "lora_asked", "lora_long", "lora_512", "pretrain", "classify", "seq2seq", "dpo"} <= set(works)
    for work in works.values():
        assert isinstance(work, Work)
        assert work.steps > work.warm
        assert (work.theirs is None) == (not work.grid) == (not work.rival)
        assert work.most or work.speed


def test_an_increment_is_what_comes_to_the_weights_as_they_are_borrowed(tiny_base):
    def taken(name):
        step = find_step(name)(**estimates.STEPS[name])
        return estimates.bytes_of(*estimates.borrowed(step, Variant(tiny_base, Prompt()), torch.bfloat16))

    whole = tiny_base.parameters
    assert taken("full") == taken("selective") == 4 * whole
    assert taken("lora") == taken("prompt_tuning") == 2 * whole
    assert taken("qlora") < taken("lora")
    row = {what: {"memory": 100, "seconds": 2.0} for what in ("foretold", "measured")}
    off = {**row, "foretold": {"memory": 120, "seconds": 2.5}}
    found = estimates.summary([row, off])
    assert (found["memory"]["within"], found["seconds"]["within"]) == (1, 2)
    drawn = estimates.configurations(7, 24)
    assert len(set(drawn)) == 24
    assert drawn == estimates.configurations(7, 24) != estimates.configurations(8, 24)


def test_a_share_of_the_labels_is_changed_to_others():
    rows = [{"text": str(n), "label": doubts.LABELS[n % 4]} for n in range(400)]
    given, wrong = doubts.changed(rows, 0)
    assert wrong.sum() == 20
    assert [own["label"] != row["label"] for own, row in zip(given, rows, strict=True)] == wrong.tolist()
    assert doubts.changed(rows, 0)[0] == given != doubts.changed(rows, 1)[0]


def test_labelers_named_are_set_beside_those_who_are_poor_by_gold():
    right = {f"i{n}": "01"[n % 2] for n in range(10)}
    skill = {"good": 10, "half": 5, "named": 8}
    said = [
        Judgement(item, who, "", float(int(right[item]) if n < skill[who] else 1 - int(right[item])), "")
        for who in skill
        for n, item in enumerate(right)
    ]
    found = labelers.finding(said, right, {"half", "named"})
    assert (found["poor"], found["both"], found["missed"]) == (1, 1, {})
    assert (found["precision"]["value"], found["recall"]["value"]) == (0.5, 1.0)
    assert found["named wrongly"] == {"named": [10, 0.8]}
    table = table_of([each for each in said if each.labeler != "named"])
    shares = labelers.shares(table, right)
    assert (shares["items"], shares["tied"]) == (10, 5)  # where the two differ
    assert shares["majority, ties by half"]["value"] == 0.75
    ends = [shares[f"majority, ties to the {end}"]["value"] for end in ("first", "last")]
    assert sorted(ends) == [0.7, 0.8]


def test_what_is_aimed_at_in_stories_is_scored_by_rules():
    assert learning.cheer(["", ""], ["Happy, happy! They had FUN.", "The unhappy dog."]) == [3 / learning.MOST, 0.0]
    story = learning.stories()[0]
    texts = [ending.format(**story) for ending in learning.ENDINGS]
    assert learning.ended([learning.opening(story)] * 6, texts) == [1.0, 1.0, 0.5, 0.25, 0.0, 0.0]


def test_answers_that_were_learned_from_are_counted_to_where_it_ended(tmp_path):
    log = tmp_path / "log.jsonl"
    for steps, stopped, learned in ((20, "done", (64, "")), (9, "kl", (48, "kl")), (8, "kl", (32, "kl"))):
        ticks = [asdict(Tick(at, 20, 1.0, 0.1, 8, 1e-3)) for at in range(1, steps + 1)]
        ticks[-1]["stopped"] = stopped
        log.write_text("\n".join(map(json.dumps, ticks)))
        made = learning.from_answers(None, None, tmp_path, each=16, steps=4 if stopped == "kl" else 5)
        assert (made.samples, made.stopped) == learned


def test_the_table_of_learning_has_means_and_intervals_over_seeds():
    row = {"reward_before": 0.5, "kl": 1.0, "samples": 1536, "processor_seconds": 9.0, "peak_bytes": 5e8}
    runs = [{**row, "seed": seed, "reward": 0.5 + seed / 10, "rise": None if seed else 1.0} for seed in range(3)]
    runs = [run | {"stopped": "kl" if run["seed"] else ""} for run in runs]
    lines = learning.markdown({"methods": {"grpo": runs}}).splitlines()
    assert lines[0].startswith("| methods; before: reward 0.500 | seeds | reward | rise, SD |")
    assert lines[2] == "| grpo | 3 | 0.600 ±0.248 | 1.00 | 1.00 | 1,536 | 9.0 | 0.50 | kl 2 |"
    assert learning.interval([2.0]) == (2.0, None)
    assert learning.markdown({}) == ""


def test_a_default_rate_is_good_where_the_grids_best_is_hardly_better(monkeypatch):
    def rungs_of(best):
        scores = {1.0: 0.80, 0.25: 0.5, 0.5: 0.79, 2.0: best, 4.0: 0.6}

        def climbed(task, base, rungs, name, rows):
            times = [1.0 if isinstance(rung, str) else rung["lora"]["learning_rate"] / 1e-3 for rung in rungs]
            return [result(scores[each]) for each in times]

        monkeypatch.setattr(defaults, "climbed", climbed)
        return defaults.tried("sst2", "pocket-encoder", "lora", 600)

    def result(score):
        quality = {"macro_f1": SimpleNamespace(value=score, low=score, high=score, count=200)}
        words = ("negative", "positive")
        told = [Answer(words[(row + (row >= 200 * score)) % 2]) for row in range(200)]  # wrong as often in either class
        answers = tuple(Marked(str(row), "", words[row % 2], own, None) for row, own in enumerate(told))
        measured = SimpleNamespace(quality=quality, answers=answers)
        curve = [SimpleNamespace(learning_rate=rate, dev=2.0) for rate in (5e-4, 1e-3)]
        return SimpleNamespace(test=measured, dev=measured, curve=curve, alone=SimpleNamespace(seconds=1.0))

    found = rungs_of(0.815)
    assert (found["summary"]["best_times"], found["summary"]["good"]) == (2.0, True)
    behind = found["summary"]["behind"]
    assert behind["value"] == pytest.approx(0.015, abs=1e-3)
    assert behind["low"] <= behind["value"] <= behind["high"]
    assert list(found["rates"]) == ["0.25", "0.5", "1.0", "2.0", "4.0"]
    assert not rungs_of(0.83)["summary"]["good"]


def test_lectures_are_told_over_seeds_and_of_which_base():
    rung = {"base": "b", "read_before": True, "parameters": 5, "dev_loss": 1.0, "disk_bytes": 7, "peak_bytes": 9}
    seeds = [
        {
            "e2e": {
                "lora": {**rung, "seconds": 2.0 + seed, "metrics": {"bleu": [0.1 * seed, 0.0, 1.0, 20]}},
                "full": {"failure": "no"},
            }
        }
        for seed in range(3)
    ]
    found = lectures.together(seeds)["e2e"]
    assert found["full"] == {"seeds": 0}
    lora = found["lora"]
    assert (lora["seeds"], lora["base"], lora["read_before"], lora["parameters"]) == (3, "b", True, 5)
    half = 4.303 * 0.1 / 3**0.5  # Student's t of two degrees of freedom
    assert lora["bleu"] == pytest.approx({"mean": 0.1, "low": 0.1 - half, "high": 0.1 + half, "least": 0.0, "most": 0.2}, rel=1e-3)
    assert lora["seconds"]["most"] == 4.0
    assert lora["disk_bytes"]["mean"] == 7
    assert lectures.together(seeds[:1])["e2e"]["lora"]["bleu"]["low"] is None
    assert lectures.together([*seeds, {}]) == lectures.together(seeds)  # of which another task is climbed, and this not yet
    for recipe in ("ranks", "methods_clinic"):
        assert all(lectures.read_before(base, recipe) for base in ("pocket-decoder", "pocket-seq2seq"))
        assert not lectures.read_before("minilm", recipe)
    assert not lectures.read_before("pocket-encoder", "methods_sst2")


def test_a_task_of_another_size_has_a_name_of_its_own():
    name, task = unseen.sized("ag_news", train=None, test=None)
    assert (name, task["rows"]) == ("ag_news", {"train": 1000, "dev": unseen.DEV, "test": unseen.TEST})
    larger, more = unseen.sized("ag_news", train=8000, test=None)
    assert (larger, more["rows"]) == ("ag_news-train8000", {**task["rows"], "train": 8000})
    assert unseen.sized("ag_news", train=40, test=50)[0] == "ag_news-train40-test50"
    assert {**more, "rows": task["rows"]} == task
    assert unseen.TASKS["ag_news"]["rows"] == task["rows"]


def test_published_rows_become_those_that_lm_eval_reads():
    assert same.scene({"ctx": "Baking: A man: he", "endings": ["a", "b"], "label": 1}) == {
        "activity_label": "Baking",
        "ctx_a": "A man: he",
        "ctx_b": "",
        "endings": ["a", "b"],
        "label": "1",
    }
    named = same.labelled(("negative", "positive"), sentence="text")
    assert named({"text": "good", "label": "positive"}) == {"sentence": "good", "label": 1}
    assert named({"text": "bad", "label": 0}) == {"sentence": "bad", "label": 0}
    assert same.compared(["a ", "b"], [" a", "c"]) == {"count": 2, "alike": 1, "tokens": same.WRITTEN}
    assert same.compared([[-1.0, -2.0]], [[-1.5, -1.0]])["differ_beyond_margin"] == 1
