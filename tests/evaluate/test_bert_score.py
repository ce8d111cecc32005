"""BERTScore by the formulas of its paper written out (arXiv:1904.09675, section 3), by its figure 1, and by what is said of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from tuneladder.errors import BadInput
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.gold import check_gold
from tuneladder.evaluate.metrics.bert_score import greedy
from tuneladder.ladder.words import metric_name
from tuneladder.types import Base, Example, Split, Task, Turn

ANSWERS = ["The parcel is late", "No heron waits by the river today", "I was charged", "", "Where did my parcel go?"]
REFERENCES = [
    ["My parcel came broken", "The parcel came late, and it is broken"],
    ["A heron stands in the river"],
    ["I was charged twice for the same order"],
    ["The vote is in May"],
    ["Where did my parcel go?"],
]


def called(encoder: Base, **settings: Any) -> str:
    given = "".join(f", {key}: {str(value).lower()}" for key, value in settings.items())
    return f"bert_score {{encoder: {encoder.location}{given}}}"


def written_out(encoder: Base, layer: int, idf: bool) -> float:
    """Each text read by itself, and each pair of tokens compared by itself."""
    tokenizer: Any = AutoTokenizer.from_pretrained(encoder.location)
    model: Any = AutoModel.from_pretrained(encoder.location).eval()
    marks = set(tokenizer("")["input_ids"])
    texts = [tokenizer(text)["input_ids"] for row in REFERENCES for text in row]

    def weight(token: int) -> float:
        if token in marks:
            return 0.0
        return math.log((len(texts) + 1) / (sum(token in own for own in texts) + 1)) if idf else 1.0

    def vectors(ids: list[int]) -> Any:
        with torch.no_grad():
            found = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0].double()
        return [vector / vector.norm() for vector in found]

    def one(said: str, true: str) -> float:
        a, b = tokenizer(said)["input_ids"], tokenizer(true)["input_ids"]
        if not set(a) - marks:
            return 0.0
        of_a, of_b = vectors(a), vectors(b)
        precision = sum(weight(t) * max(float(v @ w) for w in of_b) for t, v in zip(a, of_a, strict=True)) / sum(map(weight, a))
        recall = sum(weight(t) * max(float(v @ w) for w in of_a) for t, v in zip(b, of_b, strict=True)) / sum(map(weight, b))
        return 2 * precision * recall / (precision + recall)

    return float(np.mean([max(one(said, true) for true in row) for said, row in zip(ANSWERS, REFERENCES, strict=True)]))


@pytest.mark.parametrize(("layer", "idf"), [(1, False), (2, False), (2, True)])
def test_it_is_the_papers_formulas(tiny_encoder: Base, layer: int, idf: bool) -> None:
    found = find_metric(called(tiny_encoder, layer=layer, idf=idf)).score(ANSWERS, REFERENCES)
    assert found == pytest.approx(written_out(tiny_encoder, layer, idf), abs=1e-5)


def test_the_papers_worked_example() -> None:
    # figure 1: "the weather is cold today" is the reference, "it is freezing today" the candidate, and recall is weighed
    cosines = np.array(
        [
            [0.713, 0.462, 0.635, 0.479, 0.347],
            [0.597, 0.393, 0.858, 0.454, 0.361],
            [0.428, 0.515, 0.441, 0.796, 0.307],
            [0.408, 0.326, 0.441, 0.343, 0.913],
        ]
    )
    rarity = np.array([1.27, 7.94, 1.82, 7.90, 8.88])
    recall = (0.713 * 1.27 + 0.515 * 7.94 + 0.858 * 1.82 + 0.796 * 7.90 + 0.913 * 8.88) / (1.27 + 7.94 + 1.82 + 7.90 + 8.88)
    assert greedy(cosines, np.ones(4), rarity)[1] == pytest.approx(recall) == pytest.approx(0.753, abs=5e-4)
    precision, recall, f1 = greedy(cosines, np.ones(4), np.ones(5))
    assert precision == pytest.approx((0.713 + 0.858 + 0.796 + 0.913) / 4)
    assert recall == pytest.approx((0.713 + 0.515 + 0.858 + 0.796 + 0.913) / 5)
    assert f1 == pytest.approx(2 * 0.82 * 0.759 / (0.82 + 0.759))
    assert greedy(cosines, np.zeros(4), np.ones(5)) == (0, 0, 0)


def test_each_setting_is_heard_and_stands_in_the_name(tiny_encoder: Base) -> None:
    plain = find_metric("bert_score")
    assert plain.name == "bert_score {encoder: pocket-encoder, layer: 3}"
    assert find_metric(plain.name).name == plain.name
    assert metric_name(plain.name) == "BERTScore (encoder: pocket-encoder, layer: 3)"
    own = find_metric(called(tiny_encoder))
    assert own.name == f"bert_score {{encoder: {Path(tiny_encoder.location).resolve()}, layer: 2}}"
    assert own.content == tiny_encoder.content != plain.content
    rare = find_metric(called(tiny_encoder, idf=True))
    assert rare.name.endswith("layer: 2, idf: true}")
    low = find_metric("bert_score {layer: 1}")
    scores = [metric.score(ANSWERS, REFERENCES) for metric in (plain, low, own, rare)]
    assert len({round(score, 4) for score in scores}) == 4


def test_what_ships_tells_a_paraphrase_from_another_matter() -> None:
    near, far, same = find_metric("bert_score").items(  # type: ignore[misc]
        ["it is freezing today", "the parcel was sent to a wrong address", " the weather\n\nis  cold today"],
        [["the weather is cold today"]] * 3,
        (),
    )
    assert far < near - 0.2
    assert same == 1


def test_the_references_are_perfect_even_of_one_row(tiny_encoder: Base) -> None:
    rows = (Example("0", (Turn("user", "?"),), ("the river",)),)
    check_gold(called(tiny_encoder, idf=True), Task("one", "generate", Split(dev=rows)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("{encoder: pocket-decoder}", "pocket-decoder is a decoder"),
        ("{layer: 5}", "layer is 5, and pocket-encoder has 4"),
        ("{layer: -1}", "layer is -1"),
        ("{encoder: pocket-encodr}", "did you mean 'pocket-encoder'"),
        ("{depth: 1}", "no setting of bert_score 'depth'"),
    ],
)
def test_what_cannot_be_meant(settings: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        find_metric(f"bert_score {settings}")
    assert said in refused.value.message
    assert refused.value.hint
