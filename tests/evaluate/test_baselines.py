from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier

from tuneladder.evaluate.baselines import baselines
from tuneladder.types import Example, Split, Task, Turn


def rows(*pairs: tuple[str, str]) -> tuple[Example, ...]:
    return tuple(Example(f"r{k}", (Turn("user", text),), (answer,)) for k, (text, answer) in enumerate(pairs))


TRAIN = rows(*[("the team won the match", "sport")] * 6, *[("the bank raised its rate", "money")] * 4)
TEST = rows(("the match was won", "sport"), ("a bank and its rate", "money"))
TASK = Task("news", "classify", Split(TRAIN, (), TEST), labels=("sport", "money"), metric="macro_f1")


def test_majority_and_tfidf_stand_for_classification_only() -> None:
    found = baselines(TASK, "test", seed=0)
    assert [m.answer.text for m in found["majority"].answers] == ["sport", "sport"]
    assert found["majority"].quality["accuracy"].value == 0.5
    assert found["tfidf"].quality["macro_f1"].value == 1
    assert found["tfidf"].answers[0].answer.confidence > 0.5
    assert found["tfidf"].spent.seconds > found["tfidf"].per_answer.seconds > 0
    assert baselines(TASK, "dev", seed=0) == {}
    assert baselines(replace(TASK, kind="extract"), "test", seed=0) == {}


def test_several_labels_have_the_most_frequent_set_and_one_against_the_rest() -> None:
    train = rows(
        *[("the team won the match", "always, sport")] * 5,
        *[("the bank raised its rate", "always, money")] * 6,
        *[("a match of bank teams", "always, money, sport")] * 2,
        *[("the sky is blue", "always")] * 3,
    )
    test = rows(
        ("the team won the match", "always, sport"), ("a match of bank teams", "always, money, sport"), ("blue sky", "always")
    )
    labels = ("always", "money", "never", "sport")
    task = Task("news", "classify", Split(train, (), test), labels=labels, metric="micro_f1", multi_label=True)
    found = baselines(task, "test", seed=0)
    assert list(found) == ["frequent_set", "tfidf"]
    assert {marked.answer.text for marked in found["frequent_set"].answers} == {"always, money"}
    assert [marked.answer.text for marked in found["tfidf"].answers] == [row.references[0] for row in test]
    assert found["tfidf"].quality["accuracy"].value == found["tfidf"].quality["macro_f1"].value == 1
    texts, has = (
        [row.turns[0].text for row in train],
        [[label in row.references[0] for label in ("money", "sport")] for row in train],
    )
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
    model = OneVsRestClassifier(LogisticRegression(C=10, max_iter=1000)).fit(words.fit_transform(texts), np.array(has))
    asked = ["a bank match", "the rate", "sky team"]
    task = replace(task, examples=Split(train, (), rows(*((text, "always") for text in asked))))
    ours = [marked.answer.text.split(", ") for marked in baselines(task, "test", seed=0)["tfidf"].answers]
    assert [["money" in own, "sport" in own] for own in ours] == model.predict(words.transform(asked)).tolist()


def test_lead_and_copy_stand_for_generation() -> None:
    dialogue = "Doctor: How are you? Any pain?\nPatient: My back hurts.  "
    asked = (Example("r0", (Turn("system", "Sum up."), Turn("user", "Hi."), Turn("user", dialogue)), ("How are you?",)),)
    task = Task(
        "clinic",
        "generate",
        Split(
            asked,
            (),
            (
                *asked,
                *rows(
                    ("no full stop", "it"),
                ),
            ),
        ),
        metric="rouge_l",
    )
    found = baselines(task, "test", seed=0)
    assert [marked.answer.text for marked in found["lead"].answers] == ["Doctor: How are you?", "no full stop"]
    assert [marked.answer.text for marked in found["copy"].answers] == [dialogue.strip(), "no full stop"]
    assert found["lead"].quality["rouge_l"].value > found["copy"].quality["rouge_l"].value > 0
    assert baselines(task, "dev", seed=0) == {}


def test_the_most_frequent_tag_of_each_word() -> None:
    train = rows(("May came", "B-PER O"), ("in May", "O O"), ("May I come", "B-PER O O"), ("Oslo", "B-LOC"))
    test = rows(("May saw Oslo", "B-PER O B-LOC"), ("in Rome", "O B-LOC"))
    task = Task("names", "tag", Split(train, (), test), labels=("O", "B-LOC", "B-PER"), metric="span_f1")
    found = baselines(task, "test", seed=0)
    assert list(found) == ["frequent_tag"]
    measured = found["frequent_tag"]
    assert [marked.answer.text for marked in measured.answers] == ["B-PER O B-LOC", "O O"]
    assert [marked.correct for marked in measured.answers] == [True, False]
    assert measured.quality["tag_accuracy"].value == 0.8
    assert measured.quality["span_f1"].value == pytest.approx(2 * 2 / (3 + 2))


def test_tfidf_is_left_out_where_it_cannot_learn() -> None:
    assert list(baselines(replace(TASK, examples=Split(TRAIN[:3], (), TEST)), "test", seed=0)) == ["majority"]
    silent = rows(("!", "sport"), ("?", "money"))
    assert list(baselines(replace(TASK, examples=Split(silent, (), TEST)), "test", seed=0)) == ["majority"]


def test_tfidf_on_ag_news_is_the_published_figure(shared: Path) -> None:
    """0.863 macro-F1 from 4,000 training rows on 1,000 test rows; the draw of the rows moves it by a point or so."""
    folder = shared / "data" / "classification" / "ag_news"

    def read(name: str, count: int) -> tuple[Example, ...]:
        lines = (folder / name).read_text("utf-8").splitlines()[:count]
        return rows(*((row["text"], row["label"]) for row in map(json.loads, lines)))

    train, test = read("train.jsonl", 4000), read("test.jsonl", 1000)
    labels = tuple(sorted({example.references[0] for example in train}))
    found = baselines(Task("news", "classify", Split(train, (), test), labels=labels, metric="macro_f1"), "test", seed=0)["tfidf"]
    assert found.quality["macro_f1"].value == pytest.approx(0.863, abs=0.025)
    truth = [example.references[0] for example in test]
    assert found.quality["macro_f1"].value == pytest.approx(
        f1_score(truth, [m.answer.text for m in found.answers], average="macro")
    )
