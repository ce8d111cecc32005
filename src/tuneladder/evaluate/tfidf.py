"""TF-IDF of words and pairs of words, and logistic regression: what text says without a language model."""

from __future__ import annotations

from typing import Any


def words() -> Any:
    """What counts a text's words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=1)


def regression(seed: int) -> Any:
    """What weighs them."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=10, max_iter=1000, random_state=seed)
