from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tuneladder.errors import BadInput
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.forgetting import forgetting, probe
from tuneladder.evaluate.ngram import ByteModel
from tuneladder.evaluate.text import measure_text, text_baselines
from tuneladder.model.local import LocalEngine
from tuneladder.task.encode import Coder
from tuneladder.types import Decoding, Document, Turns

TALE = [
    f"Once there was a {a} {b} that {c}."
    for a in ("big", "small", "red")
    for b in ("fox", "hen", "owl")
    for c in ("ran", "sang", "slept")
]


class Reading:
    """An engine whose log-probability of a text is that of a byte model."""

    name = "reading"

    def __init__(self, texts: Sequence[str], order: int = 3) -> None:
        self.model = ByteModel.fit(texts, order=order)

    def read(self, texts: Sequence[str]) -> list[float]:
        return [-bits * math.log(2) for bits in self.model.bits(texts)]

    def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
        return [[""] for _ in asks]

    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        return [[0.0 for _ in row] for row in endings]


class Mute:
    name = "mute"
    generate = Reading.generate
    score = Reading.score


@pytest.mark.parametrize("order", [1, 2, 5])
def test_ngram_probabilities_sum_to_one(order: int) -> None:
    model = ByteModel.fit([*TALE, "naïve \x00 text"], order=order)
    draw = np.random.default_rng(0)
    seen = [tuple(text.encode()[k : k + order - 1]) for text in TALE[:5] for k in range(3)]
    for context in [*seen, (256,) * (order - 1), tuple(draw.integers(0, 256, order - 1))]:
        high = 0
        for symbol in context:
            high = high << 9 | int(symbol)
        assert model.probability(np.arange(256) + (high << 9)).sum() == pytest.approx(1)
    assert model.probability(np.arange(256)).min() > 0


def test_ngram_of_order_one_counts_bytes() -> None:
    model = ByteModel.fit(["aab"], order=1)
    # Too few counts to estimate discounts: half a count is taken from each of the two bytes and shared by all 256.
    assert model.probability(np.array([97, 98, 99])) == pytest.approx([1.5 / 3 + 1 / 3 / 256, 0.5 / 3 + 1 / 3 / 256, 1 / 3 / 256])


def test_ngram_reads_each_text_from_its_start_and_learns() -> None:
    model = ByteModel.fit(TALE)
    apart = model.bits(["Once there", "", "was a fox"])
    assert apart == pytest.approx([model.bits(["Once there"])[0], 0, model.bits(["was a fox"])[0]])
    assert apart[0] < model.bits(["ecnO ereht"])[0] / 4
    assert ByteModel.fit([]).bits(["abc"]) == pytest.approx([24])


def test_ngram_takes_no_more_than_the_cap() -> None:
    texts = ["a" * 10, "b" * 10]
    whole, part = ByteModel.fit(texts, order=2), ByteModel.fit(texts, order=2, cap=10, seed=1)
    assert min(whole.bits(texts)) > 0
    assert max(part.bits(texts)) > max(whole.bits(texts))
    assert part.bits(texts) == ByteModel.fit(texts, order=2, cap=10, seed=1).bits(texts)


def test_text_is_measured_by_source_beside_xz_and_ngram() -> None:
    held = [Document(text, "tales") for text in TALE[::3]] + [Document("zyxw 0123 vuts", "codes"), Document("", "codes")]
    measured = measure_text(Reading(TALE), held, seed=0)
    assert list(measured.quality) == ["bits_per_byte", "bits_per_byte[codes]", "bits_per_byte[tales]"]
    tales, codes = measured.quality["bits_per_byte[tales]"], measured.quality["bits_per_byte[codes]"]
    assert tales.low <= tales.value <= tales.high < codes.value
    assert tales.count == 9
    assert tales.interval == "bootstrap"
    size = sum(len(document.text.encode()) for document in held)
    assert -sum(float(m.answer.text) for m in measured.answers) / math.log(2) / size == pytest.approx(
        measured.quality["bits_per_byte"].value
    )
    others = text_baselines([Document(text) for text in TALE], held, seed=0)
    assert list(others["xz"].quality) == list(others["ngram"].quality) == list(measured.quality)
    assert others["ngram"].quality["bits_per_byte[tales]"].value < others["xz"].quality["bits_per_byte[tales]"].value
    with pytest.raises(BadInput, match="no held-out text"):
        measure_text(Reading(TALE), [Document("")], seed=0)


