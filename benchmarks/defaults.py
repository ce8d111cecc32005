"""Are the steps' own learning rates good ones? Each step that trains, on tasks that its rates were not set on, at its own rate and
at a quarter, half, twice and four times that, one seed each.

    TUNELADDER_SHARED=/data/root python benchmarks/defaults.py [--steps lora,full] [--tasks sst2/pocket-encoder] [--rows 600]

    sst2   sentiment of a sentence (data/classification/sst2), macro-F1, on pocket-encoder and pocket-decoder
    e2e    a sentence about a restaurant of its facts (data/generation/e2e_nlg), ROUGE-L, on pocket-decoder and pocket-seq2seq
    bank   what a bank's customer asks for, of 77 things (data/classification/banking77), accuracy, on pocket-encoder and
           pocket-decoder: for `lora`, whose rate was changed by what it did on sst2

A rate counts as good where what it reaches on test is within 2 points of the grid's best; how far it is behind stands with its
95 % interval (paired bootstrap), for the best of five is partly luck. Raw figures go to benchmarks/results/defaults.json; what was
climbed stays in runs/defaults, so that a second run makes only what is missing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pairs import write

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results" / "defaults.json"
RUNS = HERE.parents[1] / "runs" / "defaults"
TIMES = (0.25, 0.5, 2.0, 4.0)
STEPS = ("prompt_tuning", "prefix_tuning", "adapter", "ia3", "lora", "qlora", "selective", "full")
WITHIN = 0.02
DATA = "${TUNELADDER_SHARED}/data"
FILES = {part: part for part in ("train", "dev", "test")}
TASKS: dict[str, dict[str, Any]] = {
    "sst2": {
        "kind": "classify",
        "data": {part: f"{DATA}/classification/sst2/{own}.jsonl" for part, own in FILES.items()},
        "input": "text",
        "target": "label",
        "labels": {0: "negative", 1: "positive"},
        "metric": "macro_f1",
        "rows": {"dev": 200, "test": 1800},
    },
    "e2e": {
        "kind": "generate",
        "data": {part: f"{DATA}/generation/e2e_nlg/{own}.jsonl" for part, own in {**FILES, "dev": "val"}.items()},
        "input": "mr",
        "target": {"train": "ref", "dev": "ref", "test": "refs"},
        "references": "together",
        "metric": "rouge_l",
        "rows": {"dev": 200, "test": 600},
    },
}
TASKS["bank"] = {
    "kind": "classify",
    "data": {part: f"{DATA}/classification/banking77/{part}.jsonl" for part in ("train", "test")},
    "input": "text",
    "target": "label",
    "metric": "accuracy",
    "rows": {"dev": 300, "test": 1500},
}
BASES = {
    "sst2": ("pocket-encoder", "pocket-decoder"),
    "e2e": ("pocket-decoder", "pocket-seq2seq"),
    "bank": ("pocket-encoder", "pocket-decoder"),
}


def main() -> None:
    options = _options()
    kept: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for place in options.tasks.split(","):
        task, _, base = place.partition("/")
        for step in options.steps.split(","):
            found = tried(task, base, step, options.rows)
            kept.setdefault(place, {})[step] = found
            write(RESULTS, kept)
            print(place, step, json.dumps(found["summary"]), flush=True)


def tried(task: str, base: str, step: str, rows: int) -> dict[str, Any]:
    """A step at its own rate, which its log tells, and at others."""
    (first,) = climbed(task, base, [step], f"{task}-{base}-{step}", rows)
    if not first.test:
        return {"summary": {"failure": first.failure}}
    own = max(tick.learning_rate for tick in first.curve)
    others = climbed(task, base, [{step: {"learning_rate": own * times}} for times in TIMES], f"{task}-{base}-{step}-grid", rows)
    metric: str = TASKS[task]["metric"]
    results: dict[float, Any] = dict(zip((1.0, *TIMES), (first, *others), strict=True))
    found = {times: _figures(result, metric) for times, result in results.items()}
    best = max(found, key=lambda times: found[times]["test"]["value"] if "test" in found[times] else 0.0)
    behind = _behind(task, results[best], first)
    summary = {"learning_rate": own, "behind": behind, "best_times": best, "good": behind["value"] <= WITHIN}
    return {"summary": summary, "rates": {str(times): figures for times, figures in sorted(found.items())}}


def _behind(task: str, best: Any, own: Any) -> dict[str, float]:
    """How far a result is behind the best one on the rows of test."""
    from tuneladder.evaluate.compare import difference
    from tuneladder.evaluate.find import find_metric

    labels = tuple(TASKS[task].get("labels", {}).values())
    found = difference(find_metric(TASKS[task]["metric"]), own.test.answers, best.test.answers, labels, seed=0)
    return {"value": found.value, "low": found.low, "high": found.high}


def climbed(task: str, base: str, rungs: list[Any], name: str, rows: int) -> list[Any]:
    """The results of these rungs, in their order."""
    from tuneladder import climb

    own = {**TASKS[task], "rows": {**TASKS[task]["rows"], "train": rows}}
    ladder = climb({"name": name, "task": own, "base": base, "rungs": ["zero_shot", *rungs]}, out=RUNS / name)
    return list(ladder.results[1:])


def _figures(result: Any, metric: str) -> dict[str, Any]:
    if not result.test:
        return {"failure": result.failure}
    scores = {split: measured.quality[metric] for split, measured in (("dev", result.dev), ("test", result.test))}
    figures = {split: {"value": own.value, "low": own.low, "high": own.high, "count": own.count} for split, own in scores.items()}
    losses = [tick.dev for tick in result.curve if tick.dev is not None]
    return {**figures, "dev_loss": min(losses, default=None), "seconds": result.alone.seconds}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", default=",".join(f"{task}/{base}" for task, bases in BASES.items() for base in bases))
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--rows", type=int, default=600)
    return parser.parse_args()


if __name__ == "__main__":
    main()
