"""Are ten judgements of anybody's worth one of an expert's, and are those who guess found without knowing what is right?

On the textual entailments of Snow et al. 2008: 800 items, ten labels each by 164 people of a marketplace, and what is right.

    1. values   the share of items that each aggregation has right: majority with its ties one way, the other and counted half,
                Dawid and Skene, and both without the labelers whom the judgements alone bring into doubt
    2. finding  labelers who are right less than 0.6 of the time by gold, and those named without it: precision and recall, of
                people and of their judgements; of all that are named, and of those of whom their judgements are enough to be sure
    3. curve    the same shares of 1 to 10 labels an item, drawn by each of the seeds: means and their spread over the draws

Raw figures go to benchmarks/results/labelers.json.

    TUNELADDER_SHARED=/data/root python benchmarks/labelers.py [--seeds 20]
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pairs import Figures, write

from tuneladder.evaluate.intervals import mcnemar, wilson
from tuneladder.feedback.agreement import agreement
from tuneladder.feedback.dawid_skene import dawid_skene
from tuneladder.feedback.judgements import read_judgements
from tuneladder.feedback.labelers import FAIR, standing_out
from tuneladder.feedback.table import Table, table_of
from tuneladder.feedback.under import by_rubric
from tuneladder.types import Judgement

RESULTS = Path(__file__).resolve().parent / "results" / "labelers.json"
POOR = 0.6  # by gold
WANTED = 0.925


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    data = Path(os.environ["TUNELADDER_SHARED"]) / "data" / "preference" / "snow2008_rte_labels.jsonl"
    read = read_judgements(str(data), columns={"labeler": "worker", "value": "response"})
    judgements, gold = read.judgements, {item: str(int(right)) for item, right in read.gold[""].items()}
    (under,) = by_rubric(judgements)
    blind = agreement(under, {})
    named = set(standing_out(blind.labelers))
    sure = {
        each.name for each in blind.labelers if each.name in named and (each.always or (each.accord and each.accord.high < FAIR))
    }
    kept = [each for each in judgements if each.labeler not in named]
    found: Figures = {
        "data": "Snow et al. 2008, RTE",
        "judgements": len(judgements),
        "items": blind.items,
        "labelers": len(blind.labelers),
        "alpha": figures(blind.alphas["nominal"]),
        "wanted": WANTED,
        "values": {"all": shares(under.table, gold), "without those in doubt": shares(table_of(kept), gold)},
        "finding": {"named": finding(judgements, gold, named), "named for sure": finding(judgements, gold, sure)},
    }
    found["curve"] = {str(labels): curve(judgements, gold, labels, range(seeds)) for labels in range(1, 11)}
    write(RESULTS, found)
    print(json.dumps({name: found[name] for name in ("values", "finding")}, indent=1))


def figures(score: Any) -> Figures:
    return {"value": score.value, "low": score.low, "high": score.high}


def rights(table: Table, gold: dict[str, str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(I,) for each item: how far the majority is right, a tie by half; whether it is tied; whether Dawid and Skene are right."""
    truth = np.array([table.values.index(gold[item]) for item in table.items])
    counts, at = table.counts, np.arange(len(table.items))
    most = counts == counts.max(1, keepdims=True)
    tied = most.sum(1) > 1
    return most[at, truth] / most.sum(1), tied, np.array(dawid_skene(table).value) == truth


def shares(table: Table, gold: dict[str, str]) -> Figures:
    """Each way's share with Wilson's interval, and whether Dawid and Skene do better than the majority (McNemar)."""
    votes, tied, modelled = rights(table, gold)
    truth = np.array([table.values.index(gold[item]) for item in table.items])
    ways = {
        "majority, ties to the first": np.where(tied, truth == 0, votes),
        "majority, ties to the last": np.where(tied, truth == len(table.values) - 1, votes),
        "majority, ties by half": votes,
        "Dawid-Skene": modelled.astype(float),
    }
    found: Figures = {"items": len(votes), "tied": int(tied.sum())}
    for way, right in ways.items():
        low, high = wilson(float(right.sum()), len(right))
        found[way] = {"value": float(right.mean()), "low": low, "high": high}
    first = ways["majority, ties to the first"] == 1
    won, lost = int((modelled & ~first).sum()), int((~modelled & first).sum())
    found["Dawid-Skene beside ties to the first"] = {"won": won, "lost": lost, "p": mcnemar(won, lost)}
    return found


def finding(judgements: Sequence[Judgement], gold: dict[str, str], named: set[str]) -> Figures:
    """Precision and recall of `named`; those missed and those named wrongly with their judgements and their share right."""
    by_labeler: dict[str, list[bool]] = {}
    for each in judgements:
        by_labeler.setdefault(each.labeler, []).append(str(int(each.value)) == gold[each.item])
    poor = {name for name, own in by_labeler.items() if np.mean(own) < POOR}
    both = poor & named
    found: Figures = {"poor": len(poor), "named": len(named), "both": len(both)}
    for what, whole in (("precision", named), ("recall", poor)):
        low, high = wilson(len(both), len(whole))
        found[what] = {"value": len(both) / len(whole), "low": low, "high": high}
        found[f"{what}, of judgements"] = sum(len(by_labeler[name]) for name in both) / sum(len(by_labeler[name]) for name in whole)
    for what, names in (("missed", poor - named), ("named wrongly", named - poor)):
        found[what] = {name: [len(by_labeler[name]), float(np.mean(by_labeler[name]))] for name in sorted(names)}
    return found


def curve(judgements: Sequence[Judgement], gold: dict[str, str], labels: int, seeds: Sequence[int]) -> Figures:
    """The shares by so many labels an item, drawn by each seed."""
    by_item: dict[str, list[Judgement]] = {}
    for each in judgements:
        by_item.setdefault(each.item, []).append(each)
    drawn: dict[str, list[float]] = {"majority": [], "Dawid-Skene": []}
    for seed in seeds:
        draw = np.random.default_rng(seed)
        own = [item[at] for item in by_item.values() for at in draw.permutation(len(item))[:labels]]
        votes, _, modelled = rights(table_of(own), gold)
        drawn["majority"].append(float(votes.mean()))
        drawn["Dawid-Skene"].append(float(modelled.mean()))
    return {way: {"mean": float(np.mean(own)), "spread": float(np.std(own)), "draws": own} for way, own in drawn.items()}


if __name__ == "__main__":
    main()
