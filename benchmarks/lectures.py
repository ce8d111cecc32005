"""What lectures on adapting language models claim, at the scale of the pocket bases: each claim a few climbs over three seeds.

    TUNELADDER_SHARED=/data/root python benchmarks/lectures.py [CLAIM ...] [--seeds 0,1,2]

    ranks       LoRA of rank 1 to 64 on E2E (arXiv:2106.09685, table 18): where does it flatten?
    methods     full, biases, prompt, prefix, adapters, LoRAs (table 4 there) on a classification (MiniLM) and a summary of what
                doctor and patient said, whose base has no biases; full against LoRA on dialogue summarization is told by the latter
    forgetting  what is lost of a task learned before: tuned whole, by LoRA, on both tasks, with a tenth of the earlier one replayed
    prompts     prompt tuning against full over two sizes of one base (arXiv:2104.08691, figure 1)
    features    MiniLM frozen under a linear head, and tuned whole, on SST-2, CoLA and RTE (arXiv:1810.04805, section 5.3)

All but forgetting, whose climbs stand on one another, climb the recipes in examples/lectures. Every step runs at its own defaults
but for what a rung names, rates and epochs among them. Of each rung: its metrics on test, the lowest dev loss, seconds, bytes in
memory and on disk, and where ranks are compared the weights that learn: the mean over the seeds with its 95 % interval (Student's
t), the least and the most. Beside them stands the base, and whether it read the task's training rows in its pretraining, as the
pocket bases did those of E2E and MTS-Dialog. Raw figures go to benchmarks/results/lectures.json, a claim at a time; what was
climbed stays in runs/lectures, so that a second run makes only what is missing.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from learning import interval
from pairs import write

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results" / "lectures.json"
ROOT = HERE.parents[1]
RUNS = ROOT / "runs" / "lectures"
RECIPES = ROOT / "examples" / "lectures"

Climbed = dict[str, Any]  # of each task or base, and rung by its name, what `figures` says


def climbed(seed: int, **recipes: str) -> Iterator[Climbed]:
    """Climb recipes, and what came of each rung, and of what; by task, and where a recipe has several bases by base. A recipe at a
    time, so that none waits for the others to be written down."""
    from tuneladder import climb, load

    for task, name in recipes.items():
        found: Climbed = {}
        ladder = climb(load(RECIPES / f"{name}.yaml", f"seed={seed}"), out=RUNS / f"{name}-{seed}")
        for each in ladder.results:
            base = each.rung.base
            of = {"base": base, "read_before": read_before(base, name)}
            own = found.setdefault(task if len(ladder.bases) == 1 else base, {})
            own[each.rung.name.removeprefix(f"{base}/")] = {**of, **figures(each)}
        yield found


def read_before(base: str, recipe: str) -> bool:
    """Whether a base that ships with the package read the task's training rows in its pretraining, as its own recipe has it."""
    pretrained = ROOT / "recipes" / f"{base}.yaml"
    rows = yaml.safe_load((RECIPES / f"{recipe}.yaml").read_text("utf-8"))["task"]["data"]["train"]
    return pretrained.exists() and rows in pretrained.read_text("utf-8")


def figures(result: Any) -> dict[str, Any]:
    """Metrics as [value, low, high, count]."""
    if not result.test:
        return {"failure": result.failure}
    looks = [tick.dev for tick in result.curve if tick.dev is not None]
    return {
        "metrics": {name: [own.value, own.low, own.high, own.count] for name, own in result.test.quality.items()},
        "forgetting": result.test.forgetting,
        "dev_loss": min(looks, default=None),
        "disk_bytes": result.alone.disk,
        "seconds": result.alone.seconds,
        "peak_bytes": result.alone.memory,
    }


def ranks(seed: int) -> Iterator[Climbed]:
    from tuneladder.model.inspect import inspect
    from tuneladder.model.memory import lora_parameters

    for found in climbed(seed, e2e="ranks"):
        for name, rung in found["e2e"].items():
            if name.startswith("lora"):
                rung["parameters"] = lora_parameters(inspect(rung["base"]), r=int(name.removeprefix("lora(r=").removesuffix(")")))
        yield found


# ---- forgetting: a seq2seq that can name the cat learns what people thought of a film ----

CATS = (
    "Tom",
    "Minka",
    "Pepper",
    "Oscar",
    "Luna",
    "Felix",
    "Tiger",
    "Molly",
    "Simba",
    "Coco",
    "Smokey",
    "Lily",
    "Max",
    "Bella",
    "Leo",
)
DOGS = ("Rex", "Bruno", "Daisy", "Rocky", "Buddy", "Sadie", "Duke", "Ruby", "Jack", "Rosie")
SCENES = (
    "{cat} the cat slept on the sofa while {dog} the dog barked at the door.",
    "We have a dog, {dog}, and a cat, {cat}. Both of them like the garden.",
    "Our cat {cat} ran up the tree, because the dog {dog} had seen her.",
    "{dog}, the old dog, would not move, and so {cat}, our cat, ate from his bowl.",
    "On Sunday the cat came back. {cat} had been away for a week, and {dog} the dog was glad.",
)
NAMING = "What is the cat called?"
FEELING = "Is this review positive or negative?"


