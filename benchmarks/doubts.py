"""Wrong labels among right ones: does our ranking of doubt find what cleanlab's finds, and are they sorted as they should be?

    1. ranking  5 % of the labels of AG News' 8,000 training rows are changed, drawn by the seed; of the 5 % that are most in doubt
                the share whose label was changed. Ours is `evaluate.disagreements.suspicion`; cleanlab ranks what the same
                classifiers say in the same run: each alone by self-confidence and by normalised margin, both as an ensemble, and
                all of our witnesses as an ensemble. AG News brings wrong labels of its own, so that 1 is out of reach.
    2. sorting  5 % of the test labels are changed, a linear probe is climbed on 2,000 rows, and its disagreements are sorted: how
                many of the changed rows are called questionable, and how many of those that were not changed

Raw figures go to benchmarks/results/doubts.json; what was climbed stays in runs/doubts. cleanlab comes with the extra `bench`.

    TUNELADDER_SHARED=/data/root python benchmarks/doubts.py [--seeds 0,1,2]
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from pairs import write

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results" / "doubts.json"
RUNS = HERE.parents[1] / "runs" / "doubts"
SHARE = 0.05
LABELS = ("World", "Sports", "Business", "Sci/Tech")
ROWS = {"train": 2000, "test": 2000}
RUNG = "linear_probe"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    seeds = [int(each) for each in parser.parse_args().seeds.split(",")]
    data = Path(os.environ["TUNELADDER_SHARED"]) / "data" / "classification" / "ag_news"
    found: dict[str, Any] = {"task": "ag_news", "changed": SHARE, "seeds": seeds, "ranking": [], "sorting": []}
    for part, work in (
        ("ranking", lambda seed: ranked(read(data / "train.jsonl"), seed)),
        ("sorting", lambda seed: sorted_out(data, seed)),
    ):
        for seed in seeds:
            found[part].append(work(seed))
            print(json.dumps(found[part][-1]), flush=True)
            write(RESULTS, with_means(found))


def with_means(found: dict[str, Any]) -> dict[str, Any]:
    """The raw figures so far, and the mean over the seeds that were ranked."""
    ways = found["ranking"][0]["found"]
    means = {way: float(np.mean([each["found"][way] for each in found["ranking"]])) for way in ways}
    return {**found, "mean": means}


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def changed(rows: list[dict[str, str]], seed: int) -> tuple[list[dict[str, str]], np.ndarray[Any, Any]]:
    """The rows with SHARE of the labels another's, and which those are."""
    random = np.random.default_rng(seed)
    at = random.choice(len(rows), round(SHARE * len(rows)), replace=False)
    wrong = np.zeros(len(rows), dtype=bool)
    wrong[at] = True
    away = random.integers(1, len(LABELS), len(rows))
    numbers = (LABELS.index(row["label"]) for row in rows)
    labels = [LABELS[(k + away[n]) % len(LABELS)] if wrong[n] else LABELS[k] for n, k in enumerate(numbers)]
    return [{**row, "label": label} for row, label in zip(rows, labels, strict=True)], wrong


def ranked(rows: list[dict[str, str]], seed: int) -> dict[str, Any]:
    from cleanlab.rank import get_label_quality_ensemble_scores, get_label_quality_scores

    from tuneladder.evaluate.disagreements import suspicion, witnesses
    from tuneladder.ladder.outsiders import embeddings, views
    from tuneladder.model.inspect import inspect
    from tuneladder.model.shelf import Shelf
    from tuneladder.store import Store
    from tuneladder.types import Example, Prompt, Turn, Variant

    rows, wrong = changed(rows, seed)
    examples = [Example(str(n), (Turn("user", row["text"]),), (row["label"],)) for n, row in enumerate(rows)]
    embedded = embeddings(Variant(inspect("pocket-encoder"), Prompt()), examples, Shelf(), Store(RUNS / ".store"))
    seen = views(examples, len(examples), LABELS, embedded, seed=seed)
    doubt = suspicion(seen, [row["label"] for row in rows], LABELS)
    given = np.array([LABELS.index(row["label"]) for row in rows])
    spoken = witnesses(seen, LABELS)
    classifiers = {view.name: view.probabilities for view in seen}
    theirs = {
        f"cleanlab {method}, {name}": get_label_quality_scores(given, own, method=method)
        for name, own in classifiers.items()
        for method in ("self_confidence", "normalized_margin")
    }
    for name, arrays in (("both classifiers", classifiers), ("all witnesses", spoken)):
        theirs[f"cleanlab ensemble, {name}"] = get_label_quality_ensemble_scores(given, list(arrays.values()), verbose=False)
    most = int(wrong.sum())

    def share(score: np.ndarray[Any, Any]) -> float:
        return float(wrong[np.argsort(-score, kind="stable")[:most]].mean())

    shares = {"ours": share(doubt)} | {way: share(-score) for way, score in theirs.items()}
    return {"seed": seed, "rows": len(rows), "changed": most, "found": shares}


def sorted_out(data: Path, seed: int) -> dict[str, Any]:
    from tuneladder import api
    from tuneladder.evaluate.disagreements import SORTS

    random = np.random.default_rng(seed)
    whole = {part: read(data / f"{file}.jsonl") for part, file in (("train", "train"), ("dev", "val"), ("test", "test"))}
    drawn = {part: [own[k] for k in random.permutation(len(own))[: ROWS.get(part, 300)]] for part, own in whole.items()}
    given, wrong = changed(drawn["test"], seed)
    folder = RUNS / f"data-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    for part, own in {**drawn, "test": given}.items():
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own), "utf-8")
    recipe = {
        "task": {
            "kind": "classify",
            "data": {part: str(folder / f"{part}.jsonl") for part in drawn},
            "input": "text",
            "target": "label",
            "labels": list(LABELS),
        },
        "base": "pocket-encoder",
        "rungs": ["zero_shot", RUNG],
        "seed": seed,
    }
    api.climb(recipe, out=RUNS / f"seed-{seed}")
    found = api.disagreements(f"{RUNS / f'seed-{seed}'}:{RUNG}")
    texts = {row["text"].strip() for row, own in zip(given, wrong, strict=True) if own}
    counts = {
        kind: Counter(each.sort for each in found.rows if (each.marked.input.strip() in texts) == own)
        for kind, own in (("changed", True), ("as they were", False))
    }
    return {
        "seed": seed,
        "rows": len(given),
        "changed": int(wrong.sum()),
        **{kind: {sort: own[sort] for sort in SORTS} for kind, own in counts.items()},
    }


if __name__ == "__main__":
    main()
