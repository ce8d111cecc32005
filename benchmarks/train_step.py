"""Our training beside the tool that one would use instead: speed and peak memory on the same rows, in one run.

    python benchmarks/train_step.py [WORK ...] [--pairs 5] [--steps N] [--out FOLDER]

A work is a small description in `works/`. For each of them:

    1. losses    both losses on the same batch and the same weights, in bf16 and fp32, where the work compares them
    2. grid      the other tool in each of its settings, once; its best is kept
    3. pairs     its best and ours, alternating, each run in a process of its own
    4. peak      what this machine multiplies at most in bf16, of which both use a share (MFU)

A work without a rival is run alone, for its memory. Raw figures go to benchmarks/results/WORK.json. `--pairs 1 --steps 3` is a
rehearsal; `--best JSON` names the rival's settings and leaves the grid out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import works
from pairs import Figures, alternating, contestant, machine, matmul_peak, peak, ratio, write
from works import Work, seconds_of

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results"


def found() -> dict[str, Work]:
    """Every work of the folder, by its name."""
    modules = (importlib.import_module(f"works.{module.name}") for module in pkgutil.iter_modules(works.__path__))
    return {name: work for module in modules for name, work in module.WORKS.items()}


def one(work: Work, what: str, *, folder: Path, steps: int, own: Mapping[str, Any], dtype: str) -> Figures:
    """What a child process does."""
    if what == "build":
        work.build(folder)
        return {}
    if what == "losses":
        assert work.losses
        return work.losses(folder, dtype)
    if what == "matmul":
        return {"flops": matmul_peak()}
    assert what == "ours" or work.theirs
    figures = work.ours(folder, steps) if what == "ours" else work.theirs(folder, steps, own)  # type: ignore[misc]
    seconds = seconds_of(figures.pop("ends"), warm=work.warm)
    return {
        f"{work.unit}_per_second": work.units * len(seconds) / sum(seconds),
        "peak_bytes": peak(),
        "seconds_per_step": seconds,
        **figures,
    }


def measure(name: str, work: Work, *, pairs: int, steps: int, best: Mapping[str, Any] | None) -> Figures:
    """All figures of a work."""
    speed = f"{work.unit}_per_second"
    host = machine("torch", "transformers", *work.packages)
    with tempfile.TemporaryDirectory() as temporary:

        def child(what: str, **settings: Any) -> Figures:
            given = {"work": name, "folder": temporary, "steps": steps, **settings}
            figures = contestant(HERE, what, **given)
            said = f"{name}  {what} {settings.get('own', settings)}"
            print(f"{said}  {shown(figures, speed)}", file=sys.stderr, flush=True)
            return figures

        child("build")
        top = child("matmul")["flops"]
        losses = [{"dtype": d, **child("losses", dtype=d)} for d in ("bfloat16", "float32")] if work.losses else []
        grid = []
        if work.theirs and best is None:
            few = min(steps, max(work.grid_steps, work.warm + 1))
            grid = [{**own, **child("theirs", own=own, steps=few)} for own in work.grid]
            best = _settings(work, max(grid, key=lambda row: row[speed]))
            for last in work.last:
                grid.append({**best, **last, **child("theirs", own={**best, **last}, steps=few)})
                best = _settings(work, max(grid, key=lambda row: row[speed]))
        contestants = {"ours": lambda: child("ours")}
        if work.theirs:
            contestants = {"theirs": lambda: child("theirs", own=best), **contestants}
        runs = alternating(pairs, contestants)
    medians = {
        who: {
            speed: statistics.median(run[speed] for run in runs if run["contestant"] == who),
            "peak_bytes": max(run["peak_bytes"] for run in runs if run["contestant"] == who),
        }
        for who in contestants
    }
    each = work.flops(steps) / (steps * work.units)
    for own in medians.values():
        own["mfu"] = own[speed] * each / top
    summary: Figures = {"pairs": pairs, **medians, "matmul_flops_per_second": top, "useful_flops_per_unit": each}
    if work.theirs:
        summary |= {
            "rival": work.rival,
            "rival_best": best,
            "speed_ratio": {**ratio(runs, speed), "wanted": work.speed},
            "memory_ratio": {**ratio(runs, "peak_bytes"), "wanted": work.memory},
            "loss_difference": {row["dtype"]: abs(row["theirs"] - row["ours"]) for row in losses},
        }
    if work.most:
        summary["peak_wanted"] = work.most
    return {"summary": summary, "machine": host, "losses": losses, "grid": grid, "runs": runs}


def _settings(work: Work, row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in work.grid[0]}


def shown(figures: Figures, speed: str) -> str:
    if speed not in figures:
        return json.dumps(figures)
    return f"{figures[speed]:.2f} {speed.replace('_per_second', '/s')}  {figures['peak_bytes'] / 1e9:.2f} GB"


def main() -> None:
    every = found()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="*", default=[], help=f"{', '.join(every)}; all of them if none is named")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, help="steps of a run, those that warm up included")
    parser.add_argument("--best", type=json.loads, help="the rival's settings, where its grid need not be tried")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, default={}, help=argparse.SUPPRESS)
    run = parser.parse_args()
    if run.child:
        own = {"own": {}, "dtype": "", **run.settings}
        work = every[own.pop("work")]
        print(json.dumps(one(work, run.child, **own | {"folder": Path(own["folder"])})))
        return
    if strange := [name for name in run.work if name not in every]:
        parser.error(f"no work '{strange[0]}'; there are {', '.join(every)}")
    for name in run.work or every:
        work = every[name]
        results = measure(name, work, pairs=run.pairs, steps=run.steps or work.steps, best=run.best)
        write(run.out / f"{name}.json", results)
        print(json.dumps({name: results["summary"]}, indent=1))


if __name__ == "__main__":
    main()
