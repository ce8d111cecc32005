"""Families whose texts are sentences of the corpora: a `Pool` of passages, and what can be asked of them without an annotator."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from .episodes import Drill
from .words import FUNCTION_WORDS, GLAD, GRIM, INTENTS, MARKS, TURNS_ROUND
from .written import (
    ACCEPTABLE,
    ACCEPTABLE_ASKS,
    FEELING_ASKS,
    FEELINGS,
    FOLLOWS,
    FOLLOWS_ASKS,
    PAIR_FORMS,
    TOPIC_ASKS,
    capital,
    fill,
    opinion,
    some_topics,
    words_of,
)

GENRES = {
    "books": ("novel", "old book"),
    "more books": ("novel", "old book"),
    "wikipedia": ("encyclopedia", "article"),
    "news": ("news", "newspaper"),
    "stories": ("children's story", "tale"),
    "plays": ("play", "theatre"),
    "sums": ("arithmetic", "problem"),
    "clinic": ("medical conversation", "clinic"),
    "restaurants": ("restaurant guide", "guide"),
}
ONE_SUBJECT = ("sums", "clinic", "restaurants")  # told by their form, and not always written with care
HARM = (("safe", "unsafe"), ("harmless", "harmful"), ("polite", "offensive"), ("acceptable", "abusive"), ("fine", "hateful"))
_SENTENCE = re.compile(r"(?<=[.!?\"”])(?<!Mr\.)(?<!Mrs\.)(?<!Dr\.)(?<!St\.)\s+(?=[\"“‘]?[A-Z])")
_WHOLE = re.compile(r"[\"“]?[A-Z].*[.!?][\"”]?$")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{2,}\b")


@dataclass(frozen=True)
class Passage:
    """Neighbouring sentences of one document of a corpus."""

    corpus: str
    document: str
    sentences: tuple[str, ...]


@dataclass
class Pool:
    """The passages that one shard of episodes draws on, sorted by what can be asked of their sentences.

    `places` are restaurants as (attributes, sentence); `harmful` are requests that people wrote to provoke.
    """

    passages: Sequence[Passage]
    places: Sequence[tuple[Mapping[str, str], str]] = ()
    harmful: Sequence[str] = ()
    harmless: Sequence[str] = ()
    by_corpus: dict[str, list[Passage]] = field(default_factory=lambda: defaultdict(list))
    by_topic: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    by_feeling: dict[bool, list[str]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for passage in self.passages:
            self.by_corpus[passage.corpus].append(passage)
            for sentence in passage.sentences:
                words = [word.lower() for word in words_of(sentence)]
                if passage.corpus not in ONE_SUBJECT and (topic := topic_of(words)):
                    self.by_topic[topic].append(sentence)
                if (good := feeling_of(words)) is not None:
                    self.by_feeling[good].append(sentence)

    def sentence(self, rng: random.Random, *, longest: int = 200) -> str:
        """A sentence of a corpus drawn evenly, so that the modern ones, which are small, are not lost among books."""
        corpora = [corpus for corpus in self.by_corpus if corpus not in ONE_SUBJECT]
        while True:
            passage = rng.choice(self.by_corpus[rng.choice(corpora)])
            if len(said := rng.choice(passage.sentences)) <= longest:
                return said


def sentences(paragraph: str) -> tuple[str, ...]:
    """The paragraph's whole sentences of a handy length, their line breaks taken out."""
    flat = re.sub(r"\s+", " ", paragraph).strip()
    found = [said.replace('"', "") if said.count('"') % 2 else said for said in _SENTENCE.split(flat)]
    return tuple(
        s for s in found if 20 <= len(s) <= 220 and s[-1] in '.!?"”' and s.lstrip('"“')[:1].isupper() and len(s.split()) > 3
    )


def topic_of(words: Sequence[str]) -> str | None:
    """The one topic that at least two different words mark, where no other topic has more than half as many."""
    seen = set(words)
    counts = sorted(((len(seen & marks), topic) for topic, marks in MARKS.items()), reverse=True)
    (most, topic), (next_most, _) = counts[:2]
    return topic if most >= 2 and next_most * 2 <= most else None


