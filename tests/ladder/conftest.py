"""A small task for whole climbs, and commands in processes of their own that can be killed for real."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).parent
RUNGS: list[Any] = [
    "zero_shot",
    {"few_shot": {"shots": 4}},
    {"full": {"epochs": 2, "batch_size": 8}},
    {"lora": {"r": 4, "epochs": 2, "batch_size": 8}},
    [{"lora": {"r": 4, "epochs": 2, "batch_size": 8}}, {"few_shot": {"shots": 4}}],
]
TEXTS = {
    "sports": (
        "The team won the {n}th final by two goals.",
        "She ran {n} metres in the rain and waved.",
        "Match {n} was lost late.",
    ),
    "market": (
        "Shares of firm {n} fell three per cent.",
        "The bank asks {n} points more for loans.",
        "Order {n} was charged twice.",
    ),
}


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A recipe of five rungs on some 30 train, 6 dev and 10 test rows of two labels; nothing clears its bar, so that no figure in
    its results depends on the clock."""
    folder = tmp_path_factory.mktemp("small")
    draw = random.Random(0)
    rows = [(draw.choice(TEXTS[label]).format(n=n), label) for n in range(24) for label in TEXTS]
    with (folder / "small.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    made = {
        "task": {"kind": "classify", "data": "small.csv", "input": "text", "target": "label"},
        "base": str(tiny_folder),
        "bar": {"macro_f1": 0.999},
        "rungs": RUNGS,
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(made))
    return folder / "small.yaml"


@dataclass
class Command:
    """A climb in a process of its own, with a folder for what it says and does."""

    door: Door
    pid: int
    folder: Path

    def wait(self, seconds: float = 240.0) -> int:
        """Its exit code, negative for a signal; one that hangs is killed."""
        late = threading.Timer(seconds, os.kill, (self.pid, signal.SIGKILL))
        late.start()
        try:
            return int(self.door.ask({"wait": self.pid}))
        finally:
            late.cancel()

    @property
    def said(self) -> str:
        return (self.folder / "log").read_text("utf-8")

    def noted(self, what: str) -> list[list[str]]:
        path = self.folder / "notes"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        return [line.split()[1:] for line in lines if line.split()[0] == what]


class Door:
    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.count = folder, 0
        environment = {**os.environ, "PYTHONPATH": f"{HERE.parents[1] / 'src'}{os.pathsep}{HERE}", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "door.py"), str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, line: Mapping[str, Any]) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def start(self, *argv: str | Path, moment: str = "", cwd: Path | None = None) -> Command:
        self.count += 1
        folder = self.folder / str(self.count)
        folder.mkdir()
        asked = {"argv": [str(word) for word in argv], "cwd": str(cwd or folder), "folder": str(folder), "moment": moment}
        return Command(self, int(self.ask(asked)), folder)

    def run(self, *argv: str | Path, moment: str = "", cwd: Path | None = None) -> tuple[int, Command]:
        command = self.start(*argv, moment=moment, cwd=cwd)
        return command.wait(), command


@pytest.fixture(scope="session")
def door(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[Door]:
    if os.name != "posix":
        pytest.skip("commands are forked, which this system cannot")
    server = Door(tmp_path_factory.mktemp("door"), tiny_folder)
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture(scope="session")
def whole(door: Door, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder of an uninterrupted climb; nobody may write in it."""
    out = tmp_path_factory.mktemp("whole") / "run"
    code, command = door.run("climb", recipe, "--out", out)
    assert code == 0, command.said
    return out


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A run's folder to be, on a new store in which the machine's pace alone is known."""
    (pace,) = (path for path in (whole.parent / ".store").glob("pace-*") if path.is_dir())
    shutil.copytree(pace, tmp_path / ".store" / pace.name)
    return tmp_path / "run"


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    """A copy of the uninterrupted run with its store."""
    shutil.copytree(whole.parent, tmp_path / "copied")
    return tmp_path / "copied" / "run"


def _timeless(value: Any) -> Any:
    """Without what differs from run to run: seconds, bytes of memory, what was predicted of them or follows from them, and the disk
    that a log takes."""
    clocked = ("seconds", "memory", "disk", "predicted", "efficiency")
    if isinstance(value, dict):
        return {key: _timeless(each) for key, each in value.items() if key not in clocked}
    return [_timeless(each) for each in value] if isinstance(value, list) else value


@pytest.fixture
def outcome() -> Callable[[Path], dict[str, Any]]:
    return _outcome


def _outcome(run: Path) -> dict[str, Any]:
    """All that two climbs of one recipe must agree on, to the byte: results, answers, weights, logs."""
    found: dict[str, Any] = {"results.json": _timeless(json.loads((run / "results.json").read_text()))}
    for path in sorted((run / "answers").iterdir()):
        found[path.name] = path.read_text()
    for path in sorted((run.parent / ".store").rglob("*")):
        name = str(path.relative_to(run.parent / ".store"))
        if path.suffix == ".safetensors":
            found[name] = path.read_bytes()
        elif path.name == "log.jsonl":
            found[name] = [_timeless(json.loads(line)) for line in path.read_text().splitlines()]
    return found
