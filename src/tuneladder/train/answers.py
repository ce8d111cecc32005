"""Running text that answers as the tool's own prompts do, and how much its answers count in pretraining.

An episode of worked examples spends one token in thirty on its answers, and most of what pretraining learns of it is how questions
are worded. Counted more, its answers teach what a prompt with shots asks (arXiv:2110.15943 learns nothing else).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tuneladder.errors import Refused
from tuneladder.task.template import ASKS
from tuneladder.train.tokens import end_of


@dataclass(frozen=True)
class Answers:
    """`lead` are the tokens that ask for an answer; `ends` (V,) says of each token of the vocabulary whether it ends one: a new
    line, or the text's end; each token of an answer counts `times`."""

    lead: np.ndarray[Any, Any]
    ends: np.ndarray[Any, Any]
    times: float

    @classmethod
    def of(cls, tokenizer: Any, times: float) -> Answers:
        """Raises Refused where the tokenizer joins what asks with what stands beside it, so that it has no tokens of its own."""
        found = tokenizer.backend_tokenizer.encode(f".{ASKS} yes", add_special_tokens=False)
        inside = [number for number, (first, last) in enumerate(found.offsets) if 1 <= first < last <= 1 + len(ASKS)]
        if "".join(f".{ASKS} yes"[first:last] for first, last in (found.offsets[at] for at in inside)) != ASKS:
            refusal = "answers cannot be counted: this tokenizer joins what asks for one with what stands beside it"
            raise Refused(refusal, "leave `answers` out")
        said = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
        ends = np.array(["\n" in text for text in said])
        ends[end_of(tokenizer)] = True
        return cls(np.array([found.ids[at] for at in inside]), ends, times)

    def __call__(self, ids_BT: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """How much each token but the first of each row counts, float32 (B, T - 1). Of an answer that begins before its row nothing
        is known, and it counts once."""
        count, length = len(self.lead), ids_BT.shape[1]
        weights = np.ones(ids_BT.shape, dtype=np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(ids_BT, count, axis=1) if length >= count else np.empty((0, 0, count))
        for row, ids, window in zip(weights, ids_BT, windows, strict=False):
            closed = np.append(np.flatnonzero(self.ends[ids]), length)
            for begun in np.flatnonzero((window == self.lead).all(axis=1)) + count:
                row[begun : closed[np.searchsorted(closed, begun)]] = self.times
        return weights[:, 1:]
