"""Write the source that a teacher answers: which of a few words a text lies nearest to, and which words say best what it is about.
The teacher knows what words of today mean, which the open text, being old, does not tell; `lists.py` asks it of words alone.

TUNELADDER_SHARED=/data/root python -m recipes.pocket_text.named
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuneladder.task.read import read_rows

from .__main__ import FOLDER, SEED, documents, pools_of, write
from .episodes import Drill, compose, rendered
from .found import ONE_SUBJECT, Pool
from .lists import embedded, known_words
from .words import FUNCTION_WORDS

LEFT_OUT = (*ONE_SUBJECT, "plays")  # words of today do not name what these say
TEXTS = 1_000  # of a shard
WORDS = 7_000  # the commonest are names that a person would give
LONGEST = 320
CHARACTERS = 16_000_000
LISTS = 0.2  # of the texts are lists of words
KEYWORDS = 0.3  # of the episodes ask for words that are not given
NEAR, LEAD = 2.0, 1.0  # a text belongs to the word that it lies so near to, and nearer than to the others, in standard deviations
FEWEST = 3  # texts of a word, so that an episode does not show one again and again

ASKS = (
    "Which word goes best with the text: {labels}?",
    "What is the text about: {labels}?",
    "Name the topic of the text: {labels}.",
    "Sort the text under one of these words: {labels}.",
    "Topic?",
)
LABEL_ASKS = ("Which of these fits the text: {labels}?", *ASKS[:-1])
KEYWORD_ASKS = ("Which three words say what the text is about?", "Keywords?", "Name three words that go with the text.")


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    words = [word for word in known_words()[:WORDS] if word not in FUNCTION_WORDS and len(word) > 2]
    lists = [row["text"] for row in read_rows(str(FOLDER / "words.jsonl"))]
    pools = pools_of(documents())
    texts = [drawn(pool, lists[shard :: len(pools)], random.Random(f"{SEED} named {shard}")) for shard, pool in enumerate(pools)]
    near = embedded([text for own in texts for text in own]) @ embedded(words).T
    together: list[dict[str, Any]] = []
    alone: list[dict[str, Any]] = []
    for shard, own in enumerate(texts):
        # of each word its own scale is taken away, for some words lie near to every text
        cosines = near[shard * TEXTS : (shard + 1) * TEXTS]
        naming = Naming(own, words, (cosines - cosines.mean(0)) / cosines.std(0))
        rng = random.Random(f"{SEED} named {shard} episodes")
        together += ({"shard": shard, **row} for row in naming.episodes(rng, characters=CHARACTERS // len(pools)))
        alone += ({"shard": shard, **row} for row in naming.lessons(rng))
    write(FOLDER / "named.jsonl", together)
    write(FOLDER / "named_alone.jsonl", alone)


def drawn(pool: Pool, lists: Sequence[str], rng: random.Random) -> list[str]:
    """Runs of one to three sentences, each corpus as often as any other, and among them lists of words."""
    corpora = [corpus for corpus in pool.by_corpus if corpus not in LEFT_OUT]
    found: dict[str, None] = {}
    while len(found) < TEXTS:
        if rng.random() < LISTS:
            found[rng.choice(lists)] = None
            continue
        own = rng.choice(pool.by_corpus[rng.choice(corpora)]).sentences
        start = rng.randrange(len(own))
        said = " ".join(own[start : start + rng.randint(1, 3)])
        if len(said) <= LONGEST:
            found[said] = None
    return list(found)


@dataclass(frozen=True)
class Naming:
    """Texts (N) and words (W), and how near the teacher puts them to each other (N, W), in standard deviations."""

    texts: Sequence[str]
    words: Sequence[str]
    near: np.ndarray[Any, Any]

    def episodes(self, rng: random.Random, *, characters: int) -> Iterator[dict[str, Any]]:
        """Rows of about `characters` in all, with shots, as those of `__main__`."""
        while characters > 0:
            drill = self.keywords() if rng.random() < KEYWORDS else self.topics(rng)
            if drill:
                text = rendered(compose(drill, rng))
                characters -= len(text)
                yield {"family": "named" if drill.labels else "keywords", "text": text}

    def lessons(self, rng: random.Random) -> Iterator[dict[str, Any]]:
        """Rows of what is asked, a text and the answer: each text's keywords, and as often which of some words suits a text."""
        for at, text in enumerate(self.texts):
            yield {"ask": rng.choice(KEYWORD_ASKS), "text": text, "answer": self._nearest(at)}
        left = len(self.texts)
        while left > 0:
            if drill := self.topics(rng):
                for _ in range(len(drill.labels)):
                    text, answer = drill.draw(rng)
                    options = ", ".join(rng.sample(drill.labels, len(drill.labels)))
                    yield {"ask": rng.choice(LABEL_ASKS).format(labels=options), "text": text, "answer": answer}
                    left -= 1

    def topics(self, rng: random.Random) -> Drill | None:
        """The words that suit some texts best, and all texts that plainly belong to one of them; None where that is too few."""
        middles = rng.sample(range(len(self.texts)), rng.randint(2, 6))
        chosen = sorted({int(self.near[middle].argmax()) for middle in middles})
        if len(chosen) < 2:
            return None
        scores = self.near[:, chosen]
        ranked = np.sort(scores, axis=1)
        plain = (ranked[:, -1] >= NEAR) & (ranked[:, -1] - ranked[:, -2] >= LEAD)
        own: dict[str, list[str]] = {self.words[word]: [] for word in chosen}
        for at in np.flatnonzero(plain):
            own[self.words[chosen[int(scores[at].argmax())]]].append(self.texts[at])
        if min(map(len, own.values())) < FEWEST:
            return None

        def draw(rng: random.Random) -> tuple[str, str]:
            label = rng.choice(list(own))
            return rng.choice(own[label]), label

        return Drill(draw, ASKS, tuple(own))

    def keywords(self) -> Drill:
        """Any text with the words nearest to it."""

        def draw(rng: random.Random) -> tuple[str, str]:
            at = rng.randrange(len(self.texts))
            return self.texts[at], self._nearest(at)

        return Drill(draw, KEYWORD_ASKS)

    def _nearest(self, at: int) -> str:
        return ", ".join(self.words[word] for word in np.argsort(-self.near[at])[:3])


if __name__ == "__main__":
    main()
