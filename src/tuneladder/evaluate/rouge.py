"""What the ROUGE metrics share: rouge-score's F-measure of a row, the best over its references (Lin 2004)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def f_measures(kind: str, answers: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """rouge-score's F-measure per row, without stemming. It reads only a-z and 0-9. kind: rouge1 | rouge2 | rougeL | rougeLsum."""
    from rouge_score import rouge_scorer, tokenizers  # imports nltk, so only where a ROUGE is asked for

    tokenizer: Any = tokenizers.DefaultTokenizer(use_stemmer=False)
    scorer: Any = rouge_scorer.RougeScorer([kind], tokenizer=tokenizer)

    def one(answer: str, reference: str) -> float:
        # On texts of one line Lsum is L, and rouge-score's own table of L takes 10 ms a row.
        if kind == "rougeL" or (kind == "rougeLsum" and "\n" not in answer + reference):
            return _f_measure(tokenizer.tokenize(answer), tokenizer.tokenize(reference))
        return float(scorer.score(reference, answer)[kind].fmeasure)

    return [max(one(answer, reference) for reference in row) for answer, row in zip(answers, references, strict=True)]


def _f_measure(said: Sequence[str], true: Sequence[str]) -> float:
    common = longest_common(said, true)
    return 2 * common / (len(said) + len(true)) if common else 0.0


def longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table at a time in the bits of one integer (Hyyrö 2004)."""
    where: dict[str, int] = {}
    for place, word in enumerate(a):
        where[word] = where.get(word, 0) | 1 << place
    every = (1 << len(a)) - 1
    row = every
    for word in b:
        hits = row & where.get(word, 0)
        row = (row + hits | row - hits) & every
    return len(a) - row.bit_count()
