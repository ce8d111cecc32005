"""Text from a model that continues prompts: one batch of them, with a cache, until every row has ended.

What reads them and what has been written is a `Feed`: a decoder's stands here, left-padded. Legend: B rows, T tokens of a prompt,
V vocabulary. Every row draws from its own stream of numbers, seeded by its tokens, so
what is sampled does not depend on the rows beside it.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from tuneladder.model.rows import reading
from tuneladder.store import digest
from tuneladder.task.encode import Coder
from tuneladder.types import Decoding


class Feed(Protocol):
    """A batch of prompts in a model, and what its rows have written so far."""

    @property
    def said(self) -> Sequence[list[int]]:
        """Of each row the tokens that count as said when text begins, for the penalty on repetition."""
        ...

    def begin(self) -> torch.Tensor:
        """Read the prompts: the logits (B, V) of what follows each."""
        ...

    def repeat(self, times: int) -> None:
        """Every row `times` times, one after another."""
        ...

    def keep(self, places_B: torch.Tensor) -> None:
        """Only the rows of these places, in this order."""
        ...

    def read(self, tokens_B: torch.Tensor) -> torch.Tensor:
        """A token more for each row: the logits (B, V) of what follows it."""
        ...


@torch.no_grad()
def write(
    feed: Feed,
    coder: Coder,
    prompts: Sequence[list[int]],
    decoding: Decoding,
    stops: Sequence[tuple[str, ...]],
    room: Sequence[int],
) -> tuple[list[list[str]], int]:
    """`decoding.samples` texts for each prompt, and the number of tokens written.

    `stops` are the stop strings of each prompt, `room` the most tokens that its text may have.
    """
    # Greedy samples are all the same one.
    samples = decoding.samples if decoding.temperature > 0 else 1
    rows = [
        _Row(coder, ids, decoding, stop, sample, most)
        for ids, stop, most in zip(prompts, stops, room, strict=True)
        for sample in range(samples)
    ]
    state = _State(feed, samples, rows, decoding)
    while state.alive:
        state.step()
    texts = [row.text() for row in rows]
    grouped = [texts[start : start + samples] * (decoding.samples // samples) for start in range(0, len(texts), samples)]
    return grouped, sum(len(row.written) for row in rows)


class _Row:
    """One continuation while it is written."""

    def __init__(self, coder: Coder, prompt: list[int], decoding: Decoding, stops: tuple[str, ...], sample: int, room: int) -> None:
        self.written: list[int] = []
        self.ended = False
        self._coder = coder
        self._stops = stops
        self._most = min(decoding.max_new_tokens, room)
        # A character takes at most four tokens, and a stop string may begin inside a token.
        self._tail = 4 * max((len(stop) for stop in stops), default=0) + 4
        self._random = random.Random(digest(prompt, decoding.seed, sample))

    def draw(self) -> float:
        return self._random.random()

    def take(self, token: int) -> None:
        self.written.append(token)
        self.ended = token in self._coder.stop_ids or len(self.written) >= self._most
        if self._stops and not self.ended:
            tail = self._decode(self.written[-self._tail :])
            self.ended = any(stop in tail for stop in self._stops)

    def text(self) -> str:
        text = self._decode([token for token in self.written if token not in self._coder.stop_ids])
        ends = [text.find(stop) for stop in self._stops if stop in text]
        return text[: min(ends, default=len(text))].removeprefix(self._coder.template.lead)

    def _decode(self, ids: list[int]) -> str:
        return str(self._coder.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class PromptFeed:
    """A decoder's: prompts padded on the left, whose cache grows. `core` is the transformers model inside `model`."""

    def __init__(self, model: Any, core: Any, prompts: Sequence[list[int]]) -> None:
        self.said = prompts
        self._model = model
        self._device = core.device
        self._takes_positions = "position_ids" in inspect.signature(core.forward).parameters
        width = max(len(prompt) for prompt in prompts)
        self._ids_BT = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts], device=self._device)
        self._positions_B = torch.tensor([len(prompt) for prompt in prompts], device=self._device)
        seen_BT = torch.arange(width, device=self._device)[None] >= (width - self._positions_B)[:, None]
        self._mask_BT = seen_BT.long()
        self._cache: Any = None

    def begin(self) -> torch.Tensor:
        rows, width = self._ids_BT.shape
        positions_BT = (self._mask_BT.cumsum(-1) - 1).clamp(min=0)
        return self._forward(self._ids_BT, positions_BT, torch.arange(1, rows + 1, device=self._device) * width - 1)

    def repeat(self, times: int) -> None:
        self._cache.batch_repeat_interleave(times)
        self._mask_BT = self._mask_BT.repeat_interleave(times, 0)
        self._positions_B = self._positions_B.repeat_interleave(times, 0)

    def keep(self, places_B: torch.Tensor) -> None:
        self._cache.batch_select_indices(places_B)
        self._mask_BT = self._mask_BT[places_B]
        self._positions_B = self._positions_B[places_B]

    def read(self, tokens_B: torch.Tensor) -> torch.Tensor:
        self._mask_BT = torch.cat([self._mask_BT, self._mask_BT.new_ones(len(tokens_B), 1)], dim=1)
        every = torch.arange(len(tokens_B), device=self._device)
        logits_BV = self._forward(tokens_B[:, None], self._positions_B[:, None], every)
        self._positions_B = self._positions_B + 1
        return logits_BV

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        inputs = {"position_ids": positions} if self._takes_positions else {}
        with reading(self._model, index):
            out = self._model(input_ids=ids, attention_mask=self._mask_BT, past_key_values=self._cache, use_cache=True, **inputs)
        self._cache = out.past_key_values
        return out.logits.float()  # type: ignore[no-any-return]