def named(folder: Path) -> dict[str, Any]:
    """Texts of our own with a cat and a dog in them, whose question is what the cat is called; no pair of names is in two parts."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    pairs = [(cat, dog) for cat in CATS for dog in DOGS]
    draw.shuffle(pairs)
    parts = {"train": pairs[:110], "dev": pairs[110:122], "test": pairs[122:]}
    for part, own in parts.items():
        rows = [{"text": scene.format(cat=cat, dog=dog), "name": cat} for cat, dog in own for scene in SCENES]
        draw.shuffle(rows)
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return {
        "data": {part: str(folder / f"{part}.jsonl") for part in parts},
        "input": f"{{{{ text }}}}\n\n{NAMING}",
        "target": "name",
    }


def forgetting(seed: int) -> Iterator[Climbed]:
    from tuneladder.api import evaluate

    cats = named(RUNS / "cats")
    data = {part: f"${{TUNELADDER_SHARED}}/data/classification/sst2/{part}.jsonl" for part in ("train", "dev", "test")}
    films = {
        "data": data,
        "input": f"{{{{ text }}}}\n\n{FEELING}",
        "target": "{{ ['negative', 'positive'][label | int] }}",
        "rows": {"train": 1000, "dev": 200, "test": 500},
    }
    common: dict[str, Any] = {"kind": "generate", "metric": "exact_match", "decoding": {"max_new_tokens": 8}}

    def learned(name: str, task: dict[str, Any], base: str, rung: Any) -> tuple[str, str]:
        """The folder of what a rung made, and how it is named."""
        from tuneladder import climb

        run = RUNS / f"forgetting-{name}-{seed}"
        ladder = climb(
            {"name": name, "task": {**common, **task}, "base": base, "rungs": ["zero_shot", rung], "seed": seed}, out=run
        )
        made = ladder.results[-1]
        if not made.variant or not made.test:
            raise SystemExit(f"{name}: {made.failure}")
        return str(made.variant.weights), f"{run}:{made.rung.name}"

    before, first = learned("cats", cats, "pocket-seq2seq", "full")

    def mixed(weight: float) -> dict[str, Any]:
        return {"data": {"mixture": [{"name": "films", **films}, {"name": "cats", **cats, "weight": weight}]}}

    variants = {
        "before": first,
        "full": learned("full", films, before, "full")[1],
        "lora": learned("lora", films, before, {"lora": {"r": 8}})[1],
        "both": learned("both", mixed(1.0), before, "full")[1],
        "replay": learned("replay", mixed(0.1), before, "full")[1],
    }
    found: Climbed = {}
    for name, variant in variants.items():
        metrics = {}
        for task, given in (("films", films), ("cats", cats)):
            recipe = {"name": task, "task": {**common, **given}, "base": before, "rungs": ["zero_shot"], "seed": seed}
            score = evaluate(variant, recipe).quality["exact_match"]
            metrics[task] = [score.value, score.low, score.high, score.count]
        found[name] = {"base": "pocket-seq2seq", "read_before": False, "metrics": metrics}
    yield {"cats and films": found}


CLAIMS: dict[str, Callable[[int], Iterator[Climbed]]] = {
    "ranks": ranks,
    "methods": partial(climbed, sst2="methods_sst2", clinic="methods_clinic"),
    "forgetting": forgetting,
    "prompts": partial(climbed, sst2="prompts"),
    "features": partial(climbed, sst2="features_sst2", cola="features_cola", rte="features_rte"),
}


def together(seeds: Sequence[Climbed]) -> Climbed:
    """By task and rung: what it was made of, and each figure over the seeds that have it."""
    found: Climbed = {}
    for task, rungs in seeds[0].items():
        for rung in rungs:
            own = [made for seed in seeds if "metrics" in (made := seed.get(task, {}).get(rung, {}))]
            said: dict[str, Any] = {"seeds": len(own)}
            if own:
                said |= {name: own[0][name] for name in ("base", "read_before", "parameters") if name in own[0]}
                said |= {metric: over([each["metrics"][metric][0] for each in own]) for metric in own[0]["metrics"]}
            for name in ("dev_loss", "seconds", "peak_bytes", "disk_bytes"):
                if values := [each[name] for each in own if each.get(name) is not None]:
                    said[name] = over(values)
            found.setdefault(task, {})[rung] = said
    return found


def over(values: Sequence[float]) -> dict[str, float | None]:
    """The mean over seeds with its interval, none of a single one, the least and the most."""
    mean, half = interval(values)
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return {"mean": mean, "low": low, "high": high, "least": min(values), "most": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help=f"{', '.join(CLAIMS)}; all of them if none is named")
    parser.add_argument("--seeds", default="0,1,2")
    options = parser.parse_args()
    if strange := [name for name in options.claims if name not in CLAIMS]:
        parser.error(f"no claim '{strange[0]}'; there are {', '.join(CLAIMS)}")
    for claim in options.claims or CLAIMS:
        for seed in options.seeds.split(","):
            for found in CLAIMS[claim](int(seed)):
                kept: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}  # others write there too
                own = kept.setdefault(claim, {"seeds": {}})
                own["seeds"].setdefault(seed, {}).update(found)
                own["together"] = together(list(own["seeds"].values()))
                write(RESULTS, kept)
        print(claim, json.dumps(own["together"], indent=1), flush=True)


if __name__ == "__main__":
    main()
