"""Families whose texts are made of phrases written for them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from .episodes import Drill
from .words import (
    BLAME,
    CITIES,
    COUNTRIES,
    DAYS,
    FIRST_NAMES,
    INTENTS,
    JOBS,
    KINDS,
    LAST_NAMES,
    NEGATIVE,
    NEIGHBOURS,
    NUMBERS,
    PAIRS,
    POSITIVE,
    PRAISE,
    SYMBOLS,
    THINGS,
    TOPICS,
    WHEN,
)

ACCEPTABLE = (
    ("acceptable", "unacceptable"),
    ("correct", "incorrect"),
    ("grammatical", "ungrammatical"),
    ("good", "bad"),
    ("yes", "no"),
)
ACCEPTABLE_ASKS = (
    "Is the sentence acceptable English?",
    "Is the grammar of this sentence right?",
    "Would a native speaker say this?",
    "Decide whether the sentence is well formed.",
)
FEELINGS = (("positive", "negative"), ("good", "bad"), ("happy", "unhappy"), ("praise", "complaint"), ("yes", "no"))
FEELING_ASKS = (
    "Does the writer like it?",
    "What is the sentiment of the text?",
    "Is this a good opinion or a bad one?",
    "Say what the writer feels.",
)
TOPIC_ASKS = (
    "What is the text about? {labels}.",
    "Choose the topic: {labels}.",
    "Sort the item into one of these sections: {labels}.",
    "Which section of the paper is this from?",
    "Name the subject of the passage.",
)


def fill(text: str, rng: random.Random) -> str:
    """The text with its {slots} drawn; {city2} and {second} differ from {city} and {first}."""
    cities, people = rng.sample(CITIES, 2), rng.sample(FIRST_NAMES, 2)
    slots = {
        "city": cities[0],
        "city2": cities[1],
        "first": people[0],
        "second": people[1],
        "country": rng.choice(COUNTRIES),
        "day": rng.choice(DAYS),
        "number": rng.choice(NUMBERS),
        "thing": rng.choice(THINGS),
        "job": rng.choice(JOBS),
    }
    return articled(re.sub(r"\{(\w+)\}", lambda found: slots[found[1]], text))


def articled(text: str) -> str:
    """The text with `an` where a drawn word asks for it."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def some_topics(rng: random.Random) -> dict[str, str]:
    """Two to six topics that do not overlap, and what each is called this time. The four desks of a newspaper come often."""
    if rng.random() < 0.3:
        chosen = ["world", "sports", "business", rng.choice(("technology", "science"))]
    else:
        chosen = rng.sample(list(TOPICS), rng.choice((2, 2, 3, 4, 5, 6)))
    apart = [topic for at, topic in enumerate(chosen) if not any({topic, other} in NEIGHBOURS for other in chosen[:at])]
    names = {topic: rng.choice(TOPICS[topic]["names"][:2] if rng.random() < 0.8 else TOPICS[topic]["names"]) for topic in apart}
    return names if len(names) > 1 else some_topics(rng)


def report(topic: str, rng: random.Random) -> str:
    """A sentence or two in the manner of a newspaper, perhaps under a headline."""
    words = TOPICS[topic]

    def line() -> str:
        when = f" {rng.choice(WHEN)}" if rng.random() < 0.6 else ""
        return capital(fill(f"{rng.choice(words['who'])} {rng.choice(words['did'])}{when}.", rng))

    form = rng.random()
    if form < 0.5:
        return line()
    if form < 0.7:
        return f"{line()} {line()}"
    head = capital(fill(f"{rng.choice(words['who'])} {rng.choice(words['did'])}", rng)).removeprefix("The ")
    return f"{capital(head)}. {rng.choice(CITIES).upper()} - {line()}" if form < 0.85 else f"{capital(head)}: {line()}"


def topics(rng: random.Random) -> Drill:
    """The topic of a news item: that a label's meaning, and not only its form, says which text it fits."""
    names = some_topics(rng)

    def draw(rng: random.Random) -> tuple[str, str]:
        topic = rng.choice(list(names))
        return report(topic, rng), names[topic]

    return Drill(draw, TOPIC_ASKS, tuple(names.values()))


