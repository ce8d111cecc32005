"""Corpus BLEU on sacrebleu's scale of 0 to 100, with its default tokenizer (13a) and smoothing (exp)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuneladder.evaluate.intervals import Array

better = "higher"
best = 100.0
kinds = ("generate",)
interval = "bootstrap"


def statistics(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> Array:
    """(rows, 10): matched n-grams of the four orders, n-grams of the four orders, length of the answer and of the reference."""
    from sacrebleu.metrics import BLEU

    bleu = BLEU(effective_order=True)  # only silences a warning: the counts do not depend on it
    rows = [bleu.sentence_score(answer, list(row)) for answer, row in zip(answers, references, strict=True)]
    return np.array([[*row.counts, *row.totals, row.sys_len, row.ref_len] for row in rows], dtype=np.float64)


def combine(sums: Array) -> Array:
    """Papineni et al. 2002, section 2.3; the k-th order without a match counts 2**-k matches (method 3, Chen and Cherry 2014)."""
    matched, total, length, reference = sums[:, :4], sums[:, 4:8], sums[:, 8], sums[:, 9]
    zero = (matched == 0) & (total > 0)
    smoothed = np.where(zero, 0.5 ** np.cumsum(zero, axis=1), matched)
    defined = np.asarray((total > 0).all(1) & (matched > 0).any(1))
    precision = np.divide(smoothed, total, out=np.ones_like(total), where=defined[:, None])
    brevity = np.minimum(0.0, 1 - np.divide(reference, length, out=np.ones_like(length), where=length > 0))
    return np.where(defined, 100 * np.exp(brevity + np.log(precision).mean(1)), 0.0)
