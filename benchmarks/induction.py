"""Instruction induction (arXiv:2205.10782) as a test bed of `search`: of each task the untouched base asked with its inputs alone,
with the searched instruction, with examples, and with both, as one climb; exact match on the same held-out rows.

The base is `--base`, which also proposes the instructions, or the `--url` and `--model` of an endpoint. Of each task 40 rows are
shown and chosen by, 60 decide which rung is taken, and the rest, up to 150, are the test. Raw figures go to
benchmarks/results/induction.json; what was climbed stays in runs/induction.

    TUNELADDER_SHARED=/data/root python benchmarks/induction.py [--tasks antonyms sum ...]
"""

from __future__ import annotations

import argparse
import json
import os
import random
from pathlib import Path
from typing import Any

from pairs import machine, tell, write

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results" / "induction.json"
RUNS = HERE.parents[1] / "runs" / "induction"
TASKS = ("first_word_letter", "singular_to_plural", "antonyms", "sentiment", "larger_animal", "sum", "letters_list", "rhymes")
ROWS = {"train": 40, "dev": 60, "test": 150}
SHOTS = 5
RUNGS = ["zero_shot", "search", {"few_shot": {"shots": SHOTS}}, ["search", {"few_shot": {"shots": SHOTS}}]]


def recipe(task: str, rows: list[dict[str, Any]], base: Any) -> dict[str, Any]:
    place = RUNS / task
    place.mkdir(parents=True, exist_ok=True)
    random.Random(0).shuffle(rows)
    data, begun = {}, 0
    for split, count in ROWS.items():
        file = place / f"{split}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows[begun : begun + count]), "utf-8")
        data[split], begun = str(file), begun + count
    return {
        "name": task,
        "task": {"kind": "generate", "data": data, "input": "input", "target": "output", "metric": "exact_match"},
        "base": base,
        "rungs": RUNGS,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--base", default="pocket-decoder")
    parser.add_argument("--url", help="an endpoint in the place of a base")
    parser.add_argument("--model", help="its model")
    parser.add_argument("--results", type=Path, default=RESULTS)
    run = parser.parse_args()
    from tuneladder import api

    file = Path(os.environ["TUNELADDER_SHARED"]) / "data" / "instruction" / "instruction_induction.jsonl"
    rows: dict[str, list[dict[str, Any]]] = {}
    for line in file.read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["task"] in run.tasks:
            rows.setdefault(row["task"], []).append({name: row["example"][name] for name in ("input", "output")})
    found: dict[str, Any] = json.loads(run.results.read_text("utf-8"))["tasks"] if run.results.exists() else {}
    for task in run.tasks:
        base = {"url": run.url, "model": run.model} if run.url else run.base
        ladder = api.climb(recipe(task, rows[task], base), out=RUNS / task / "run")
        found[task] = {
            result.rung.name: {
                "failure": result.failure,
                "instruction": result.variant.prompt.instruction if result.variant else "",
                "exact_match": result.test and {name: getattr(result.test.quality["exact_match"], name) for name in FIGURES},
                "seconds": result.alone.seconds,
            }
            for result in ladder.results
        }
        tell(task, {name: own["exact_match"] and own["exact_match"]["value"] for name, own in found[task].items()})
        write(run.results, {**machine("torch", "transformers"), "base": run.model or run.base, "rows": ROWS, "tasks": found})


FIGURES = ("value", "low", "high", "count")

if __name__ == "__main__":
    main()
