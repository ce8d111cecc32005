"""GSM8K (arXiv:2110.14168): sums told as stories, after five that are worked out. Asked and read as lm-eval's `gsm8k`, but that all
rows see the same shots, the first of train, where lm-eval draws others for each.

`strict_match` wants the answer after ####, `flexible_match` takes the last number that was written.
"""

from __future__ import annotations

import re

from tuneladder.errors import BadInput
from tuneladder.evaluate.suite import Figure, Said, Source, Suite, asked, text
from tuneladder.task.read import Row
from tuneladder.types import Decoding, Example

_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")


def example(row: Row) -> Example:
    worked = text(row, "answer")
    if "####" not in worked:
        raise BadInput("its gold answer is missing: there is no ####", "an answer ends as `#### 18`")
    return asked(f"Question: {text(row, 'question')}\nAnswer:", (), _plain(worked), worked=worked)


def strict(example: Example, said: Said) -> str:
    found = _STRICT.search(said.text)
    return _plain(found.group(1)) if found else ""


def flexible(example: Example, said: Said) -> str:
    found = _NUMBER.findall(said.text)
    return _plain(found[-1]) if found else ""


def _plain(number: str) -> str:
    """Without what stands before ####, and without what a number is written with."""
    number = re.sub(r"(?s).*#### ", "", number.replace(",", "").replace("$", ""))
    return number.removesuffix(".").strip().lower()


parts = (
    Suite(
        "gsm8k",
        Source("openai/gsm8k", "test", ("main",)),
        example,
        {"strict_match": Figure("accuracy", strict), "flexible_match": Figure("accuracy", flexible)},
        shots=5,
        shown=Source("openai/gsm8k", "train", ("main",)),
        decoding=Decoding(max_new_tokens=256, stop=("Question:", "</s>", "<|im_end|>")),
    ),
)
