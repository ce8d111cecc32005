"""The E2E challenge's three other metrics, against nltk, a computation written out, and figures worked by hand."""

from __future__ import annotations

import json
import math
import random
import time
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from nltk.stem.snowball import SnowballStemmer
from nltk.translate.meteor_score import align_words, single_meteor_score
from nltk.translate.nist_score import corpus_nist

from tuneladder.errors import BadInput
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.gold import check_gold
from tuneladder.evaluate.grams import words
from tuneladder.evaluate.intervals import bootstrap
from tuneladder.evaluate.measure import rate
from tuneladder.evaluate.metrics import meteor
from tuneladder.types import Example, Split, Task, Turn

NAMES = ("nist", "meteor", "cider")
CONTENT = ["river", "heron", "mills", "bridges", "stones", "markets", "phones", "parcel", "goal", "vote", "café", "naïve", "stay"]
STEMMED = {"river": "rivers", "mills": "mill", "stones": "stone", "goal": "goals", "vote": "voted", "stay": "staying"}


class NoWordnet:
    """Knows nothing."""

    def synsets(self, word: str) -> list[object]:
        return []


def texts(seed: int, rows: int = 30, references: int = 1) -> tuple[list[str], list[list[str]]]:
    draw = random.Random(seed)
    true = [[" ".join(draw.choices(CONTENT, k=draw.randint(6, 14))) for _ in range(references)] for _ in range(rows)]
    said = []
    for row in true:
        own = [word if draw.random() < 0.75 else draw.choice(CONTENT) for word in row[0].split()]
        said.append(" ".join(own[: draw.randint(5, len(own))]))
    return said, true


def test_words_are_the_treebanks_but_for_punctuation() -> None:
    assert words("It isn't £20-25, it's 1,000.50! (Don’t say) 'the Café'.") == [
        "it", "is", "n't", "£", "20-25", "it", "'s", "1,000.50", "do", "n't", "say", "the", "café",
    ]  # fmt: skip
    assert words("family-friendly - yes; we'll see") == ["family-friendly", "yes", "we", "'ll", "see"]
    assert words("...") == []


@pytest.mark.parametrize("seed", range(4))
def test_nist_of_one_reference_is_nltks(seed: int) -> None:
    said, true = texts(seed)
    want = corpus_nist([[row[0].split()] for row in true], [answer.split() for answer in said])
    assert find_metric("nist").score(said, true) == pytest.approx(want)
    assert find_metric("nist").score([answer.upper() for answer in said], true) == pytest.approx(want)


def written_nist(said: list[str], true: list[list[str]]) -> float:
    """mteval's, from its description: clipped by all references together, lengths by their mean."""

    def runs(text: str, size: int) -> list[tuple[str, ...]]:
        split = text.split()
        return [tuple(split[k : k + size]) for k in range(len(split) - size + 1)]

    every = [reference for row in true for reference in row]
    counts = {size: Counter(gram for text in every for gram in runs(text, size)) for size in range(1, 6)}
    total = sum(len(text.split()) for text in every)
    value = 0.0
    for size in range(1, 6):
        bits = 0.0
        for answer, row in zip(said, true, strict=True):
            for gram, count in Counter(runs(answer, size)).items():
                hits = min(count, max(runs(reference, size).count(gram) for reference in row))
                if hits:
                    before = counts[size - 1][gram[:-1]] if size > 1 else total
                    bits += hits * (math.log(before / counts[size][gram]) / math.log(2))
        value += bits / sum(len(runs(answer, size)) for answer in said)
    ratio = sum(len(answer.split()) for answer in said) / sum(np.mean([len(text.split()) for text in row]) for row in true)
    return value * math.exp(math.log(0.5) * (math.log(min(1.0, ratio)) / math.log(1.5)) ** 2)


@pytest.mark.parametrize("seed", range(3))
def test_nist_of_several_references_is_mtevals_and_not_nltks(seed: int) -> None:
    said, true = texts(seed, references=3)
    found = find_metric("nist").score(said, true)
    assert found == pytest.approx(written_nist(said, true))
    assert found != pytest.approx(corpus_nist([[text.split() for text in row] for row in true], [text.split() for text in said]))


def test_nist_halves_what_has_two_thirds_of_the_length() -> None:
    nist = find_metric("nist")
    # six different words: log2(6) bits each, and a word tells all of the next
    assert nist.score(["a b c d e f"], [["a b c d e f"]]) == pytest.approx(math.log2(6))
    assert nist.score(["a b c d"], [["a b c d e f"]]) == pytest.approx(math.log2(6) / 2)


