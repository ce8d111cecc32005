"""A linear probe: the base stays frozen, and a linear classifier learns from its embeddings (arXiv:1610.01644)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from tuneladder.errors import BadInput, Failed, Refused
from tuneladder.model import memory
from tuneladder.model.ask import turns_of_all
from tuneladder.model.hardware import computed_in, device
from tuneladder.model.probe import Linear, are_pairs, paired, save_probe
from tuneladder.store import digest, resident
from tuneladder.task.multi_label import labels_of
from tuneladder.train.supervised import refuse_asking
from tuneladder.types import Cost, Embedder, Example, Family, Kit, Pace, Task, Variant

STRENGTHS = (0.003, 0.03, 0.3, 3.0, 30.0)
UNSEEN = -30.0  # the bias of a label that no row of train has: a probability of nothing, and a number still


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """`head`: logistic regression, or the nearest centroid of the standardised embeddings. `strength` is the inverse of the
    regularisation, scikit-learn's C; 0 chooses it on dev by log-loss (0.03 where there is no dev). The regression's rows count as
    the task's weights say; a centroid has no loss that they could weigh. Where rows have several labels, each has a regression of
    its own, against the rest. Of rows that all are pairs an encoder embeds both parts, and the head sees how they differ."""

    changes: ClassVar = "adapter"
    needs: ClassVar = "examples"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "encoder", "seq2seq")
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 3

    head: Literal["logistic", "centroid"] = "logistic"
    strength: float = 0.0

    def __post_init__(self) -> None:
        if self.strength < 0 or self.strength != self.strength:
            raise BadInput(f"linear_probe cannot use strength {self.strength}", "above 0, or 0 to choose it on dev")

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        refuse_asking(variant, "linear_probe")
        rows = (*task.examples.train, *task.examples.dev)
        if not task.labels or not task.examples.train:
            raise Refused("linear_probe learns labels, and this task has none", "set `kind: classify` and give rows to learn from")
        if task.kind == "tag":
            raise Refused("linear_probe gives a whole row one label, and this task has one for each word", "take lora or full")
        if task.multi_label and self.head == "centroid":
            raise Refused("the nearest centroid is that of one label, and these rows may have several", "take head: logistic")
        base = variant.base
        tokens = sum(len(turn.text) for turns in turns_of_all(variant.prompt, rows) for turn in turns) / 4  # 4 characters a token
        seconds = 2 * base.active * tokens / pace.flops
        dtype = computed_in(device())
        need = memory.inference(base, rows=64, length=64, dtype=dtype, read_rows=0, device=device())
        disk = 4 * base.width * (len(task.labels) + 2) + 4 * base.width * len(rows)
        made = replace(variant, steps=(*variant.steps, "linear_probe"), probe="foretold")
        return made, Cost(seconds, need.peak, disk, len(rows))

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        pairs = variant.base.family == "encoder" and are_pairs(turns_of_all(variant.prompt, task.examples.train))
        train, dev = (_features(variant, rows, kit, pairs=pairs) for rows in (task.examples.train, task.examples.dev))
        mean, scale = train.mean(0), train.std(0)
        scale = np.where(scale > 1e-6, scale, 1.0).astype(np.float32)
        bare = partial(Linear, task.labels, mean, scale, pairs=pairs, multi_label=task.multi_label)
        best, strength = (self._several if task.multi_label else self._single)(task, (train - mean) / scale, dev, bare)
        save_probe(best, kit.folder, {"head": self.head, "strength": strength, "base": variant.base.name})
        return replace(variant, steps=(*variant.steps, "linear_probe"), probe=str(kit.folder), bytes=resident(kit.folder))

    def _single(
        self, task: Task, standard: np.ndarray[Any, Any], dev: np.ndarray[Any, Any], bare: Callable[..., Linear]
    ) -> tuple[Linear, float | None]:
        """The head of rows with one label each, and the strength that it has; `bare` makes one of a weight and a bias."""
        number = {label: at for at, label in enumerate(task.labels)}
        right, right_dev = (
            np.array([number[row.references[0]] for row in rows], dtype=np.int64)
            for rows in (task.examples.train, task.examples.dev)
        )
        count, count_dev = (_weights(task, rows) for rows in (task.examples.train, task.examples.dev))
        if self.head == "centroid" or len(set(right.tolist())) < 2:
            return bare(*centroids(standard, right, len(task.labels))), None
        tried = [(own, bare(*logistic(standard, right, len(task.labels), own, weights=count))) for own in self._tried(dev)]
        losses = [
            -np.average(head.logs(dev)[np.arange(len(dev)), right_dev], weights=count_dev) if len(dev) else 0.0 for _, head in tried
        ]
        strength, best = tried[int(np.argmin(losses))]
        return best, strength

    def _several(
        self, task: Task, standard: np.ndarray[Any, Any], dev: np.ndarray[Any, Any], bare: Callable[..., Linear]
    ) -> tuple[Linear, float]:
        """As `_single`, of rows that have each label for itself: one strength for all."""
        has, has_dev = (_has(rows, task.labels) for rows in (task.examples.train, task.examples.dev))
        tried = [(own, bare(*one_vs_rest(standard, has, own))) for own in self._tried(dev)]
        # the log-loss of a logit l is log(1 + exp(l)), less l where the row has the label
        losses = [
            float((np.logaddexp(0, logits) - has_dev * logits).mean()) if len(dev) else 0.0
            for logits in (head.logits(dev) for _, head in tried)
        ]
        strength, best = tried[int(np.argmin(losses))]
        return best, strength

    def _tried(self, dev: np.ndarray[Any, Any]) -> Sequence[float]:
        if self.strength:
            return (self.strength,)
        return STRENGTHS if len(dev) else (0.03,)


def logistic(
    standard: np.ndarray[Any, Any],
    right: np.ndarray[Any, Any],
    count: int,
    strength: float,
    *,
    weights: np.ndarray[Any, Any] | None = None,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Weight (count, width) and bias (count,) of multinomial logistic regression on rows (N, width) with label numbers (N,) that
    count as `weights` (N,) say."""
    from sklearn.linear_model import LogisticRegression

    model: Any = LogisticRegression(C=strength, max_iter=2000)
    model.fit(standard, right, sample_weight=weights)
    weight, bias = np.zeros((count, standard.shape[1])), np.full(count, UNSEEN)
    if len(model.classes_) == 2:  # one row says both: the other's logit is 0
        weight[model.classes_[1]], bias[model.classes_] = model.coef_[0], (0.0, model.intercept_[0])
    else:
        weight[model.classes_], bias[model.classes_] = model.coef_, model.intercept_
    return weight, bias


