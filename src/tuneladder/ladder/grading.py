"""What a reward model makes of every rung's answers, beside the untouched base's to the same prompts: one that taught no rung, and
learned from no prompt that a rung or its teacher learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tuneladder.evaluate.intervals import Array, bootstrap, paired_bootstrap
from tuneladder.model.ask import turns_of_all
from tuneladder.types import Engine, Example, Graded, Prompt, Score


def written(engine: Engine, prompt: Prompt, rows: Sequence[Example], *, tokens: int) -> list[str]:
    """A variant's answers to the rows as they are graded: greedy, and no longer than the recipe says."""
    decoding = replace(prompt.decoding, max_new_tokens=tokens, temperature=0.0, samples=1, schema="")
    return [answers[0] for answers in engine.generate(turns_of_all(prompt, rows), decoding)]


def graded(earned: Sequence[float], before: Sequence[float], *, source: str, seed: int) -> Graded:
    """Of what a rung's answers earned and what the untouched base's did."""
    own, root = (np.column_stack([each, np.ones(len(each))]) for each in (earned, before))
    rise, low, high, _ = paired_bootstrap(root, own, _mean, seed=seed)
    risen = Score(rise, low, high, len(own), "paired bootstrap over prompts")
    return Graded(_score(own, seed), _score(root, seed), risen, float(np.std(before)), source)


def _score(own: Array, seed: int) -> Score:
    return Score(float(own[:, 0].mean()), *bootstrap(own, _mean, seed=seed), len(own), "bootstrap over prompts")


def _mean(sums: Array) -> Array:
    return np.asarray(sums[:, 0] / sums[:, 1])