@pytest.mark.parametrize("seed", range(4))
def test_meteors_matches_are_nltks_and_its_score_too_where_words_are_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(seed)
    monkeypatch.setattr(meteor, "_STEM", 1.0)  # nltk counts a match of stems as one of words
    stemmer, nothing = SnowballStemmer("english"), NoWordnet()
    for _ in range(30):
        # no word twice, for nltk takes the last where there are two; none is a function word, which nltk does not know
        true = draw.sample(CONTENT, draw.randint(4, 10))
        said = [STEMMED.get(word, word) if draw.random() < 0.3 else word for word in true if draw.random() < 0.8]
        draw.shuffle(said) if draw.random() < 0.3 else said.append("hello")
        found = find_metric("meteor").statistics([" ".join(said)], [[" ".join(true)]], ())
        pairs = sorted(align_words(said, true, stemmer=stemmer, wordnet=nothing)[0])
        assert found[0, 4] == len(pairs)
        runs = sum((i - 1, j - 1) not in pairs for i, j in pairs)
        same = runs == 1 and len(pairs) == len(said) == len(true)
        assert found[0, 5] == (0 if same else runs)
        want = single_meteor_score(true, said, stemmer=stemmer, wordnet=nothing, alpha=0.85, beta=0.2, gamma=0.6)
        # nltk takes something off even where the two are the same
        assert find_metric("meteor").combine(found)[0] == pytest.approx(1.0 if same else want)


def test_meteor_by_hand() -> None:
    # the cats sat / the cat sat quietly: "the" is a function word (0.25), "cats" a stem (0.6 of 0.75); one chunk of three words
    matched = 0.25 + 0.6 * 0.75 + 0.75
    p, r = matched / (0.25 + 2 * 0.75), matched / (0.25 + 3 * 0.75)
    want = p * r / (0.85 * p + 0.15 * r) * (1 - 0.6 * (1 / 3) ** 0.2)
    score = find_metric("meteor").score
    assert score(["The cats sat."], [["the cat sat quietly"]]) == pytest.approx(want)
    # the better of two references, and sums over rows before the score
    assert score(["The cats sat."], [["a dog", "the cat sat quietly"]]) == pytest.approx(want)
    both = score(["The cats sat.", "no"], [["the cat sat quietly"], ["yes sir"]])
    r = matched / (0.25 + 3 * 0.75 + 2 * 0.75)
    p = matched / (0.25 + 2 * 0.75 + 0.25)
    assert both == pytest.approx(p * r / (0.85 * p + 0.15 * r) * (1 - 0.6 * (1 / 3) ** 0.2))
    assert score(["family friendly"], [["family-friendly"]]) == 1


def written_cider(said: list[str], true: list[list[str]]) -> list[float]:
    """CIDEr-D with a vector over every gram there is, order by order."""
    found = np.zeros(len(said))
    for size in range(1, 5):

        @cache
        def runs(text: str, size: int = size) -> Counter[str]:
            split = text.split()
            return Counter(" ".join(split[k : k + size]) for k in range(len(split) - size + 1))

        known = sorted({gram for row in true for text in row for gram in runs(text)} | {g for text in said for g in runs(text)})
        rows_with = np.array([sum(any(gram in runs(text) for text in row) for row in true) for gram in known])
        idf = np.log(len(true) / np.maximum(rows_with, 1))
        for number, (answer, row) in enumerate(zip(said, true, strict=True)):
            mine = np.array([runs(answer)[gram] for gram in known]) * idf
            for text in row:
                theirs = np.array([runs(text)[gram] for gram in known]) * idf
                size_of = np.linalg.norm(mine) * np.linalg.norm(theirs)
                apart = len(answer.split()) - len(text.split())
                near = math.exp(-(apart**2) / (2 * 6**2))
                found[number] += 10 / 4 / len(row) * near * (np.minimum(mine, theirs) @ theirs / size_of if size_of else 0)
    return [float(value) for value in found]


@pytest.mark.parametrize("seed", range(3))
def test_cider_is_that_of_its_paper_ten_times(seed: int) -> None:
    said, true = texts(seed, rows=12, references=3)
    cider = find_metric("cider")
    assert cider.items is not None
    assert cider.items(said, true, ()) == pytest.approx(written_cider(said, true))
    assert cider.score(said, true) == pytest.approx(np.mean(written_cider(said, true)))