def one_vs_rest(
    standard: np.ndarray[Any, Any], has: np.ndarray[Any, Any], strength: float
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Weight (count, width) and bias (count,) of a logistic regression for each label on rows (N, width), of which `has` (N, count)
    says 1 or 0. A label that no row has is never given, one that all have always."""
    weight, bias = np.zeros((has.shape[1], standard.shape[1])), np.zeros(has.shape[1])
    for label, own in enumerate(has.T):
        if 0 < own.sum() < len(own):
            both, ends = logistic(standard, own, 2, strength)
            weight[label], bias[label] = both[1] - both[0], ends[1] - ends[0]
        else:
            bias[label] = -UNSEEN if own.all() else UNSEEN
    return weight, bias


def centroids(
    standard: np.ndarray[Any, Any], right: np.ndarray[Any, Any], count: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The nearest centroid as a linear head: -|e - m|^2 / 2 is m.e - |m|^2 / 2, less what all labels share. Divided by the width,
    so that the confidence is not always 1."""
    weight, bias = np.zeros((count, standard.shape[1])), np.full(count, UNSEEN)
    for label in set(right.tolist()):
        middle = standard[right == label].mean(0)
        weight[label], bias[label] = middle / len(middle), -float(middle @ middle) / 2 / len(middle)
    return weight, bias


def _has(rows: Sequence[Example], labels: Sequence[str]) -> np.ndarray[Any, Any]:
    """(N, K) of 0 and 1: which of the labels each row has."""
    own = [labels_of(row.references[0], labels) for row in rows]
    return np.array([[label in names for label in labels] for names in own], dtype=np.int64).reshape(len(rows), len(labels))


def _weights(task: Task, rows: Sequence[Example]) -> np.ndarray[Any, Any] | None:
    """How much each row counts by its label, (N,), 1 on average so that `strength` means the same; None where all count alike."""
    if not task.weights or not rows:
        return None
    found = np.array([task.weights.get(row.references[0], 1.0) for row in rows])
    return found / found.mean()  # type: ignore[no-any-return]


def _features(variant: Variant, rows: Sequence[Example], kit: Kit, *, pairs: bool) -> np.ndarray[Any, Any]:
    """Embeddings (N, width) of the rows, four times as wide of pairs, made once for every rung on the same weights and prompt."""
    asks = turns_of_all(variant.prompt, rows)
    if not asks:
        return np.zeros((0, (4 if pairs else 1) * variant.base.width), np.float32)
    places = [Path(place).name for place in (variant.weights, variant.adapter) if place]
    key = f"features-{digest(variant.base.content, places, str(kit.shelf.dtype), kit.device, asks, pairs)}"

    def make(folder: Path) -> Mapping[str, Any]:
        with kit.shelf.engine(variant) as engine:
            assert isinstance(engine, Embedder)
            embedded = paired(engine, asks) if pairs else engine.embed(asks)
        if broken := int((~np.isfinite(embedded)).any(1).sum()):
            said = f"what {variant.base.name} makes of {broken:,} of {len(asks):,} rows is no number (NaN)"
            raise Failed(said, "its weights are broken, or overflow in this precision: take an earlier save, or another base")
        np.save(folder / "features.npy", embedded)
        return {"rows": len(asks)}

    return np.load(kit.store.once(key, make) / "features.npy")  # type: ignore[no-any-return]
