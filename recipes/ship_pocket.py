"""Put the pocket base that a climb of `pocket-decoder.yaml`, `pocket-encoder.yaml` or `pocket-seq2seq.yaml` made into the package,
with a card written from its figures. The run's folder has the base's name.

python recipes/ship_pocket.py runs/pocket-decoder [FOLDER]      another folder than the package's own

A run that went on from the base in the package (`tuneladder climb recipes/pocket-encoder.yaml base=pocket-encoder ...`) is its
next edition: the card tells the steps of both.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
BITS = "bits_per_byte"
ASSETS = Path(__file__).parents[1] / "src" / "tuneladder" / "assets"
SOURCES = {
    "books": "113 books in the public domain in the US (a collection of classic books)",
    "more books": "157 further books of the same collection, by authors who died in 1955 or before",
    "wikipedia": "WikiText-2's training text, its punctuation put back, CC BY-SA (Wikipedia's authors)",
    "news": "OneStopEnglish, news articles at three reading levels, CC BY-SA 4.0",
    "stories": "children's stories of the African Storybook and Pratham Books, CC BY, each story's licence as given there",
    "plays": "Shakespeare's plays, public domain",
    "instructions": "Self-Instruct's 175 seed tasks, written by people, Apache-2.0",
    "applications": "Self-Instruct's 252 user-oriented tasks, Apache-2.0",
    "skills": "Instruction Induction without its sentiment task, Apache-2.0",
    "levels": "OneStopEnglish again, in episodes of four: how hard is the text to read",
    "restaurants": "E2E NLG's training rows, CC BY-SA 4.0",
    "clinic": "MTS-Dialog's training rows, CC BY 4.0",
    "sums": "GSM8K's training rows, in episodes of three, MIT",
    "episodes": "small tasks with shots (recipes/pocket_text), of phrases written for them and sentences of the other sources",
    "small texts": "the episodes again, as plain text",
    "named": "sentences of the texts above and lists of words, with the words that the teacher puts nearest to each "
    "(recipes/pocket_text/named.py)",
    "gists": "sentences of the texts above that share most with their neighbours, asked for as summaries (recipes/pocket_text)",
    "copies": "passages of the texts above, to be repeated whole or in part (recipes/pocket_text/practice.py)",
    "mended": "passages of the texts above with words missing or sentences in disorder, to be written as they were",
    "continued": "passages of the texts above, to be gone on with",
    "facts": "E2E NLG's training rows the other way round: from the sentence to its facts",
    "words": "lists of words that the teacher's tokenizer knows whole (recipes/pocket_text/lists.py)",
    "messages": "messages that people wrote to provoke an assistant: HH-RLHF's harmless base, train split, MIT",
}


@dataclass(frozen=True)
class Words:
    """What a card says of a base and the figures cannot. `read` says how the held-out figure is to be read."""

    pipeline: str
    what: str
    read: str
    limits: str


WORDS = {
    "pocket-decoder": Words(
        "text-generation",
        "A Llama-shaped decoder, pretrained from random weights. It is the default base: small enough that a laptop climbs a "
        "whole ladder in minutes, and no more than that.",
        "xz (preset 9e) packs the same bytes, and an order-5 byte n-gram learned from at most 32 MB of the same training text. The "
        "held-out episodes share no sentence of running text with those that were read, but they share their phrases: their "
        "figure says little. The first step read another mixture and held other passages out, and may have read some of these.",
        "It writes grammatical English and knows little. It is a base to climb from and to compare against, not an assistant: its "
        "prompts tell news topics apart and little else, and there too TF-IDF with logistic regression is the better classifier. "
        "Some 1,500 messages that people wrote to provoke an assistant (HH-RLHF, harmless base, train split, MIT) stand in "
        "episodes as what is to be told from harmless ones, so that it can write such.",
    ),
    "pocket-encoder": Words(
        "feature-extraction",
        "A ModernBERT-shaped encoder, pretrained from random weights by masked language modelling; then its mean embedding "
        "learned to lie where that of all-MiniLM-L6-v2 (Apache-2.0) does, on the same text, lists of words that the teacher's "
        "tokenizer knows among it; the teacher's weights are not in it.",
        "They are those of hidden tokens, the rest of the text in sight, and so no equals of xz and of an order-5 byte n-gram, "
        "which see what came before alone: they stand here as the scale of the text. The first two steps held other passages "
        "out, and may have read some of these.",
        "It embeds short English texts and knows little. It is a base to climb from, not a search engine: its teacher is better. "
        "Messages that people wrote to provoke an assistant were read too.",
    ),
    "pocket-seq2seq": Words(
        "text2text-generation",
        "A T5-shaped encoder-decoder (gated GELU, one matrix for all embeddings), pretrained from random weights by span "
        "corruption and beside it on lessons: texts to sum up, facts to put into words, small tasks with and without shots. "
        "After the first step the mean embedding of its encoder learned besides to lie where that of all-MiniLM-L6-v2 (Apache-2.0) "
        "does, on plain text, lists of words that the teacher's tokenizer knows among it, and its decoder to name the words that "
        "the teacher puts nearest to a text; the teacher's weights are not in it.",
        "They are those of spans taken out, the rest of the text in sight, and so no equals of xz and of an order-5 byte n-gram, "
        "which see what came before alone: they stand here as the scale of the text. Held-out lessons share their phrases, though "
        "not their texts, with those that were read. The earlier steps read other mixtures, and may have read some passages that "
        "the last held out.",
        "It writes a sentence or two about a short text it is shown and knows little. It is a base to tune, not an assistant. "
        "Messages that people wrote to provoke an assistant were read too.",
    ),
}


def main(run: Path, assets: Path = ASSETS) -> None:
    name = run.resolve().name
    if name not in WORDS:
        sys.exit(f"{name} is no pocket base: {', '.join(WORDS)}")
    found = json.loads((run / "results.json").read_text("utf-8"))
    rung = found["rungs"][-1]
    node = run.parent / ".store" / rung["node"]
    place = assets / name
    place.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        if (node / file).exists():  # an encoder generates nothing
            shutil.copyfile(node / file, place / file)
    # each step of the rung ends a shorter rung of the recipe, which shares its node
    parts = [next(each for each in found["rungs"] if each["steps"] == rung["steps"][: at + 1]) for at in range(len(rung["steps"]))]
    logs = [_ticks(run.parent / ".store" / each["node"]) for each in parts]
    goes_on = Path(found["bases"][0]["location"]).name == name  # what has random weights lies under its key
    earlier = re.findall(r"^- \w+: [\d,]+ tokens .*$", (ASSETS / name / "README.md").read_text("utf-8"), re.M) if goes_on else []
    (place / "README.md").write_text(card(name, found, rung, logs, earlier), encoding="utf-8")
    size = sum(path.stat().st_size for path in place.iterdir())
    print(f"{place}: {size / 1e6:.1f} MB")


def _ticks(node: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (node / "log.jsonl").read_text("utf-8").splitlines()]


def card(
    name: str, found: dict[str, Any], rung: dict[str, Any], logs: list[list[dict[str, Any]]], earlier: Sequence[str] = ()
) -> str:
    """The card: what the base is, what it read, how long it took, and its bits per byte beside what needs no network. `earlier`
    are the lines of the steps that the edition before went through, where the run went on from it."""
    base, words = found["bases"][0], WORDS[name]
    root = found["rungs"][0]["test"]
    decoder = base["settings"].get("decoder_layers")  # a seq2seq has two stacks, and reads and writes of what it sees
    layers, seen = (f"{base['layers']} and {decoder}", "of sources and targets ") if decoder else (base["layers"], "")
    baselines = {each["name"]: each["quality"] for each in found["baselines"]}
    lines = [
        "---",
        "license: cc-by-sa-4.0",
        "language: en",
        f"pipeline_tag: {words.pipeline}",
        "---",
        "",
        f"# {name}",
        "",
        f"{words.what} {base['parameters']:,} parameters ({layers} layers of {base['width']}, vocabulary "
        f"{base['vocabulary']:,}, context {base['context']}), made by Tuneladder's own steps with `tuneladder climb "
        f"recipes/{name}.yaml`. Its tokenizer is a byte-level BPE trained on the same text.",
        "",
    ]
    own = []
    for step, ticks in zip(rung["steps"], logs, strict=True):
        last, best = ticks[-1], min((tick for tick in ticks if tick["dev"] is not None), key=lambda tick: tick["dev"])
        own.append(
            f"- {step['step']}: {last['tokens']:,} tokens {seen}seen in {last['step']:,} steps, {last['seconds']:,.0f} s on two "
            f"shared CPU cores in bfloat16 mixed precision; the weights are those of step {best['step']:,}, the best on dev"
        )
    lines += [
        *(line for line in earlier if line not in own),  # a card may be written twice
        *own,
        "- weights: bfloat16",
        "",
        "## Held-out bits per byte",
        "",
        f"On passages that training never read, 95 % intervals by bootstrap over passages. {words.read}",
        "",
        f"| source | {name} | {'the edition before' if earlier else 'random weights'} | xz | order-5 n-gram | what it is |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    measured = [metric for metric in rung["test"] if metric.partition("[")[0] == BITS]  # perplexity is by the token
    for metric in sorted(measured, key=lambda metric: (metric != BITS, metric)):
        source = metric.partition("[")[2].rstrip("]") or "all"
        score = rung["test"][metric]
        others = [f"{each[metric]['value']:.2f}" for each in (root, baselines["xz"], baselines["ngram"])]
        lines.append(
            f"| {source} | {score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f}) | "
            f"{' | '.join(others)} | {SOURCES.get(source, 'every passage')} |"
        )
    lines += [
        "",
        "## What it is not",
        "",
        f"{words.limits} The books are old, and so are their views. No AG News, GLUE, banking77 or toxicity rows, and no test "
        "split, was read.",
        "",
        "Licence: CC BY-SA 4.0, the strictest of its sources' terms.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