def test_cider_by_hand() -> None:
    cider = find_metric("cider")
    assert cider.score(["one two three four", "five six seven eight"], [["one two three four"], ["five six seven eight"]]) == 10
    assert cider.score(["one two", "five six"], [["one two"], ["five six"]]) == pytest.approx(5)  # two of four orders
    # "a" stands in both rows and weighs nothing
    assert cider.score(["a", "a"], [["a b"], ["a c"]]) == 0
    # said twice counts once: cosine 1/2 of the words, and none of the pairs
    assert cider.score(["b b", "c"], [["b"], ["c"]]) == pytest.approx((10 / 4 * 0.5 * math.exp(-1 / 72) + 10 / 4) / 2)
    assert cider.score(["any words at all"], [["any words at all"]]) == 0  # of a single row no word is rarer than another


@pytest.mark.parametrize("name", NAMES)
def test_edges(name: str) -> None:
    metric = find_metric(name)
    true = [["the heron stands in the shallow river", "a heron waits"], ["wait"], ["Zürich's café über alles 東京"], ["???"]]
    same = [row[0] for row in true]
    perfect = metric.score(same, true)
    assert 0 < metric.score(["", *same[1:]], true) < perfect <= metric.best
    assert metric.score([""] * 4, true) == 0
    assert metric.score(["nothing of it", "no", "x", "y"], true) == 0
    assert metric.score(["", "", same[2], ""], true) > 0
    for answers in (same, [""] * 4, ["", *same[1:]]):
        score = rate(metric, answers, true, seed=0)
        assert score.count == 4
        assert 0 <= score.low <= score.value <= score.high < math.inf
    one = rate(metric, ["a heron stands here"], [["a heron stands in the river", "a heron waits"]], seed=0)
    assert one.interval == "wilson"
    assert one.low < one.value < one.high or (name, one.value) == ("cider", 0)
    assert one.high - one.low > 0.5 * one.value


@pytest.mark.parametrize("name", NAMES)
def test_the_bootstrap_is_the_slow_one_with_the_weights_of_all_rows(name: str) -> None:
    said, true = texts(7, rows=60, references=2)
    metric = find_metric(name)
    score = rate(metric, said, true, seed=0)
    assert score.interval == "bootstrap"
    assert score.low < score.value < score.high
    statistics = metric.statistics(said, true, ())
    draw = np.random.default_rng(5)
    drawn = [draw.integers(0, 60, 60) for _ in range(400)]
    slow = [float(metric.combine(statistics[rows].sum(0, keepdims=True))[0]) for rows in drawn]
    low, high = np.quantile(slow, [0.025, 0.975])
    assert (score.low, score.high) == pytest.approx((low, high), abs=0.25 * (high - low))
    if name == "meteor":  # nothing in it is of all rows: measuring the drawn rows anew gives the same
        again = [metric.score([said[k] for k in rows], [true[k] for k in rows]) for rows in drawn[:20]]
        assert again == pytest.approx(slow[:20])
    assert bootstrap(statistics, metric.combine, seed=0) == (score.low, score.high)


@pytest.mark.parametrize(("name", "mute"), [("nist", "yes"), ("meteor", "..."), ("cider", "only one row to weigh words by")])
def test_gold_answers_are_let_through_and_what_tells_nothing_is_not(name: str, mute: str) -> None:
    def task(*references: tuple[str, ...]) -> Task:
        rows = tuple(Example(str(k), (Turn("user", str(k)),), row) for k, row in enumerate(references))
        return Task("t", "generate", Split(dev=rows))

    check_gold(name, task(("the heron stands", "a heron"), ("the mill turns",)))
    with pytest.raises(BadInput, match="scores the gold answers of t 0, not "):
        check_gold(name, task((mute,)))


def test_e2e_is_measured_as_published_and_fast_enough(shared: Path) -> None:
    file = shared / "data" / "generation" / "e2e_nlg" / "test.jsonl"
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    rows = [row for row in rows if len(row["refs"]) > 1]
    said, true = [row["refs"][-1] for row in rows], [row["refs"][:-1] for row in rows]
    start = time.process_time()
    found = {name: find_metric(name).score(said, true) for name in NAMES}
    # 4,000 references; 5,000 rows of 5 each have six times as many
    assert time.process_time() - start < 30
    # What people said, against what others said. pycocoevalcap's CIDEr is 1.8118 and METEOR 1.5's score 0.4460.
    assert found["cider"] == pytest.approx(1.8118, abs=0.001)
    assert found["meteor"] == pytest.approx(0.4460, abs=0.01)
    assert found["nist"] == pytest.approx(8.633, abs=0.001)
