"""Selective tuning: a few of the base's own weights learn, the rest stays: the last layers, biases (arXiv:2106.10199), norms,
embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tuneladder.errors import Refused, unknown
from tuneladder.model.frozen import last_weights, norm_weights
from tuneladder.model.memory import Method, skeleton_of
from tuneladder.train.loop import Course
from tuneladder.train.probing import Rate
from tuneladder.train.supervised import check, learn_weights, plan_weights, refuse_unmerged
from tuneladder.types import Cost, Family, Kit, Pace, Task, Variant

PARTS = ("biases", "norms", "embeddings")


@dataclass(frozen=True, kw_only=True)
class Selective:
    """`top` layers, the last ones, learn with the norm behind them (of a seq2seq the decoder's), and of the whole base but its
    head what `train` names: biases, norms, embeddings; `top` 0 is one layer where `train` names nothing, else none. A
    classification head learns always. `learning_rate` 0 is the step's own: that of `full` for layers and embeddings, ten times
    that for biases and norms alone; probe: what three short runs find. `max_length` 0 is the context.

    Where only top layers learn, what lies below them is computed once and kept (`model/frozen.py`)."""

    changes: ClassVar = "weights"
    needs: ClassVar = "examples"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "encoder", "seq2seq")
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 5

    top: int = 0
    train: str | tuple[str, ...] = ()
    learning_rate: Rate = 0.0
    epochs: float = 4.0
    batch_size: int = 16
    max_length: int = 0
    weight_decay: float = 0.01
    warmup: float = 0.06

    def __post_init__(self) -> None:
        at_least = ("top", "learning_rate", "max_length", "weight_decay")
        check(self, "selective", above=("epochs", "batch_size"), at_least=at_least, shares=("warmup",))
        for part in self._parts:
            if part not in PARTS:
                raise unknown("part of a base", part, PARTS)

    @property
    def _parts(self) -> tuple[str, ...]:
        return (self.train,) if isinstance(self.train, str) else tuple(self.train)

    @property
    def _top(self) -> int:
        return self.top or int(not self._parts)

    @property
    def _only(self) -> int:
        """How many layers learn where nothing else does."""
        return 0 if self._parts else self._top

    @property
    def _method(self) -> Method:
        return "full" if self._only else "part"

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        refuse_unmerged(variant, "selective")
        trainable = sum(count for _, count in self._chosen(skeleton_of(variant.base), variant.base.family))
        return plan_weights(self, variant, task, pace, step="selective", trainable=trainable, method=self._method, top=self._only)

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        light = not self._top and "embeddings" not in self._parts
        rate = 5e-5 * 1024 / variant.base.width * (10 if light else 1)
        course = Course(rate, warmup=self.warmup, weight_decay=self.weight_decay)

        def choose(model: Any, head: Sequence[str]) -> None:
            weights = dict(model.named_parameters())
            for name, _ in self._chosen(model, variant.base.family):
                weights[name].requires_grad_(True)
            for name in head:
                model.get_submodule(name).requires_grad_(True)

        return learn_weights(
            self, variant, task, kit, step="selective", course=course, choose=choose, method=self._method, top=self._only
        )

    def _chosen(self, model: Any, family: Family) -> list[tuple[str, int]]:
        """Names of the base's weights that learn, and their sizes. Raises Refused where there are none."""
        body = model.base_model  # what stands on it is a head, which is no part of the base
        chosen = last_weights(model, self._top, family=family) if self._top else []
        if "biases" in self._parts:
            chosen += [weight for name, weight in body.named_parameters() if name.rpartition(".")[2] == "bias"]
        if "norms" in self._parts:
            chosen += [weight for module in body.modules() for weight in norm_weights(module)]
        if "embeddings" in self._parts:
            chosen.append(model.get_input_embeddings().weight)
        if not chosen:
            raise Refused(f"{type(body).__name__} has no {' and no '.join(self._parts)}", "top: 1 trains its last layer")
        own = {id(weight) for weight in chosen}
        return [(name, weight.numel()) for name, weight in model.named_parameters() if id(weight) in own]
