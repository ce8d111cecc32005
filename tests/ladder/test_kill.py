"""Killed at any moment, and the same command again ends as an uninterrupted climb."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

import psutil
import pytest


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def saves(command, step):
    return [int(at) for folder, at in command.noted("save") if folder.startswith(f"{step}-")]


def test_killed_and_stopped_at_many_moments_it_ends_as_an_uninterrupted_climb(door, recipe, whole, run, outcome):
    lines = (whole.parent / ".store").glob("lora-*/log.jsonl")
    steps = len(next(lines).read_text().splitlines())

    code, first = door.run("climb", recipe, "--out", run, moment="SIGKILL lora 3")  # in the ladder's own process
    assert code == -signal.SIGKILL
    assert saves(first, "lora") == [1, 2, 3]

    code, second = door.run("climb", recipe, "--out", run, moment="SIGINT lora 5")  # Ctrl-C
    assert code == 130
    assert "the same command goes on from there" in second.said
    assert saves(second, "lora")[0] == 4
    assert saves(second, "lora")[-1] < steps

    code, third = door.run("climb", recipe, "--out", run, moment="SIGKILL measure 1")  # of the lora: the others are kept
    assert code == -signal.SIGKILL
    assert saves(third, "lora")[0] == saves(second, "lora")[-1] + 1

    code, fourth = door.run("climb", recipe, "--out", run, moment="SIGKILL full 2")  # the parent of the child that trains
    assert code == -signal.SIGKILL
    assert not saves(fourth, "lora")
    orphan = int(fourth.noted("orphan")[0][0])
    until = time.monotonic() + 20
    while not gone(orphan) and time.monotonic() < until:
        time.sleep(0.05)
    assert gone(orphan), "the child outlived its parent and went on"

    code, fifth = door.run("climb", recipe, "--out", run, moment="SIGTERM full 4")  # asked to end while a child trains
    assert code == 130, fifth.said
    assert "the same command goes on from there" in fifth.said
    assert saves(fifth, "full")[0] == 3

    code, sixth = door.run("climb", recipe, "--out", run, moment="SIGKILL rename:full 1")
    assert code == -signal.SIGKILL
    assert saves(sixth, "full")[0] == saves(fifth, "full")[-1] + 1

    code, last = door.run("climb", recipe, "--out", run)
    assert code == 0, last.said
    assert not last.noted("make"), "all was made already"
    assert outcome(run) == outcome(whole)
    left = [path.name for path in (run.parent / ".store").rglob("*") if path.suffix in (".part", ".copy", ".tmp", ".pt")]
    assert not left


def test_killed_at_any_time(door, recipe, whole, run, outcome):
    """At times that no hook chose: in reading, in training, in writing."""
    for wait in (1.0, 0.3, 2.0):
        command = door.start("climb", recipe, "--out", run)
        time.sleep(wait)
        os.kill(command.pid, signal.SIGKILL)  # one that ended before is not yet waited for, so the id is still its own
        command.wait()
    code, command = door.run("climb", recipe, "--out", run)
    assert code == 0, command.said
    assert outcome(run) == outcome(whole)


def test_two_climbs_on_one_store(door, recipe, whole, run, outcome):
    two = [door.start("climb", recipe, "--out", run.parent / name) for name in ("a", "b")]
    assert [command.wait() for command in two] == [0, 0], [command.said for command in two]
    made = [key for command in two for (key,) in command.noted("make")]
    assert sorted(made) == sorted(set(made)), "a node was made twice"
    assert len(made) == 5
    assert outcome(run.parent / "a") == outcome(run.parent / "b") == outcome(whole)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB, where this user may mount one."""
    import subprocess

    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def leave(disk, size):
    """Fill the disk up to `size` bytes."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    facts = os.statvfs(disk)
    ballast.write_bytes(b"x" * (facts.f_bavail * facts.f_frsize - size))


def test_a_full_disk_ends_the_climb_and_room_lets_it_go_on(door, recipe, whole, small_disk, outcome):
    run = small_disk / "run"
    (small_disk / ".store").mkdir()
    for step, room in (("lora", 120_000), ("full", 400_000)):  # in the ladder's process, and in a child
        leave(small_disk, room)
        code, command = door.run("climb", recipe, "--out", run)
        assert code == 3, command.said
        assert "the disk that holds" in command.said
        assert "is full" in command.said
        assert "Traceback" not in command.said
        assert command.noted("make")[-1][0].startswith(f"{step}-"), command.noted("make")
    (small_disk / "ballast").unlink()
    code, command = door.run("climb", recipe, "--out", run)
    assert code == 0, command.said
    assert outcome(run) == outcome(whole)


OWN = """
import os, signal
from dataclasses import dataclass, replace
from typing import ClassVar
from tuneladder.types import Cost

@dataclass(frozen=True, kw_only=True)
class Works:
    changes: ClassVar = "prompt"
    needs: ClassVar = "examples"
    families: ClassVar = ("decoder",)
    reads: ClassVar = ("train",)
    version: ClassVar = 1
    word: str = "Read with care."

    def plan(self, variant, task, pace):
        return self._on(variant), Cost()

    def apply(self, variant, task, kit):
        return self._on(variant)

    def _on(self, variant):
        return replace(variant, steps=(*variant.steps, "works"), prompt=replace(variant.prompt, system=self.word))

class Raises(Works):
    def apply(self, variant, task, kit):
        return {}["what is not there"]

class Hungry(Works):
    def apply(self, variant, task, kit):
        raise MemoryError

