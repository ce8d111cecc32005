"""Are the pocket bases worth climbing from? Six tasks whose rows no base has read (data/classification), over three seeds.

    1. pocket   every rung on each pocket base; the rung that is best on dev stands against TF-IDF with logistic regression on test:
                McNemar's exact p for each seed, whose rows are partly those of another, and how the difference of macro-F1 spreads
    2. random   the same tuning from random weights of the same shape and tokenizer: the difference, paired row by row
    3. shots    few_shot of what reads prompts beside the majority class, in accuracy too, with McNemar's exact p

A seed draws the rows to learn from, the rows to examine, and the order of training. Raw figures go to
benchmarks/results/unseen.json; what was climbed stays in runs/unseen, so that a second run makes only what is missing.

    TUNELADDER_SHARED=/data/root python benchmarks/unseen.py [--tasks sst2,rte] [--bases pocket-encoder] [--seeds 0,1,2]
        [--rungs zero_shot,linear_probe]     of a base's rungs only these; random weights are tuned where `full` is one of them
        [--train 8000] [--test 4000]         so many rows to learn from and to examine, told in the task's name: ag_news-train8000
        [--out FILE]

A base may be another, whose shape is not tuned from random weights: `--tasks ag_news --bases minilm --train 8000 --test 4000
--rungs linear_probe,lora,full`. `--train 40 --test 40 --seeds 0 --out FILE` is a rehearsal.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pairs import write

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results" / "unseen.json"
RUNS = HERE.parents[1] / "runs" / "unseen"
DATA = "${TUNELADDER_SHARED}/data/classification"
METRIC = "macro_f1"
ACCURACY = "accuracy"
COMMON = {"input": "text", "target": "label", "kind": "classify", "metric": METRIC, "also": [ACCURACY]}
DEV, TEST = 300, 1000
TASKS: dict[str, dict[str, Any]] = {
    "ag_news": {
        "data": {part: f"{DATA}/ag_news/{file}.jsonl" for part, file in (("train", "train"), ("dev", "val"), ("test", "test"))},
        "labels": {"World": "world", "Sports": "sports", "Business": "business", "Sci/Tech": "technology"},
        "rows": {"train": 1000, "dev": DEV, "test": TEST},
    },
    "sst2": {
        "data": {part: f"{DATA}/sst2/{part}.jsonl" for part in ("train", "dev", "test")},
        "labels": {0: "negative", 1: "positive"},
        "rows": {"train": 1000, "dev": DEV, "test": TEST},
    },
    "cola": {
        "data": {part: f"{DATA}/cola/{file}.jsonl" for part, file in (("train", "train"), ("dev", "val"), ("test", "test"))},
        "labels": {0: "wrong", 1: "right"},
        "instruction": "Is the grammar of this sentence right or wrong?",
        "rows": {"train": 1000, "dev": DEV, "test": TEST},
    },
    "rte": {
        "data": {part: f"{DATA}/rte/{file}.jsonl" for part, file in (("train", "train"), ("dev", "val"), ("test", "test"))},
        "input": "{{ premise }}\n\n{{ hypothesis }}",
        "labels": {"entailment": "yes", "not_entailment": "no"},
        "instruction": "Does the second text follow from the first? Answer yes or no.",
        "rows": {"train": 1000, "dev": DEV, "test": TEST},
    },
    "banking77": {
        "data": {"train": f"{DATA}/banking77/train.jsonl", "test": f"{DATA}/banking77/test.jsonl"},
        "rows": {"train": 2000, "dev": DEV, "test": TEST},
    },
    "toxicity": {
        "data": {"train": f"{DATA}/toxicity_surge/train.jsonl", "test": f"{DATA}/toxicity_surge/test.jsonl"},
        "labels": {"Toxic": "toxic", "Not Toxic": "harmless"},
        "rows": {"train": 600, "dev": 100, "test": TEST},
    },
}
RUNGS: dict[str, list[Any]] = {
    "encoder": ["zero_shot", "linear_probe", "lora", "full"],
    "decoder": ["zero_shot", {"few_shot": {"shots": 8}}, "linear_probe", "lora", "full"],
    "seq2seq": ["zero_shot", {"few_shot": {"shots": 8}}, "lora", "full"],
}
TUNED = "full"  # what is climbed from random weights too


def main() -> None:
    options = _options()
    rungs, seeds = options.rungs.split(","), [int(each) for each in options.seeds.split(",")]
    kept = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    for task in options.tasks.split(","):
        name, asked = sized(task, train=options.train, test=options.test)
        for base in options.bases.split(","):
            found = kept.setdefault(name, {}).setdefault(base, {})
            for seed in seeds:
                found[str(seed)] = climbed(name, asked, base, seed, rungs)
            found["all"] = together(found, name, asked, base)
            write(options.out, kept)
            print(name, base, json.dumps(found["all"]), flush=True)


def sized(task: str, *, train: int | None, test: int | None) -> tuple[str, dict[str, Any]]:
    """A task with so many rows to learn from and to examine, None: as many as it has here; its name tells those that were given."""
    given = {part: count for part, count in (("train", train), ("test", test)) if count}
    own = {**COMMON, **TASKS[task]}
    return "-".join([task, *(f"{part}{count}" for part, count in given.items())]), {**own, "rows": {**own["rows"], **given}}


def climbed(name: str, task: dict[str, Any], base: str, seed: int, wanted: Sequence[str]) -> dict[str, Any]:
    """Climb a task on a base, a pocket base's random weights too; every score on test, and the rung that is best on dev."""
    from tuneladder import climb
    from tuneladder.model import pocket
    from tuneladder.model.inspect import inspect

    family = inspect(base).family
    # the labels of banking77 are too many for a prompt to show one example of each
    shown = [rung for rung in RUNGS[family] if not isinstance(rung, dict) or "labels" in task]
    rungs = [rung for rung in shown if (next(iter(rung)) if isinstance(rung, dict) else rung) in wanted]
    recipe: dict[str, Any] = {"name": f"{name}-{base}-{seed}", "task": task, "seed": seed}
    ladder = climb({**recipe, "base": base, "rungs": rungs}, out=RUNS / recipe["name"])
    found: dict[str, Any] = {"baselines": {key: _score(own.quality[METRIC]) for key, own in ladder.baselines.items()}}
    found["rungs"] = {each.rung.name: _result(each) for each in ladder.results}
    if TUNED in wanted and base in pocket.names():
        fresh = str(random_weights(base, seed))
        control = climb({**recipe, "base": fresh, "rungs": ["zero_shot", TUNED]}, out=RUNS / f"{recipe['name']}-random")
        found["random"] = _result(next(each for each in control.results if each.rung.name == TUNED))
    learned = [each for each in ladder.results if each.dev and each.test and each.rung.name != "zero_shot"]
    found["best"] = max(learned, key=lambda each: each.dev.quality[METRIC].value).rung.name
    return found


