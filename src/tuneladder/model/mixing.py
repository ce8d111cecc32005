"""One engine for several variants that are LoRAs over one base: what is asked of different ones is answered in one batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from tuneladder.errors import BadInput
from tuneladder.model.adapters import add_adapter, kind_in, open_adapter
from tuneladder.model.local import LocalEngine
from tuneladder.model.worn import PLAIN, lora_layers, mixed
from tuneladder.types import Decoding, Turns, Variant

A = TypeVar("A")

APART = "ask that variant by itself"


def worn_over(model: Any, variants: Mapping[str, Variant]) -> tuple[Any, dict[str, str]]:
    """The base's model with the LoRAs of the variants over it, and what a row of each variant wears. Raises BadInput for an adapter
    that rows cannot wear side by side."""
    names: dict[str, str] = {}
    by_folder: dict[str, str] = {}
    for name, variant in variants.items():
        if not variant.adapter:
            names[name] = PLAIN
            continue
        if (kind := kind_in(variant.adapter)) != "LORA":
            raise BadInput(f"{name} has an adapter of kind {kind.lower()}, and only LoRAs are worn row by row", APART)
        if not by_folder:
            model, _ = open_adapter(model, variant.adapter)
            by_folder[variant.adapter] = "default"
        elif variant.adapter not in by_folder:
            by_folder[variant.adapter] = f"row{len(by_folder)}"
            add_adapter(model, variant.adapter, by_folder[variant.adapter])
        names[name] = by_folder[variant.adapter]
        _refuse_whole(model, name)
    return model, names


def _refuse_whole(model: Any, name: str) -> None:
    """Raises BadInput where a LoRA is more than two thin matrices beside a linear layer of the body."""
    from peft.tuners.lora import Linear

    head = model.get_output_embeddings()
    for layer in lora_layers(model):
        if not isinstance(layer, Linear) or layer is head:
            what = "the head" if layer is head else "what is no linear layer"
            raise BadInput(f"the LoRA of {name} lies over {what}, where rows cannot wear it each for itself", APART)
        if any(layer.use_dora.values()):
            raise BadInput(f"the LoRA of {name} is a DoRA, whose magnitudes belong to a whole matrix", APART)


class MixedEngine:
    """Each ask comes with the name of the variant that is to answer it, and what it answers is what that one answers by itself."""

    def __init__(self, engine: LocalEngine, model: Any, names: Mapping[str, str]) -> None:
        """`names` are the variants', each with what a row of it wears."""
        self.name, self._engine, self._model, self._names = engine.name, engine, model, names

    def generate(self, asks: Sequence[tuple[str, Turns]], decoding: Decoding) -> list[list[str]]:
        """`decoding.samples` continuations of each ask. Raises BadInput for a variant that is not here."""

        def answer(own: Sequence[int], wear: Sequence[str]) -> list[list[str]]:
            return self._engine.generate([asks[at][1] for at in own], decoding, wear=wear)

        return self._answered(asks, answer)

    def score(self, asks: Sequence[tuple[str, Turns]], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        """Natural log-probability of each ending of each ask. Raises BadInput for a variant that is not here."""

        def answer(own: Sequence[int], wear: Sequence[str]) -> list[list[float]]:
            return self._engine.score([asks[at][1] for at in own], [endings[at] for at in own], wear=wear)

        return self._answered(asks, answer)

    def _answered(self, asks: Sequence[tuple[str, Turns]], answer: Callable[[Sequence[int], Sequence[str]], list[A]]) -> list[A]:
        """What `answer` gives for each ask: all at once where rows lie side by side, else those of one adapter after another."""
        if unknown := [name for name, _ in asks if name not in self._names]:
            raise BadInput(f"nothing here answers as {unknown[0]!r}", f"there are {', '.join(self._names)}")
        worn = [self._names[name] for name, _ in asks]
        if self._engine.side_by_side:
            with mixed(self._model):
                return answer(range(len(asks)), worn)
        found: dict[int, A] = {}
        for name in dict.fromkeys(worn):
            own = [at for at, each in enumerate(worn) if each == name]
            with self._alone(name):
                found |= dict(zip(own, answer(own, ()), strict=True))
        return [found[at] for at in range(len(asks))]

    @contextlib.contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """While open, the model answers by one adapter, or by none."""
        if name == PLAIN:
            with self._model.disable_adapter() if lora_layers(self._model) else contextlib.nullcontext():
                yield
            return
        self._model.set_adapter(name, inference_mode=True)
        yield