def feeling_of(words: Sequence[str]) -> bool | None:
    """Whether a sentence is glad, where its words say so at least twice and nothing turns them round."""
    if TURNS_ROUND & set(words):
        return None
    glad, grim = sum(word in GLAD for word in words), sum(word in GRIM for word in words)
    if glad >= 2 and not grim:
        return True
    return False if grim >= 2 and not glad else None


def _both_ways(*pairs: str) -> dict[str, str]:
    """Each word of a pair with the other."""
    return {one: other for pair in pairs for one, other in (pair.split(), pair.split()[::-1])}


def topics_found(rng: random.Random, pool: Pool) -> Drill | None:
    """The topic of running text, as its marking words tell it."""
    names = {topic: name for topic, name in some_topics(rng).items() if len(pool.by_topic[topic]) >= 3}
    if len(names) < 2:
        return None

    def draw(rng: random.Random) -> tuple[str, str]:
        topic = rng.choice(list(names))
        return rng.choice(pool.by_topic[topic]), names[topic]

    return Drill(draw, TOPIC_ASKS, tuple(names.values()))


def feelings_found(rng: random.Random, pool: Pool) -> Drill | None:
    """Whether running text is glad or grim, as its words tell it; mixed with written opinions in half of the episodes."""
    if min(len(pool.by_feeling[True]), len(pool.by_feeling[False])) < 3:
        return None
    names = rng.choice((*FEELINGS, ("cheerful", "gloomy")))
    mixed = rng.random() < 0.5

    def draw(rng: random.Random) -> tuple[str, str]:
        good = rng.random() < 0.5
        written = mixed and rng.random() < 0.5
        return (opinion(good, rng) if written else rng.choice(pool.by_feeling[good])), names[not good]

    return Drill(draw, FEELING_ASKS[1:], names, plain=names[0] != "yes")


_AUXILIARY = frozenset(("will", "would", "can", "could", "may", "might", "must", "should", "shall", "did", "to"))
_LOST = dict.fromkeys(FUNCTION_WORDS, "")
_AGREE = _both_ways("was were", "is are", "has have", "do does", "this these")
_CASE = _both_ways("he him", "she her", "they them", "I me", "we us", "who whom")


def _shuffled(words: list[str], rng: random.Random) -> list[str]:
    return rng.sample(words, len(words))


def _swapped(words: list[str], rng: random.Random) -> list[str]:
    at = rng.randrange(len(words) - 1)
    return [*words[:at], words[at + 1], words[at], *words[at + 2 :]]


def _turned(words: list[str], rng: random.Random) -> list[str]:
    return [words[-1], *words[:-1]]


def _doubled(words: list[str], rng: random.Random) -> list[str]:
    at = rng.randrange(len(words))
    return [*words[:at], words[at], *words[at:]]


def _inflected(words: list[str], rng: random.Random) -> list[str]:
    places = [at for at in range(1, len(words)) if words[at - 1] in _AUXILIARY and words[at].isalpha() and words[at].islower()]
    at = rng.choice(places) if places else len(words)
    return [word + rng.choice(("s", "ing")) if here == at else word for here, word in enumerate(words)]


def _replaced(table: Mapping[str, str], words: list[str], rng: random.Random) -> list[str]:
    places = [at for at, word in enumerate(words) if word in table]
    at = rng.choice(places) if places else len(words)
    return [table[word] if here == at else word for here, word in enumerate(words)]


_MISTAKES: tuple[Callable[[list[str], random.Random], list[str]], ...] = (
    *(_shuffled, _swapped, _turned, _doubled, _inflected),
    *(partial(_replaced, table) for table in (_LOST, _AGREE, _CASE)),
)


def spoiled(sentence: str, rng: random.Random) -> str | None:
    """The sentence with one mistake, None where the drawn kind of mistake cannot be made in it."""
    made = " ".join(word for word in rng.choice(_MISTAKES)(sentence.split(" "), rng) if word)
    return made if made != sentence else None


