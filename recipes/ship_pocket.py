"""Put the pocket decoder that a climb of `pocket-decoder.yaml` made into the package, with a card written from its figures.

python recipes/ship_pocket.py runs/pocket-decoder
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
ASSETS = Path(__file__).parents[1] / "src" / "tuneladder" / "assets" / "pocket-decoder"
SOURCES = {
    "books": "113 books in the public domain in the US (a collection of classic books)",
    "more books": "157 further books of the same collection, by authors who died in 1955 or before",
    "wikipedia": "WikiText-2's training text, its punctuation put back, CC BY-SA (Wikipedia's authors)",
    "news": "OneStopEnglish, news articles at three reading levels, CC BY-SA 4.0",
    "stories": "children's stories of the African Storybook and Pratham Books, CC BY, each story's licence as given there",
    "plays": "Shakespeare's plays, public domain",
    "instructions": "Self-Instruct's 175 seed tasks, written by people, Apache-2.0",
    "applications": "Self-Instruct's 252 user-oriented tasks, Apache-2.0",
    "skills": "Instruction Induction without its sentiment task, in episodes of eight, Apache-2.0",
    "levels": "OneStopEnglish again, in episodes of four: how hard is the text to read",
    "restaurants": "E2E NLG's training rows, in episodes of four, CC BY-SA 4.0",
    "clinic": "MTS-Dialog's training rows, CC BY 4.0",
    "sums": "GSM8K's training rows, in episodes of three, MIT",
    "episodes": "small tasks with shots (recipes/pocket_text), of phrases written for them and sentences of the other sources",
    "messages": "episodes of messages to be told safe from harmful: HH-RLHF's harmless base, MIT, and requests of the above",
}


def main(run: Path) -> None:
    found = json.loads((run / "results.json").read_text("utf-8"))
    rung = next(rung for rung in found["rungs"] if rung["steps"][-1]["step"] == "pretrain")
    node = run.parent / ".store" / rung["node"]
    ASSETS.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(node / name, ASSETS / name)
    ticks = [json.loads(line) for line in (node / "log.jsonl").read_text("utf-8").splitlines()]
    (ASSETS / "README.md").write_text(card(found, rung, ticks), encoding="utf-8")
    size = sum(path.stat().st_size for path in ASSETS.iterdir())
    print(f"{ASSETS}: {size / 1e6:.1f} MB")


def card(found: dict[str, Any], rung: dict[str, Any], ticks: list[dict[str, Any]]) -> str:
    """The card: what the base is, what it read, how long it took, and its bits per byte beside what needs no network."""
    base, last = found["bases"][0], ticks[-1]
    root = found["rungs"][0]["test"]
    baselines = {each["name"]: each["quality"] for each in found["baselines"]}
    best = min((tick for tick in ticks if tick["dev"] is not None), key=lambda tick: tick["dev"])
    lines = [
        "---",
        "license: cc-by-sa-4.0",
        "language: en",
        "pipeline_tag: text-generation",
        "---",
        "",
        "# pocket-decoder",
        "",
        f"A Llama-shaped decoder of {base['parameters']:,} parameters ({base['layers']} layers of {base['width']}, vocabulary "
        f"{base['vocabulary']:,}, context {base['context']}), pretrained from random weights by Tuneladder's "
        f"own `pretrain` step with "
        "`tuneladder climb recipes/pocket-decoder.yaml`. It is the default base: small enough that a laptop "
        "climbs a whole ladder in "
        "minutes, and no more than that. Its tokenizer is a byte-level BPE trained on the same text.",
        "",
        f"- tokens seen: {last['tokens']:,} in {last['step']:,} steps; the weights are those of step "
        f"{best['step']:,}, the best on held-out text",
        f"- seconds of training: {last['seconds']:,.0f} on two shared CPU cores, in bfloat16 mixed precision",
        "- weights: bfloat16",
        "",
        "## Held-out bits per byte",
        "",
        "On passages that training never read, 95 % intervals by bootstrap over passages; xz (preset 9e) "
        "packs the same bytes, and an "
        "order-5 byte n-gram learned from at most 32 MB of the same training text. The held-out episodes share no sentence of "
        "running text with those that were read, but they share their phrases: their figure says little.",
        "",
        "| source | pocket-decoder | random weights | xz | order-5 n-gram | what it is |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in sorted(rung["test"], key=lambda name: (name != "bits_per_byte", name)):
        source = name.partition("[")[2].rstrip("]") or "all"
        score = rung["test"][name]
        others = [f"{each[name]['value']:.2f}" for each in (root, baselines["xz"], baselines["ngram"])]
        lines.append(
            f"| {source} | {score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f}) | "
            f"{' | '.join(others)} | {SOURCES.get(source, 'every passage')} |"
        )
    lines += [
        "",
        "## What it is not",
        "",
        "It writes grammatical English and knows little. It is a base to climb from and to compare against, not an assistant: its "
        "prompts seldom beat the majority class, and on news topics TF-IDF with logistic regression is the better classifier. The "
        "books are old, and so are their views. Some 1,500 messages that people wrote to provoke an assistant (HH-RLHF, harmless "
        "base, train split, MIT) stand in episodes as what is to be told from harmless ones, so that it can write such. No "
        "AG News, GLUE, banking77 or toxicity rows, and no test split, was read.",
        "",
        "Licence: CC BY-SA 4.0, the strictest of its sources' terms.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