def random_weights(base: str, seed: int) -> Path:
    """A folder with the base's config and tokenizer, and weights as before any training."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer

    from tuneladder.model.inspect import inspect

    found = inspect(base)
    folder = RUNS / f"random-{base}-{seed}"
    if not (folder / "config.json").exists():
        kinds: dict[str, Any] = {"encoder": AutoModelForMaskedLM, "decoder": AutoModelForCausalLM, "seq2seq": AutoModelForSeq2SeqLM}
        torch.manual_seed(seed)
        kinds[found.family].from_config(AutoConfig.from_pretrained(found.location)).save_pretrained(folder)
        AutoTokenizer.from_pretrained(found.location).save_pretrained(folder)
    return folder


def together(seeds: dict[str, Any], name: str, asked: dict[str, Any], base: str) -> dict[str, Any]:
    """Over the seeds: means, the best rung against TF-IDF, and the tuned base against random weights, on all their test rows."""
    from tuneladder import load
    from tuneladder.api import answers_of
    from tuneladder.evaluate.baselines import baselines
    from tuneladder.evaluate.compare import compare
    from tuneladder.evaluate.find import find_metric
    from tuneladder.evaluate.intervals import paired_bootstrap

    metric, accuracy = find_metric(METRIC), find_metric(ACCURACY)
    contests: list[dict[str, Any]] = []
    shots: list[float] = []  # McNemar's p of few_shot and the majority class
    against: dict[str, list[list[Any]]] = {"tfidf": [], "random": [], "majority": []}
    labels: Sequence[str] = ()
    own = {seed: found for seed, found in seeds.items() if seed != "all"}
    for seed, found in own.items():
        task = load({"name": name, "task": asked, "seed": int(seed), "base": base, "rungs": ["zero_shot"]}).task
        labels = task.labels
        run = RUNS / f"{name}-{base}-{seed}"
        best = answers_of(f"{run}:{found['best']}")
        plain = baselines(task, "test", seed=int(seed))["tfidf"].answers
        contest = compare(best, plain)
        contests.append({"won": len(contest.won), "lost": len(contest.lost), "mcnemar": contest.p})
        against["tfidf"].append([_statistics(metric, each, labels) for each in (plain, best)])
        if shown := [rung for rung in found["rungs"] if rung.startswith("few_shot")]:
            answers, most = answers_of(f"{run}:{shown[0]}"), baselines(task, "test", seed=int(seed))["majority"].answers
            against["majority"].append([_statistics(accuracy, each, labels) for each in (most, answers)])
            shots.append(compare(answers, most).p)
        if "random" in found:
            tuned, fresh = answers_of(f"{run}:{TUNED}"), answers_of(f"{run}-random:{TUNED}")
            against["random"].append([_statistics(metric, each, labels) for each in (fresh, tuned)])
    said: dict[str, Any] = {"against_tfidf": contests, "best": [f["best"] for f in own.values()]}
    if shots:
        said["few_shot_mcnemar"] = shots
    for key, pairs in against.items():
        if not pairs:
            continue
        a, b = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
        value, low, high, p = paired_bootstrap(a, b, (accuracy if key == "majority" else metric).combine, seed=0)
        said[f"over_{key}"] = {"value": value, "low": low, "high": high, "p": p, "count": len(a)}
    names = dict.fromkeys(rung for f in own.values() for rung, each in f["rungs"].items() if each["test"])
    means = {rung: [f["rungs"][rung]["test"]["value"] for f in own.values() if rung in f["rungs"]] for rung in names}
    means["random"] = [f["random"]["test"]["value"] for f in own.values() if "random" in f]
    for key in ("majority", "tfidf"):
        means[key] = [f["baselines"][key]["value"] for f in own.values()]
    return said | {"means": {key: float(np.mean(values)) for key, values in means.items() if values}}


def _statistics(metric: Any, answers: Sequence[Any], labels: Sequence[str]) -> Any:
    return metric.statistics([one.answer.text for one in answers], [(one.reference,) for one in answers], labels)


def _result(result: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"dev": None, "test": None, "failure": result.failure}
    if result.test:
        said |= {"dev": _score(result.dev.quality[METRIC]), "test": _score(result.test.quality[METRIC])}
        said["test_accuracy"] = _score(result.test.quality[ACCURACY])
        said["seconds"] = result.test.spent.seconds
    return said


def _score(score: Any) -> dict[str, float]:
    return {"value": score.value, "low": score.low, "high": score.high, "count": score.count}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--bases", default="pocket-encoder,pocket-decoder,pocket-seq2seq")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rungs", default="zero_shot,few_shot,linear_probe,full")
    parser.add_argument("--train", type=int, default=None)
    parser.add_argument("--test", type=int, default=None)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