def acceptable_found(rng: random.Random, pool: Pool) -> Drill:
    """Whether a sentence is as somebody wrote it, or spoiled: order, agreement, case, a word lost or doubled."""
    names = rng.choice(ACCEPTABLE)
    longest = rng.choice((70, 110, 160))

    def draw(rng: random.Random) -> tuple[str, str]:
        wrong = rng.random() < 0.5
        while True:
            sentence = pool.sentence(rng, longest=longest)
            said = spoiled(sentence, rng) if wrong else sentence
            if said is not None:
                return said, names[wrong]

    return Drill(draw, ACCEPTABLE_ASKS, names, plain=names[0] != "yes")


def claim_from(sentence: str) -> str | None:
    """What a sentence says before its first subordinate or second clause, where that is worth saying by itself."""
    cut = re.split(r"(?:,|;)? (?:and|but|which|who|when|because|while|although|where|so that)\b|;|,", sentence, maxsplit=1)
    first = cut[0].rstrip(' .!?"”')
    return capital(first) + "." if len(cut) > 1 and len(first.split()) > 4 else None


def denied(claim: str, other: str, rng: random.Random) -> str | None:
    """The claim made false: negated, or with a name of another sentence, or with another number."""
    ways = []
    if (found := re.search(r"\b(was|were|is|are|had|would|could|can|will|did|has|have)\b", claim)) and " not " not in claim:
        ways.append(f"{claim[: found.end()]} not{claim[found.end() :]}")
    mine, theirs = _NAME.findall(claim), [name for name in _NAME.findall(other) if name not in claim]
    if mine and theirs:
        ways.append(claim.replace(rng.choice(mine), rng.choice(theirs)))
    if number := re.search(r"\b\d+\b", claim):
        ways.append(claim.replace(number[0], str(int(number[0]) + rng.randint(2, 30))))
    return rng.choice(ways) if ways else None


def follows_found(rng: random.Random, pool: Pool) -> Drill | None:
    """Whether a claim follows from running text: its main clause does; denied, with another's name, or said elsewhere, not."""
    names = rng.choice(FOLLOWS)
    form = rng.choice(PAIR_FORMS)
    corpora = [corpus for corpus in ("news", "wikipedia", "stories", "books") if pool.by_corpus.get(corpus)]
    if len(corpora) < 2:
        return None

    def draw(rng: random.Random) -> tuple[str, str]:
        wrong = rng.random() < 0.5
        while True:
            passage, other = (rng.choice(pool.by_corpus[rng.choice(corpora)]) for _ in range(2))
            at = rng.randrange(len(passage.sentences))
            premise = " ".join(passage.sentences[at : at + rng.choice((1, 1, 2))])
            elsewhere = rng.choice(other.sentences)
            claim = claim_from(passage.sentences[at])
            if wrong:
                apart = other.document != passage.document
                claim = denied(claim, elsewhere, rng) if claim and rng.random() < 0.6 else claim_from(elsewhere) if apart else None
            if claim and len(premise) < 320:
                return form.format(premise=premise, claim=claim), names[wrong]

    return Drill(draw, FOLLOWS_ASKS, names, plain=names[0] not in ("yes", "true"))


_ATTRIBUTES = {
    "food": ("serves {} food", ("Italian", "French", "English", "Indian", "Chinese", "Japanese", "Fast food")),
    "area": ("is in the {} area", ("riverside", "city centre")),
    "priceRange": ("has a price range that is {}", ("cheap", "moderate", "high", "less than £20", "more than £30", "£20-25")),
    "customer rating": ("has a customer rating of {}", ("low", "average", "high", "1 out of 5", "3 out of 5", "5 out of 5")),
    "eatType": ("is a {}", ("pub", "coffee shop", "restaurant")),
}


def places_found(rng: random.Random, pool: Pool) -> Drill | None:
    """Whether a claim about a restaurant follows from its description, as the attributes it was written from say."""
    known = [(facts, said, key) for facts, said in pool.places for key in _ATTRIBUTES if key in facts]
    if not known:
        return None
    names = rng.choice(FOLLOWS)
    form = rng.choice(PAIR_FORMS)

    def draw(rng: random.Random) -> tuple[str, str]:
        wrong = rng.random() < 0.5
        facts, premise, key = rng.choice(known)
        said, values = _ATTRIBUTES[key]
        value = rng.choice([other for other in values if other != facts[key]]) if wrong else facts[key]
        return form.format(premise=premise, claim=f"{facts['name']} {said.format(value)}."), names[wrong]

    return Drill(draw, FOLLOWS_ASKS, names, plain=names[0] not in ("yes", "true"))