class Unplanned(Works):
    def plan(self, variant, task, pace):
        raise ZeroDivisionError("division by zero")

class Killed(Works):
    changes = "weights"
    def apply(self, variant, task, kit):
        os.kill(os.getpid(), signal.SIGKILL)

class Unlucky(Killed):
    def apply(self, variant, task, kit):
        raise LookupError("nothing to be found")
"""


def test_a_rung_that_fails_is_a_result_and_the_climb_goes_on(door, recipe, run, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    names = ("Raises", "Hungry", "Unplanned", "Killed", "Unlucky", "Works")
    rungs = json.dumps([f"own:{name}" for name in names] + ["zero_shot"])
    argv = ("climb", recipe, f"rungs={rungs}", "--out", run)
    code, command = door.run(*argv, cwd=tmp_path)
    assert code == 0, command.said

    def read():
        return {rung["name"]: rung for rung in json.loads((run / "results.json").read_text())["rungs"]}

    failures = {name: rung["failure"] for name, rung in read().items()}
    assert failures == {
        "own:Raises": "KeyError: 'what is not there'",
        "own:Hungry": "out of memory (lower batch_size or max_length)",
        "own:Unplanned": "ZeroDivisionError in its plan: division by zero",
        "own:Killed": "the process of killed was killed by signal 9 "
        "(it may have run out of memory: lower batch_size or max_length, or set limit: memory)",
        "own:Unlucky": "LookupError: nothing to be found",
        "own:Works": "",
        "zero_shot": "",
    }
    before = read()["own:Works"]
    assert before["test"]
    assert "own:Raises" in (run / "report.html").read_text()

    (tmp_path / "own.py").write_text(OWN.replace("with care", "twice"))  # its source is its key
    code, command = door.run(*argv, cwd=tmp_path)
    assert code == 0, command.said
    assert read()["own:Works"]["node"] != before["node"]


def test_folders_that_cannot_be_written_in(door, recipe, tmp_path):
    (tmp_path / "file").write_text("here first")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        code, command = door.run("climb", recipe, "--out", out)
        assert code == 2, command.said
        assert "is in the way: it is not a folder" in command.said
        assert "hint: move it, or name another place" in command.said
    code, command = door.run("climb", recipe, "--out", "/proc/run")
    assert code in (2, 3), command.said
    assert "Traceback" not in command.said
    assert "/proc" in command.said


VOWELS = """
def share(prompts, completions):
    return [sum(letter in "aeiou" for letter in text) / 8 for text in completions]
"""
WRITES = {"reward": "vowels:share", "tokens": 6, "updates": 2, "r": 2, "learning_rate": 0.05}
PHASES = {"phases": 3, "prompts": 2, "samples": 4, "most_kl": 1000}
GROWS = {"grows": 2, "improves": 2, "prompts": 20, "samples": 2, "held_out": 6, "patience": 0}
POLICIES = {
    "grpo": (PHASES, 6, ["grpo 3"]),
    # before anything is learned, in the middle of a phase, between what a phase wrote and its record, at the very end
    "ppo": (PHASES, 6, ["replace:rollout-0.pt 1", "ppo 3", "replace:rollouts.jsonl 1", "rename:ppo 1"]),
    "rest": (
        GROWS,
        8,
        [
            "replace:rollout-0-16.pt 1",  # it grows: the answers to the first sixteen prompts are there
            "rest 1",
            "replace:rollouts.jsonl 1",  # it looks at what its first improve came to
            "rest 2",
            "replace:rollout-1-16.pt 1",  # it grows again
            "rest 4",
            "rest 7",
            "rename:rest 1",
        ],
    ),
}


@pytest.mark.parametrize("step", POLICIES)
def test_a_policy_killed_at_many_moments_ends_as_one_that_nobody_killed(step, door, recipe, outcome, tmp_path):
    """It goes on with the very answers that it had written, and is as far from its reference."""
    (tmp_path / "vowels.py").write_text(VOWELS)
    settings, steps, moments = POLICIES[step]
    rungs = json.dumps([{step: {**WRITES, **settings}}])
    straight, cut = tmp_path / "straight" / "run", tmp_path / "cut" / "run"

    code, first = door.run("climb", recipe, f"rungs={rungs}", "--out", straight, cwd=tmp_path)
    assert code == 0, first.said
    (pace,) = (path for path in (straight.parent / ".store").glob("pace-*") if path.is_dir())
    shutil.copytree(pace, cut.parent / ".store" / pace.name)

    saved: list[int] = []
    for moment in moments:
        code, killed = door.run("climb", recipe, f"rungs={rungs}", "--out", cut, moment=f"SIGKILL {moment}", cwd=tmp_path)
        assert code == -signal.SIGKILL, moment
        saved += saves(killed, step)
    code, again = door.run("climb", recipe, f"rungs={rungs}", "--out", cut, cwd=tmp_path)
    assert code == 0, again.said
    assert saved + saves(again, step) == [*range(1, steps)], "a step that was saved was taken again"

    ends = [outcome(run) for run in (straight, cut)]
    assert ends[0] == ends[1]
    assert any(name.endswith("adapter_model.safetensors") for name in ends[0])
    along = [next((run.parent / ".store").glob(f"{step}-*/rollouts.jsonl")).read_text() for run in (straight, cut)]
    assert along[0] == along[1]
    assert [json.loads(line)["step"] for line in along[0].splitlines()] == [*range(0, steps + 1, 2)]
    assert not list((cut.parent / ".store").rglob("*.pt"))