class Words(Reading):
    """One that takes words for its tokens."""

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def test_perplexity_is_per_token_of_whoever_reads() -> None:
    held = [Document(text, "tales") for text in TALE[::3]] + [Document("", "codes"), Document("zyxw 0123 vuts", "codes")]
    plain, measured = measure_text(Reading(TALE), held, seed=0), measure_text(Words(TALE), held, seed=0)
    assert {name: score for name, score in measured.quality.items() if "perplexity" not in name} == plain.quality
    assert [name for name in measured.quality if "perplexity" in name] == ["perplexity", "perplexity[codes]", "perplexity[tales]"]
    logs = [float(marked.answer.text) for marked in measured.answers]
    words = sum(len(document.text.split()) for document in held)
    assert measured.quality["perplexity"].value == pytest.approx(math.exp(-sum(logs) / words))
    assert measured.quality["perplexity[codes]"].value == pytest.approx(math.exp(-logs[-1] / 3))
    tales = measured.quality["perplexity[tales]"]
    assert tales.low < tales.value < tales.high < measured.quality["perplexity"].value
    assert find_metric("perplexity").score(["0.0 0"], [[" "]]) == 1  # a text that the tokenizer drops
    # by hand: four tokens of a quarter each, and two of a half
    perplexity = find_metric("perplexity")
    assert perplexity.score([f"{-4 * math.log(4)} 4"], [["any"]]) == pytest.approx(4)
    assert perplexity.score([f"{-4 * math.log(4)} 4", f"{-2 * math.log(2)} 2"], [["a"], ["b"]]) == pytest.approx(2 ** (10 / 6))


def test_probe_reads_the_shipped_texts_and_forgetting_is_the_relative_rise() -> None:
    from tuneladder.evaluate.forgetting import _rows

    passages = [row["text"] for row in _rows("text.jsonl")]
    items = _rows("task.jsonl")
    assert sum(len(text.encode()) for text in passages) > 40_000
    assert len(items) >= 60
    assert all(item["answer"] in item["options"] and len(set(item["options"])) == len(item["options"]) for item in items)
    knows = [f"{item['text']} {item['answer']}" for item in items]
    wise, dull = probe(Reading([*passages, *knows], order=7), seed=0), probe(Reading(TALE), seed=0)
    assert wise
    assert dull
    assert wise.unrelated.value > 0.75 > 0.5 > dull.unrelated.value
    assert wise.unrelated.interval == "wilson"
    assert wise.bits_per_byte.low < wise.bits_per_byte.value < wise.bits_per_byte.high < dull.bits_per_byte.value
    rise = forgetting(wise, dull)
    assert rise == pytest.approx(dull.bits_per_byte.value / wise.bits_per_byte.value - 1)
    assert rise > 0
    assert forgetting(wise, wise) == 0
    assert set(wise.scores()) == {"bits_per_byte", "unrelated"}


def test_an_engine_that_cannot_read_has_no_probe() -> None:
    assert probe(Mute(), seed=0) is None


def test_a_local_engine_can_be_probed(tiny_folder: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_folder)
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_folder).eval()
    found = probe(LocalEngine(model, Coder(tokenizer, 512), name="tiny"), seed=0)
    assert found is not None
    # A random model knows no more of a token than chance among 320; a token is at least a byte.
    assert 1 < found.bits_per_byte.value < 2 * math.log2(320)
    assert found.unrelated.count == 120
    assert found.unrelated.value < 0.5