def genres(rng: random.Random, pool: Pool) -> Drill:
    """What kind of writing a passage is from: manner and not subject."""
    corpora = rng.sample([corpus for corpus in pool.by_corpus if corpus != "more books"], rng.choice((2, 3, 4)))
    names = {corpus: rng.choice(GENRES[corpus]) for corpus in corpora}

    def draw(rng: random.Random) -> tuple[str, str]:
        corpus = rng.choice(corpora)
        return rng.choice(rng.choice(pool.by_corpus[corpus]).sentences), names[corpus]

    return Drill(draw, ("Where was this written? {labels}.", "What kind of writing is it?"), tuple(names.values()))


def together(rng: random.Random, pool: Pool) -> Drill | None:
    """Whether two sentences stand beside each other: what a text goes on about."""
    names = rng.choice((("yes", "no"), ("same", "different"), ("related", "unrelated"), ("neighbours", "strangers")))
    if len(pool.by_corpus) < 2:
        return None
    form = rng.choice(("{0}\n{1}", "Sentence 1: {0}\nSentence 2: {1}", "A: {0}\nB: {1}"))

    def draw(rng: random.Random) -> tuple[str, str]:
        apart = rng.random() < 0.5
        while True:
            passage, other = (rng.choice(pool.by_corpus[rng.choice(list(pool.by_corpus))]) for _ in range(2))
            if len(passage.sentences) > 1 and (not apart or other.document != passage.document):
                at = rng.randrange(len(passage.sentences) - 1)
                second = rng.choice(other.sentences) if apart else passage.sentences[at + 1]
                return form.format(passage.sentences[at], second), names[apart]

    asks = ("Do the two sentences belong together?", "Are these from the same text?", "Does the second go on from the first?")
    return Drill(draw, asks, names, plain=False)


def gaps(rng: random.Random, pool: Pool) -> Drill:
    """Which word is missing: the sentence that a base predicts anyway, asked with two to four words to choose from."""
    count = rng.choice((2, 3, 4))

    def draw(rng: random.Random) -> tuple[str, str]:
        while True:
            sentence = pool.sentence(rng, longest=120)
            words = [word for word in words_of(sentence) if len(word) > 3 and word.islower()]
            others = [word for word in words_of(pool.sentence(rng)) if len(word) > 3 and word.islower()]
            if len(words) > 1 and len(set(others) - set(words)) >= count - 1:
                word = rng.choice(words)
                options = [word, *rng.sample(sorted(set(others) - set(words)), count - 1)]
                shown = ", ".join(rng.sample(options, count))
                gapped = re.sub(rf"\b{word}\b", "___", sentence, count=1)
                return f"{gapped}\nOptions: {shown}", word

    return Drill(draw, ("Which word is missing?", "Fill the gap.", "Choose the word that fits."))


def harm(rng: random.Random, pool: Pool) -> Drill | None:
    """Whether a message was written to harm or provoke; harmless: requests, questions, complaints that are only cross."""
    if len(pool.harmful) < 4:
        return None
    names = rng.choice(HARM)

    def draw(rng: random.Random) -> tuple[str, str]:
        if rng.random() < 0.5:
            return rng.choice(pool.harmful), names[1]
        kind = rng.random()
        if kind < 0.3:
            return capital(fill(rng.choice(rng.choice(list(INTENTS.values()))), rng)), names[0]
        if kind < 0.5:
            return opinion(rng.random() < 0.5, rng), names[0]
        return rng.choice(pool.harmless) if kind < 0.75 else pool.sentence(rng, longest=120), names[0]

    return Drill(draw, ("Is the message safe or harmful?", "Should a moderator take this down?", "Judge the message."), names)
