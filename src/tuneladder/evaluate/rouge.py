"""What the ROUGE metrics share: rouge-score's F-measure of a row, the best over its references (Lin 2004)."""

from __future__ import annotations

from collections.abc import Sequence


def f_measures(kind: str, answers: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """rouge-score's F-measure per row, without stemming. It reads only a-z and 0-9. kind: rouge1 | rouge2 | rougeL | rougeLsum."""
    from rouge_score import rouge_scorer  # imports nltk, so only where a ROUGE is asked for

    scorer = rouge_scorer.RougeScorer([kind])
    return [float(scorer.score_multi(list(row), answer)[kind].fmeasure) for answer, row in zip(answers, references, strict=True)]
