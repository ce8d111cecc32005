"""Perplexity of plain text: e to the mean negative log-probability of its tokens, those of all passages alike.

It is per token of the model's own tokenizer: a model whose tokens are longer has a higher one for the same text, so that those of
two tokenizers do not compare, as bits per byte do. An encoder's is of tokens hidden one hand at a time (a pseudo-perplexity,
arXiv:1910.14659), a seq2seq's of spans taken out. An answer is the natural log-probability of the passage and how many tokens that
is of, with a blank between; the reference is the passage.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuneladder.evaluate.intervals import Array

better = "lower"
best = 1.0
kinds = ("text",)
interval = "bootstrap"


def statistics(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> Array:
    """(rows, 2): nats and tokens."""
    read = np.array([[float(part) for part in answer.split()] for answer in answers], dtype=np.float64)
    return read * (-1.0, 1.0)


def combine(sums: Array) -> Array:
    nats, tokens = sums.T
    # a tokenizer may drop all of a text: what has no tokens surprises nobody
    return np.asarray(np.exp(np.divide(nats, tokens, out=np.zeros_like(nats), where=tokens > 0)))