class _State:
    """The rows still being written; the rows that have ended leave once they are half of the batch."""

    def __init__(self, feed: Feed, samples: int, rows: list[_Row], decoding: Decoding) -> None:
        self.alive = rows
        self._feed = feed
        self._decoding = decoding
        self._logits_BV = feed.begin()
        self._device = self._logits_BV.device
        self._said_BV: torch.Tensor | None = None
        if decoding.repetition != 1.0:
            self._said_BV = torch.zeros_like(self._logits_BV, dtype=torch.bool)
            for row, said in zip(self._said_BV, feed.said, strict=True):
                row[torch.tensor(said, device=self._device)] = True
        if samples > 1:
            feed.repeat(samples)
            self._narrow(torch.arange(len(rows) // samples, device=self._device).repeat_interleave(samples))

    def step(self) -> None:
        """Choose a token for every row, and read on where a row goes on."""
        tokens_B = self._choose()
        for row, token in zip(self.alive, tokens_B.tolist(), strict=True):
            if not row.ended:
                row.take(token)
        going = [number for number, row in enumerate(self.alive) if not row.ended]
        if not going:
            self.alive = []
            return
        if self._said_BV is not None:
            self._said_BV.scatter_(1, tokens_B[:, None], True)
        if 2 * len(going) <= len(self.alive):
            keep = torch.tensor(going, device=self._device)
            self.alive = [self.alive[number] for number in going]
            tokens_B = tokens_B[keep]
            self._feed.keep(keep)
            self._narrow(keep)
        self._logits_BV = self._feed.read(tokens_B)

    def _narrow(self, keep: torch.Tensor) -> None:
        self._logits_BV = self._logits_BV[keep]
        self._said_BV = None if self._said_BV is None else self._said_BV[keep]

    def _choose(self) -> torch.Tensor:
        decoding = self._decoding
        logits_BV = self._logits_BV
        if self._said_BV is not None:
            weighed = torch.where(logits_BV > 0, logits_BV / decoding.repetition, logits_BV * decoding.repetition)
            logits_BV = torch.where(self._said_BV, weighed, logits_BV)
        if decoding.temperature <= 0:
            return torch.argmax(logits_BV, dim=-1)
        draws_B = torch.tensor([row.draw() for row in self.alive], device=logits_BV.device)
        return sample(logits_BV, draws_B, temperature=decoding.temperature, top_k=decoding.top_k, top_p=decoding.top_p)


def sample(
    logits_BV: torch.Tensor, draws_B: torch.Tensor, *, temperature: float, top_k: int = 0, top_p: float = 1.0
) -> torch.Tensor:
    """Token ids (B,) by inverting the distribution at `draws_B`, numbers in [0, 1).

    The `top_k` likeliest are kept (0: all), and of these the fewest whose probabilities reach `top_p` (arXiv:1904.09751).
    """
    ordered_BV, ids_BV = (logits_BV / temperature).sort(dim=-1, descending=True, stable=True)
    if top_k > 0:
        ordered_BV, ids_BV = ordered_BV[:, :top_k], ids_BV[:, :top_k]
    # Double precision: the sum over a large vocabulary must end at one. (Not on every accelerator: so on the CPU.)
    chances_BV = ordered_BV.cpu().double().softmax(-1)
    reached_BV = chances_BV.cumsum(-1)
    chances_BV = chances_BV.masked_fill(reached_BV - chances_BV >= top_p, 0.0)
    reached_BV = chances_BV.cumsum(-1)
    places_B1 = torch.searchsorted(reached_BV, (draws_B.cpu().double() * reached_BV[:, -1])[:, None], right=True)
    return ids_BV.gather(1, places_B1.clamp(max=ids_BV.shape[1] - 1).to(ids_BV.device)).squeeze(1)
