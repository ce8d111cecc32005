"""Are the pocket bases worth climbing from? Six tasks whose rows no base has read (data/classification), over three seeds.

    1. pocket   every rung on each pocket base; the rung that is best on dev stands against TF-IDF with logistic regression on test:
                McNemar's exact p for each seed, whose rows are partly those of another, and how the difference of macro-F1 spreads
    2. random   the same tuning from random weights of the same shape and tokenizer: the difference, paired row by row
    3. shots    few_shot of what reads prompts beside the majority class, in accuracy too, with McNemar's exact p

A seed draws the rows to learn from, the rows to examine, and the order of training. Raw figures go to
benchmarks/results/unseen.json; what was climbed stays in runs/unseen, so that a second run makes only what is missing.

    TUNELADDER_SHARED=/data/root python benchmarks/unseen.py [--tasks sst2,rte] [--bases pocket-encoder] [--seeds 0,1,2]
        [--rungs zero_shot,linear_probe]     of a base's rungs only these; without `full` nothing is tuned from random weights
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
FEW_LABELS = 8  # with more, a prompt cannot show one example of each
RUNGS: dict[str, list[Any]] = {
    "encoder": ["zero_shot", "linear_probe", "full"],
    "decoder": ["zero_shot", {"few_shot": {"shots": 8}}, "linear_probe", "full"],
    "seq2seq": ["zero_shot", {"few_shot": {"shots": 8}}, "full"],
}
TUNED = "full"  # what is climbed from random weights too


def main() -> None:
    options = _options()
    kept = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for task in options.tasks.split(","):
        for base in options.bases.split(","):
            for seed in map(int, options.seeds.split(",")):
                kept.setdefault(task, {}).setdefault(base, {})[str(seed)] = climbed(task, base, seed, options.rungs.split(","))
            kept[task][base]["all"] = together(kept[task][base], task, base)
            write(RESULTS, kept)
            print(task, base, json.dumps(kept[task][base]["all"]), flush=True)


def climbed(name: str, base: str, seed: int, wanted: Sequence[str]) -> dict[str, Any]:
    """Climb a task on a base and on random weights of its shape; every score on test, and the rung that is best on dev."""
    from tuneladder import climb
    from tuneladder.model.inspect import inspect

    family = inspect(base).family
    shown = [rung for rung in RUNGS[family] if not isinstance(rung, dict) or name != "banking77"]
    rungs = [rung for rung in shown if (next(iter(rung)) if isinstance(rung, dict) else rung) in wanted]
    recipe: dict[str, Any] = {"name": f"{name}-{base}-{seed}", "task": {**COMMON, **TASKS[name]}, "seed": seed}
    ladder = climb({**recipe, "base": base, "rungs": rungs}, out=RUNS / recipe["name"])
    found: dict[str, Any] = {"baselines": {key: _score(own.quality[METRIC]) for key, own in ladder.baselines.items()}}
    found["rungs"] = {each.rung.name: _result(each) for each in ladder.results}
    if TUNED in wanted:
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


def together(seeds: dict[str, Any], name: str, base: str) -> dict[str, Any]:
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
        task = load({"name": name, "task": {**COMMON, **TASKS[name]}, "seed": int(seed), "base": base, "rungs": ["zero_shot"]}).task
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
    return parser.parse_args()


if __name__ == "__main__":
    main()
