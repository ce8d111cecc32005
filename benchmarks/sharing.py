"""What sharing saves: the frozen part computed once, and one base for several rungs. Seconds side by side, in turn, in one run.

    selective     `selective: {top: 1}` on a Llama of 135M parameters, 5 epochs: what lies below the last layer is asked once and
                  kept, beside the same step that asks it in every epoch
    linear_probe  the same base and rows: embeddings made once, beside embeddings made in each of 5 epochs
    ladder        five adapters on the pocket decoder, the embedded example's rows: one climb, beside a climb of each in a process
                  and a store of its own; whole commands, imports included

`allowed` is what the frozen part's share of the work would allow: the matrices' operations without the cache over those with it,
and `share` what of that is reached. Both ways' last loss stands beside the seconds: the same to five digits. Raw figures go to
benchmarks/results/sharing.json. `--pairs 1` is a rehearsal.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pairs import Figures, alternating, contestant, machine, ratio, write
from works.lora import BATCH, LAYERS, SHORT, build, rows

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results" / "sharing.json"
EPOCHS, ROWS = 5, 160
RUNGS = ("ia3", "prompt_tuning", "prefix_tuning", "adapter", "lora")
SHORTER = "epochs: 2"  # the same for all, so that what is shared is not lost among many epochs
LABELS = ("w1", "w2", "w3", "w4")


def task() -> Any:
    """Prompts of 28 to 88 random words, each with a label."""
    from tuneladder.types import Example, Split, Task, Turn

    examples = tuple(
        Example(f"row {at}", (Turn("user", row["prompt"]),), (LABELS[at % len(LABELS)],), source=f"row {at}")
        for at, row in enumerate(rows(ROWS, SHORT))
    )
    return Task("words", "classify", examples=Split(examples), labels=LABELS)


@contextlib.contextmanager
def lent(folder: Path) -> Iterator[tuple[Any, Any]]:
    """The 135M base, and a kit in a folder that is empty."""
    from tuneladder.model.hardware import device
    from tuneladder.model.inspect import inspect
    from tuneladder.model.shelf import Shelf
    from tuneladder.store import Store
    from tuneladder.types import Kit, Variant

    shelf, words = Shelf(device()), task()
    base = inspect(str(folder / "bfloat16"))
    variant = Variant(base, words.prompt)
    with shelf.live(variant):  # what is imported, and a file's first reading, take as long either way
        pass
    shelf.close()
    with tempfile.TemporaryDirectory(dir=folder) as own:
        yield variant, Kit(Path(own), Store(Path(own) / "store"), 0, device(), None, None, shelf)


def selective(folder: Path, *, kept: bool) -> Figures:
    from tuneladder.train import supervised
    from tuneladder.train.loop import read_log
    from tuneladder.tune.selective import Selective

    @contextlib.contextmanager
    def nothing_kept(core: Any, variant: Any, kit: Any, every: Any, pad: Any, lay: Any, loss: Any, **others: Any) -> Iterator[Any]:
        yield pad, lambda own: own

    if not kept:
        supervised._from_states = nothing_kept
    with lent(folder) as (variant, kit):
        begun = time.perf_counter()
        Selective(top=1, epochs=EPOCHS, batch_size=BATCH).apply(variant, task(), kit)
        return {"seconds": time.perf_counter() - begun, "last_loss": read_log(kit.folder)[-1].loss}


def linear_probe(folder: Path, *, kept: bool) -> Figures:
    from tuneladder.store import Store
    from tuneladder.tune.linear_probe import LinearProbe, _features

    with lent(folder) as (variant, kit):
        begun = time.perf_counter()
        for epoch in range(0 if kept else EPOCHS - 1):
            _features(variant, task().examples.train, replace(kit, store=Store(kit.folder / f"epoch-{epoch}")), pairs=False)
        LinearProbe().apply(variant, task(), kit)
        return {"seconds": time.perf_counter() - begun, "strength": json.loads((kit.folder / "probe.json").read_text())["strength"]}


def ladder(folder: Path, *, kept: bool) -> Figures:
    """Whole commands. Each alone measures the untouched base too, which the ladder does once."""
    chosen = [f"{{{name}: {{{SHORTER}}}}}" for name in RUNGS]
    climbs = [chosen] if kept else [[name] for name in chosen]
    with tempfile.TemporaryDirectory(dir=folder) as own:
        begun = time.perf_counter()
        for at, rungs in enumerate(climbs):
            command = [str(Path(sys.executable).parent / "tuneladder"), "climb", "bases=[pocket-decoder]"]
            command += [f"rungs=[zero_shot, {', '.join(rungs)}]", "--out", f"{own}/{at}/run"]
            subprocess.run(command, check=True, capture_output=True, env=dict(os.environ))
        seconds = time.perf_counter() - begun
        found = [rung for at in range(len(climbs)) for rung in _rungs(Path(own) / str(at) / "run")]
    return {"seconds": seconds, "scores": {each["name"]: each["test"]["macro_f1"]["value"] for each in found}}


def _rungs(run: Path) -> list[dict[str, Any]]:
    rungs: list[dict[str, Any]] = json.loads((run / "results.json").read_text("utf-8"))["rungs"]
    return [rung for rung in rungs if rung["name"] != "zero_shot"]


def allowed() -> dict[str, float]:
    """In layers' passes forward, of which one back through the layer that learns is two: its activations' and its weights'."""
    return {
        "selective": EPOCHS * (LAYERS + 2) / (LAYERS - 1 + EPOCHS * 3),
        "linear_probe": float(EPOCHS),
    }


SHARED = {"selective": selective, "linear_probe": linear_probe, "ladder": ladder}
WANTED = {"selective": 3.0, "linear_probe": 3.0, "ladder": 2.0}
SHARE = 0.8  # of what is allowed


def measure(name: str, folder: Path, pairs: int) -> Figures:
    def child(what: str) -> Figures:
        figures = contestant(HERE, what, shared=name, folder=str(folder))
        print(f"{name}  {what}  {figures}", file=sys.stderr, flush=True)
        return figures

    runs = alternating(pairs, {"kept": lambda: child("kept"), "anew": lambda: child("anew")})
    medians = {who: statistics.median(run["seconds"] for run in runs if run["contestant"] == who) for who in ("kept", "anew")}
    faster = {**ratio(runs, "seconds", of="anew", to="kept"), "wanted": WANTED[name]}
    return {"summary": {"pairs": pairs, "seconds": medians, "times_faster": faster | share(name, faster["value"])}, "runs": runs}


def share(name: str, times: float) -> Figures:
    """How much of what is allowed is reached; nothing where the work says no bound."""
    most = allowed().get(name)
    return {"allowed": most, "share": times / most, "share_wanted": SHARE} if most else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=[], help=f"{', '.join(SHARED)}; all of them if none is named")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, default={}, help=argparse.SUPPRESS)
    run = parser.parse_args()
    if run.child:
        print(json.dumps(SHARED[run.settings["shared"]](Path(run.settings["folder"]), kept=run.child == "kept")))
        return
    if strange := [name for name in run.what if name not in SHARED]:
        parser.error(f"no '{strange[0]}'; there are {', '.join(SHARED)}")
    results: Figures = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        build(Path(temporary))
        for name in run.what or SHARED:
            results[name] = {"machine": machine("torch", "transformers"), **measure(name, Path(temporary), run.pairs)}
            write(RESULTS, results)
            print(json.dumps({name: results[name]["summary"]}, indent=1))


if __name__ == "__main__":
    main()
