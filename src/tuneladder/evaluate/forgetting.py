"""What a variant forgot: its own pretraining loss on held-out text, and an unrelated task. Both were written for this project."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.measure import rate
from tuneladder.evaluate.text import Reader
from tuneladder.model.fees import CHARACTERS
from tuneladder.model.inspect import reads_text
from tuneladder.types import Base, Engine, Score


@dataclass(frozen=True)
class Probe:
    """`bits_per_byte` of the held-out text; `unrelated` the accuracy on sentences to be finished, by chance 0.25."""

    bits_per_byte: Score
    unrelated: Score

    def scores(self) -> Mapping[str, Score]:
        """As a Measurement's `probes`."""
        return {"bits_per_byte": self.bits_per_byte, "unrelated": self.unrelated}


def tokens_read(base: Base) -> float:
    """Tokens that a base reads of the probe, about; 0 where it came without the head that reads. What sees both sides of a token
    reads a text some three times, with other tokens hidden each time."""
    reads = base.source != "url" and reads_text(base)
    characters = sum(len(row["text"]) for row in _rows("text.jsonl")) + sum(map(len, _finished(_rows("task.jsonl"))))
    return (1 if base.family == "decoder" else 3) * characters / CHARACTERS if reads else 0.0


def probe(engine: Engine, *, seed: int) -> Probe | None:
    """Read the texts and finish the sentences as plain text: no prompt and no template, for those belong to the task.

    None for an engine that cannot read, such as a remote one.
    """
    if not isinstance(engine, Reader):
        return None
    passages = [row["text"] for row in _rows("text.jsonl")]
    items = _rows("task.jsonl")
    # One call, for an engine sorts and batches what it is given. Options go on from the same text, so whole texts compare.
    read = engine.read([*passages, *_finished(items)])
    logs = iter(read[len(passages) :])
    answers = [max((next(logs), option) for option in item["options"])[1] for item in items]
    answers_of_text = [str(value) for value in read[: len(passages)]]
    bits = rate(find_metric("bits_per_byte"), answers_of_text, [(text,) for text in passages], seed=seed)
    unrelated = rate(find_metric("accuracy"), answers, [(item["answer"],) for item in items], seed=seed)
    return Probe(bits, unrelated)


def forgetting(before: Probe, after: Probe) -> float:
    """The relative rise of the bits per byte: 0.05 is 5 % worse, a negative value better."""
    return after.bits_per_byte.value / before.bits_per_byte.value - 1


def _finished(items: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{item['text']} {option}" for item in items for option in item["options"]]


def _rows(name: str) -> list[dict[str, Any]]:
    lines = (resources.files("tuneladder") / "assets" / "forgetting" / name).read_text("utf-8").split("\n")
    return [json.loads(line) for line in lines if line.strip()]
