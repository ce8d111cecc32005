"""Write the sources of the pocket recipes that are made and not found: Wikipedia as people write, the episodes, and for
`pocket-seq2seq.yaml` texts with their gists, and practice in reading.

TUNELADDER_SHARED=/data/root python -m recipes.pocket_text

The episodes draw on the train side of the recipe's own sources alone, so that no held-out passage is learned on the way round.
The sets on which the base is judged (data/classification) are never opened.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tuneladder.store import digest
from tuneladder.task.corpus import Source, gather
from tuneladder.task.read import read_rows
from tuneladder.types import Document

from . import found, written
from .episodes import Drill, compose, rendered
from .found import Passage, Pool
from .gists import gists
from .practice import practice
from .wikipedia import plain

RECIPE = Path(__file__).parents[1] / "pocket-decoder.yaml"
FOLDER = RECIPE.parents[1] / "runs" / "pocket-text"
DATA = "${TUNELADDER_SHARED}/data"
SHARDS = 60  # episodes of one shard share no passage with another's, so that whole shards can be held out
CHARACTERS = 40_000_000
SEED = 0
PROSE = ("books", "more books", "wikipedia", "news", "stories")  # whose passages have a gist
# how often each family comes, of 100
WRITTEN: dict[Callable[[random.Random], Drill], int] = {
    written.topics: 14,
    written.opinions: 9,
    written.grammar: 7,
    written.requests: 5,
    written.kinds: 5,
    written.lookup: 4,
    written.facts: 6,
    written.word_tasks: 5,
    written.details: 3,
}
FOUND: dict[Callable[[random.Random, Pool], Drill | None], int] = {
    found.topics_found: 10,
    found.feelings_found: 7,
    found.acceptable_found: 9,
    found.follows_found: 8,
    found.places_found: 3,
    found.genres: 3,
    found.together: 2,
    found.gaps: 3,
    found.harm: 3,
}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    (text,) = read_rows(f"{DATA}/corpora/wikitext2/train_5k.jsonl")
    write(FOLDER / "wikipedia.jsonl", [{"text": plain(text["text"])}])
    read = documents()
    prose = [each for each in read if each.source in PROSE]
    write(FOLDER / "gists.jsonl", list(gists(prose, seed=SEED)))
    write(FOLDER / "practice.jsonl", list(practice(prose, seed=SEED)))
    pools = pools_of(read)
    write(FOLDER / "episodes.jsonl", list(episodes(pools, characters=CHARACTERS, seed=SEED)))


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{path}: {len(rows):,} rows, {path.stat().st_size:,} bytes")


def documents() -> Sequence[Document]:
    """The train side of the recipe's sources that passages are drawn from."""
    settings = yaml.safe_load(RECIPE.read_text("utf-8"))["task"]["data"]
    sources = [Source(**each) for each in settings if each["name"] in found.GENRES]
    placed = [replace(s, data=s.data if s.data.startswith("$") else str(RECIPE.parent / s.data)) for s in sources]
    return gather(placed, seed=SEED).text.train


def pools_of(documents: Sequence[Document]) -> list[Pool]:
    """The documents' passages, dealt out to the shards by a hash of their text; of the books one passage in six."""
    passages: list[list[Passage]] = [[] for _ in range(SHARDS)]
    places: list[list[tuple[dict[str, str], str]]] = [[] for _ in range(SHARDS)]
    for number, document in enumerate(documents):
        for paragraph in re.split(r"\n\s*\n" if document.source in ("books", "more books", "plays") else r"\n", document.text):
            lot = int(digest(paragraph), 16)
            if document.source in ("books", "more books") and lot // SHARDS % 6:
                continue
            if document.source == "restaurants" and paragraph.startswith("name["):
                continue
            if whole := found.sentences(paragraph.removeprefix("Answer: ")):
                passages[lot % SHARDS].append(Passage(document.source, f"{document.source} {number}", whole))
        if document.source == "restaurants":
            for row in document.text.split("\n\n"):
                facts, _, said = row.partition("\nAnswer: ")
                places[int(digest(facts), 16) % SHARDS].append((dict(re.findall(r"(\w[\w ]*)\[([^]]*)\]", facts)), said))
    harmful, harmless = messages()
    return [Pool(own, places[shard], harmful[shard::SHARDS], harmless[shard::SHARDS]) for shard, own in enumerate(passages)]


def messages() -> tuple[list[str], list[str]]:
    """What people wrote to provoke an assistant, and what they ask of one otherwise; the short ones."""
    rows = read_rows(f"{DATA}/preference/hh_harmless/train.jsonl")
    provoking = [row["chosen"].split("\n\nAssistant:")[0].removeprefix("\n\nHuman: ") for row in rows]
    asking = [
        row["instruction"]
        for name in ("self_instruct_seed_175", "user_oriented_252")
        for row in read_rows(f"{DATA}/instruction/{name}.jsonl")
    ]
    return [text for text in provoking if 10 < len(text) < 200], [text for text in asking if len(text) < 200]


def episodes(pools: Sequence[Pool], *, characters: int, seed: int) -> Iterator[dict[str, Any]]:
    """Rows of about `characters` in all: the text, its family, and the shard that a split must not divide."""
    families = [*WRITTEN, *FOUND]
    weights = [*WRITTEN.values(), *FOUND.values()]
    for shard, pool in enumerate(pools):
        rng = random.Random(f"{seed} shard {shard}")
        room = characters // len(pools)
        while room > 0:
            family: Any = rng.choices(families, weights)[0]
            drill = family(rng) if family in WRITTEN else family(rng, pool)
            if drill is None:
                continue
            turns = compose(drill, rng)
            text = rendered(turns)
            room -= len(text)
            messages = [{"role": turn.role, "content": turn.text} for turn in turns]
            yield {"family": family.__name__, "shard": shard, "text": text, "messages": messages}


if __name__ == "__main__":
    main()
