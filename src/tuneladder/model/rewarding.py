"""Rewards: one number for an answer to a prompt, by a head on the base's body.

An encoder has it from its classification head of one class; a decoder from a linear layer on the last token of the answer, where
transformers' own heads for sequences read it.

Shapes: R rows, T tokens, D the width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from tuneladder.errors import BadInput, Refused
from tuneladder.model.batching import MOST_TOKENS, Calls, batches_of, kinds_of, padded, running
from tuneladder.model.lanes import alters, lanes_for, remembers
from tuneladder.task.comparing import encode_sides
from tuneladder.task.encode import Coder, Encoded
from tuneladder.task.passages import TextCoder, said
from tuneladder.types import Decoding, Turn, Turns

HEAD = "reward"  # the name of its one class


def rewards(model: Any, inputs: dict[str, torch.Tensor | None], places: torch.Tensor | None) -> torch.Tensor:
    """The reward (R,) of each row, float32. `places` (R,) are the last tokens of a decoder's rows in the flattened ids; an
    encoder's head reads where it reads."""
    from transformers import PreTrainedModel

    if places is None:
        return model(**inputs).logits[:, 0].float()  # type: ignore[no-any-return]
    core = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
    hidden_RTD = core.base_model(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state
    last_RD = hidden_RTD.flatten(0, 1).index_select(0, places)
    with torch.autocast(last_RD.device.type, enabled=False):  # eight bits would make answers equal that are not
        return torch.nn.functional.linear(last_RD.float(), core.score.weight.float())[:, 0]


def last_places(sizes: Sequence[int], width: int) -> torch.Tensor:
    """Where the last tokens of rows of these sizes, padded on the right to `width`, stand in the flattened ids."""
    return torch.tensor([at * width + size - 1 for at, size in enumerate(sizes)])


def encode_answers(
    coder: Coder | TextCoder, groups: Sequence[tuple[Turns, Sequence[str]]], *, limit: int | None = None
) -> list[list[Encoded] | None]:
    """Each group's answers in tokens, with what they answer before them; None for a group of which one does not fit. An encoder's
    text loses its middle instead."""
    if isinstance(coder, Coder):
        return encode_sides(coder, groups, limit=limit, close=False)
    texts = [said((*turns, Turn("assistant", answer))) for turns, answers in groups for answer in answers]
    rows = iter(coder.encode_many(texts, limit=limit))
    return [[next(rows) for _ in answers] for _, answers in groups]


class RewardEngine:
    """Implements `types.Engine` over a model with a reward's head, wrapped by PEFT or not. To rank is to reward."""

    def __init__(self, model: Any, coder: Coder | TextCoder, *, name: str) -> None:
        self.name = name
        self.coder = coder
        self.calls = Calls()
        self._model = model
        self._device = next(model.parameters()).device

    def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
        raise Refused(f"{self.name} rewards answers and writes none", "put `reward` last in its rung")

    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        """The reward of each ending, by which they are ranked. Raises BadInput for one that does not fit in the context."""
        found = self.weigh(asks, endings)
        if any(own is None for own in found):
            raise BadInput(f"an answer does not fit in the context of {self.coder.context} tokens", "shorten it")
        return [own for own in found if own is not None]

    def weigh(self, asks: Sequence[Turns], answers: Sequence[Sequence[str]]) -> list[list[float] | None]:
        """The reward of each answer to each ask; None for an ask of which an answer does not fit."""
        groups = encode_answers(self.coder, list(zip(asks, answers, strict=True)))
        rows = [row for group in groups if group for row in group]
        found: list[float] = [0.0] * len(rows)
        lanes_here = 1 if remembers(self._model) or alters(self._model) else lanes_for(self._device.type)
        with running(self._model, self.calls, lanes_here) as lanes:
            tokens = MOST_TOKENS.get(self._device.type, 4096) // lanes.count
            cut = list(batches_of([len(row.ids) for row in rows], [1] * len(rows), tokens, tokens))
            for batch, values in zip(cut, lanes.map(lambda own: self._rewards([rows[at] for at in own]), cut), strict=True):
                for at, value in zip(batch, values, strict=True):
                    found[at] = value
        self.calls.prompts += len(asks)
        self.calls.cut += sum(any(row.cut for row in group) for group in groups if group)
        self.calls.read_tokens += sum(len(row.ids) for row in rows)
        made = iter(found)
        return [[next(made) for _ in group] if group else None for group in groups]

    @torch.no_grad()
    def _rewards(self, rows: Sequence[Encoded]) -> list[float]:
        inputs, places = laid([row.ids for row in rows], self.coder)
        there = {name: None if value is None else value.to(self._device) for name, value in inputs.items()}
        return rewards(self._model, there, None if places is None else places.to(self._device)).tolist()


class ReadingRewardEngine(RewardEngine):
    """One that can also read: `reader` makes an engine of the same body with the head of its pretraining, once, when it is first
    asked."""

    def __init__(self, model: Any, coder: Coder | TextCoder, *, name: str, reader: Callable[[], Any]) -> None:
        super().__init__(model, coder, name=name)
        self._make = reader
        self._reader: Any = None

    def read(self, texts: Sequence[str]) -> list[float]:
        """Natural log-probability of each whole text, as the base's own engine has it."""
        if self._reader is None:
            self._reader = self._make()
        return self._reader.read(texts)  # type: ignore[no-any-return]


def laid(
    rows: Sequence[list[int]], coder: Coder | TextCoder, *, tile: int = 1
) -> tuple[dict[str, torch.Tensor | None], torch.Tensor | None]:
    """What the model reads of rows of tokens, and the places that a decoder's rewards are read at. A decoder's rows have no mask:
    what stands after a token cannot reach it."""
    ids_BT, mask_BT = padded(rows, tile=tile, most=coder.context)
    if isinstance(coder, Coder):
        return {"input_ids": ids_BT, "attention_mask": None}, last_places([len(row) for row in rows], ids_BT.shape[1])
    kinds = {} if coder.divider is None else {"token_type_ids": kinds_of(ids_BT, coder.divider)}
    return {"input_ids": ids_BT, "attention_mask": mask_BT, **kinds}, None