def opinion(good: bool, rng: random.Random) -> str:
    """What somebody says of a thing: an adjective, perhaps negated, and perhaps a reproach that is outweighed."""
    words, others = (POSITIVE, NEGATIVE) if good else (NEGATIVE, POSITIVE)
    thing, other = rng.sample(THINGS, 2)
    right, second, wrong = rng.choice(words), rng.choice(words), rng.choice(others)
    verdict = rng.choice(PRAISE if good else BLAME)
    form = rng.randrange(9)
    if form == 0:
        said = f"the {thing} is {right} and {second}"
    elif form == 1:
        said = f"a {right} , {second} {thing}"
    elif form == 2:
        said = f"the {thing} was not {wrong} at all, {verdict}"
    elif form == 3:
        said = f"the {other} may be {wrong}, but the {thing} is {right} and {verdict}"
    elif form == 4:
        said = f"what a {right} {thing}! {verdict}."
    elif form == 5:
        said = f"{verdict}"
    elif form == 6:
        said = f"{right} {thing}, {second} {other}"
    elif form == 7:
        said = f"I found the {thing} {right}; {verdict}"
    else:
        said = f"despite a {wrong} {other} it is a {right} {thing} from beginning to end"
    said = articled(said)
    return capital(said) if rng.random() < 0.5 else said


def opinions(rng: random.Random) -> Drill:
    """Whether a reviewer likes the thing: words of judgement, their negation, and `but`."""
    names = rng.choice(FEELINGS)

    def draw(rng: random.Random) -> tuple[str, str]:
        good = rng.random() < 0.5
        return opinion(good, rng), names[not good]

    return Drill(draw, FEELING_ASKS, names, plain=names[0] != "yes")


def grammar(rng: random.Random) -> Drill:
    """A right sentence or one with a mistake of agreement, order or construction, of the kind that linguists star."""
    names = rng.choice(ACCEPTABLE)

    def draw(rng: random.Random) -> tuple[str, str]:
        wrong = rng.random() < 0.5
        return fill(rng.choice(PAIRS)[wrong], rng), names[wrong]

    return Drill(draw, ACCEPTABLE_ASKS, names, plain=names[0] != "yes")


def requests(rng: random.Random) -> Drill:
    """What a customer or a user wants: many labels of several words."""
    names = rng.sample(list(INTENTS), rng.choice((2, 3, 4, 6, 8)))

    def draw(rng: random.Random) -> tuple[str, str]:
        intent = rng.choice(names)
        said = fill(rng.choice(INTENTS[intent]), rng)
        return (capital(said) if rng.random() < 0.6 else said), intent

    asks = ("What does the user want? {labels}.", "Which intent does the message express?", "Name the request.")
    return Drill(draw, asks, tuple(names))


def kinds(rng: random.Random) -> Drill:
    """The kind of a thing, from its word alone: the shortest examples, on which the use of shots is learned first."""
    names = rng.sample(list(KINDS), rng.choice((2, 2, 3, 4)))

    def draw(rng: random.Random) -> tuple[str, str]:
        kind = rng.choice(names)
        return rng.choice(KINDS[kind]), kind

    return Drill(draw, ("What kind of thing is it? {labels}.", "What is this?", "Sort the words: {labels}."), tuple(names))


def lookup(rng: random.Random) -> Drill:
    """Words with labels drawn by lot, that come again: the answer stands in the shots and nowhere else."""
    labels = tuple(rng.sample(SYMBOLS, rng.choice((2, 3, 4))))
    words = rng.sample([word for kind in KINDS.values() for word in kind], rng.choice((3, 4, 5)))
    answers = {word: rng.choice(labels) for word in words}

    def draw(rng: random.Random) -> tuple[str, str]:
        word = rng.choice(words)
        return word, answers[word]

    return Drill(draw, ("Answer as the examples do.", "Which code belongs to the word?", "Recall the pair."), labels, repeats=True)


def facts(rng: random.Random) -> Drill:
    """Whether a claim follows from a report of who, where, when and what: one detail is kept or changed."""
    names = rng.choice(FOLLOWS)
    form = rng.choice(PAIR_FORMS)

    def draw(rng: random.Random) -> tuple[str, str]:
        name = f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"
        job, other_job = rng.sample(JOBS, 2)
        city, other_city = rng.sample(CITIES, 2)
        country, other_country = rng.sample(COUNTRIES, 2)
        year, thing = rng.randint(1950, 2015), rng.choice(THINGS)
        premise = rng.choice(
            (
                f"{name}, a {job} from {city}, moved to {country} in {year} and bought a {thing} there.",
                f"In {year} the {job} {name} left {city} for {country}, where the {thing} was sold.",
                f"{name} was born in {city}. A {job} since {year}, {name.split()[0]} now lives in {country} and owns a {thing}.",
            )
        )
        wrong = rng.random() < 0.5
        claim = rng.choice(
            (
                f"{name} is a {other_job if wrong else job}.",
                f"{name} {rng.choice(('comes from', 'used to live in'))} {other_city if wrong else city}.",
                f"{name} went to {other_country if wrong else country}.",
                f"A {other_job if wrong else job} went to {country}.",
                f"{name} has {'never left' if wrong else 'left'} {city}.",
                f"{name} is {'not ' if wrong else ''}a {job}.",
            )
        )
        return articled(form.format(premise=premise, claim=claim)), names[wrong]

    return Drill(draw, FOLLOWS_ASKS, names, plain=names[0] not in ("yes", "true"))


FOLLOWS = (
    ("entailment", "not entailment"),
    ("entailment", "not_entailment"),
    ("yes", "no"),
    ("true", "false"),
    ("follows", "does not follow"),
    ("supported", "unsupported"),
)
PAIR_FORMS = (
    "{premise}\n{claim}",
    "{premise}\n\n{claim}",
    "Text: {premise}\nClaim: {claim}",
    "Premise: {premise}\nHypothesis: {claim}",
    "premise: {premise} hypothesis: {claim}",
    "{premise}\nQuestion: is it true that {claim}",
    "Sentence 1: {premise}\nSentence 2: {claim}",
)
FOLLOWS_ASKS = (
    "Does the second sentence follow from the first?",
    "Is the claim true, going by the text?",
    "Does the premise entail the hypothesis?",
    "If the first is true, must the second be true as well?",
)


def words_of(sentence: str) -> list[str]:
    return re.findall(r"[A-Za-z']+", sentence)


WORD_TASKS: dict[str, Callable[[Sequence[str]], str]] = {
    "Write the text in capital letters.": lambda words: " ".join(words).upper(),
    "Write the text in small letters.": lambda words: " ".join(words).lower(),
    "Repeat the text.": lambda words: " ".join(words),
    "Write the words in the opposite order.": lambda words: " ".join(reversed(words)),
    "Which word comes first?": lambda words: words[0],
    "Which word comes last?": lambda words: words[-1],
    "What is the longest word?": lambda words: max(words, key=len),
    "What is the shortest word?": lambda words: min(words, key=len),
    "How many words are there?": lambda words: str(len(words)),
    "What is the second word?": lambda words: words[1],
    "With which letter does the text begin?": lambda words: words[0][0],
    "Put the words in order of the alphabet.": lambda words: " ".join(sorted(words, key=str.lower)),
    "Leave out the first word.": lambda words: " ".join(words[1:]),
}


def word_tasks(rng: random.Random) -> Drill:
    """To do with a few words what an instruction or the shots say: copy, choose, count, reorder."""
    said = rng.choice(list(WORD_TASKS))
    vocabulary: Sequence[str] = rng.choice((*KINDS.values(), POSITIVE, NEGATIVE, SYMBOLS[:40]))

    def draw(rng: random.Random) -> tuple[str, str]:
        words = rng.sample(list(dict.fromkeys(vocabulary)), rng.randint(2, 5))
        return " ".join(words), WORD_TASKS[said](words)

    return Drill(draw, (said,))


def details(rng: random.Random) -> Drill:
    """To take the one wanted detail out of a sentence that holds several."""
    wanted = rng.choice(("person", "city", "country", "day", "thing", "job"))
    asks = {
        "person": ("Who is it about?", "Name the person."),
        "city": ("Which city is named?", "Where was it?"),
        "country": ("Which country is named?", "Name the country."),
        "day": ("On which day?", "When was it?"),
        "thing": ("What was bought?", "Name the thing."),
        "job": ("What does the person do for a living?", "Name the job."),
    }

    def draw(rng: random.Random) -> tuple[str, str]:
        slots = {
            "person": f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}",
            "city": rng.choice(CITIES),
            "country": rng.choice(COUNTRIES),
            "day": rng.choice(DAYS),
            "thing": rng.choice(THINGS),
            "job": rng.choice(JOBS),
        }
        sentence = rng.choice(
            (
                "On {day} the {job} {person} from {country} bought a {thing} in {city}.",
                "{person}, a {job}, came from {city} to {country} on {day} to buy a {thing}.",
                "A {thing} was sold in {city} on {day}; the buyer was {person}, a {job} who lives in {country}.",
            )
        )
        return articled(sentence.format(**slots)), slots[wanted]

    return Drill(draw, asks[wanted])
