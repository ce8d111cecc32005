"""Text from a model: one batch of prompts, and then a token for each row at a time, until every row has ended.

Legend: B rows, T tokens of a prompt, V vocabulary. Every row draws from its own stream of numbers, seeded by its tokens, so that
what is sampled does not depend on the rows beside it.
"""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from tuneladder.errors import BadInput
from tuneladder.model import held
from tuneladder.model.rows import reading
from tuneladder.model.worn import wearing
from tuneladder.store import digest
from tuneladder.task.encode import Coder
from tuneladder.types import Decoding


class Reader(Protocol):
    """What a model has read of some texts, one row each. `leave_at` is the share of rows still written below which those that have
    ended are let go, by what letting go costs."""

    leave_at: float

    def begin(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        """Read the prompts: the logits (B, V) after each."""
        ...

    def spread(self, samples: int) -> None:
        """Each row `samples` times, one after another."""
        ...

    def follow(self, tokens: Sequence[int]) -> torch.Tensor:
        """Read one more token of each row: the logits (B, V) after it."""
        ...

    def keep(self, order: Sequence[int]) -> None:
        """Go on with these rows, in this order."""
        ...


class Written(NamedTuple):
    """A text in words, and in all its tokens, those that ended it too, after its prompt's."""

    prompt: list[int]
    text: str
    ids: list[int]


class Guide(Protocol):
    """What one text may go on with, token by token."""

    def allowed(self) -> torch.Tensor:
        """(n,) bool on the CPU: the tokens that may come next; those of a vocabulary that is larger may not."""
        ...

    def take(self, token: int) -> bool:
        """Go on with a token that was allowed. Whether the text is whole now, and ends."""
        ...


def write(
    reader: Reader,
    coder: Coder,
    prompts: Sequence[list[int]],
    decoding: Decoding,
    stops: Sequence[tuple[str, ...]],
    room: Sequence[int],
    *,
    said: Sequence[list[int]] | None = None,
    guide: Callable[[], Guide] | None = None,
) -> tuple[list[list[Written]], int]:
    """`decoding.samples` texts for each prompt, and the number of tokens written.

    `stops` are the stop strings of each prompt, `room` the most tokens that its text may have, and `said` the tokens that count as
    said when it begins, for the penalty on repetition: the prompt's own unless given. `guide` makes what holds a text to its form.
    """
    # Greedy samples are all the same one.
    samples = decoding.samples if decoding.temperature > 0 else 1
    rows = [
        _Row(coder, ids, decoding, stop, sample, most, guide() if guide else None)
        for ids, stop, most in zip(prompts, stops, room, strict=True)
        for sample in range(samples)
    ]
    for _ in _steps(reader, rows, prompts, decoding, said or prompts, samples):
        pass
    texts = [Written(prompts[at // samples], row.text(), row.written) for at, row in enumerate(rows)]
    grouped = [texts[start : start + samples] * (decoding.samples // samples) for start in range(0, len(texts), samples)]
    return grouped, sum(len(row.written) for row in rows)


def stream(
    reader: Reader,
    coder: Coder,
    prompt: list[int],
    decoding: Decoding,
    stops: tuple[str, ...],
    room: int,
    *,
    said: list[int] | None = None,
    guide: Callable[[], Guide] | None = None,
) -> Iterator[str]:
    """The first text that `write` would give for a prompt, a piece for each token: what no later one can change, and was not given
    before, which may be nothing."""
    row = _Row(coder, prompt, decoding, stops, 0, room, guide() if guide else None)
    told = 0
    for _ in _steps(reader, [row], [prompt], decoding, [said or prompt], 1):
        settled = row.settled()
        yield settled[told:]
        told = max(told, len(settled))


@torch.no_grad()
def _steps(
    reader: Reader,
    rows: Sequence[_Row],
    prompts: Sequence[list[int]],
    decoding: Decoding,
    said: Sequence[list[int]],
    samples: int,
) -> Iterator[None]:
    """Write the rows, `samples` of each prompt: a token for each that has not ended at every step."""
    logits_BV = reader.begin(prompts).float()
    said_BV = None
    if decoding.repetition != 1.0:
        said_BV = torch.zeros_like(logits_BV, dtype=torch.bool)
        for row_V, own in zip(said_BV, said, strict=True):
            row_V[torch.tensor(own, device=row_V.device)] = True
    if samples > 1:
        reader.spread(samples)
        logits_BV = logits_BV.repeat_interleave(samples, 0)
        said_BV = None if said_BV is None else said_BV.repeat_interleave(samples, 0)
    alive = rows
    while True:
        logits_BV = _guided(logits_BV, alive)
        tokens_B = _choose(logits_BV, said_BV, alive, decoding)
        if said_BV is not None:
            said_BV.scatter_(1, tokens_B[:, None], True)
        tokens = tokens_B.tolist()
        for row, token in zip(alive, tokens, strict=True):
            if not row.ended:
                row.take(token)
        yield
        order = _without_ended(alive)
        if not order:
            return
        if len(order) < len(alive) and len(order) <= reader.leave_at * len(alive):
            reader.keep(order)
            alive, tokens = [alive[place] for place in order], [tokens[place] for place in order]
            said_BV = None if said_BV is None else said_BV[torch.tensor(order, device=said_BV.device)]
        logits_BV = reader.follow(tokens).float()


def _without_ended(rows: Sequence[_Row]) -> list[int]:
    """The rows that go on, each in its place where that is still there, the last ones in the places of those that have ended."""
    going = [number for number, row in enumerate(rows) if not row.ended]
    late = iter(number for number in going if number >= len(going))
    return [place if not rows[place].ended else next(late) for place in range(len(going))]


class _Row:
    """One continuation while it is written."""

    def __init__(
        self,
        coder: Coder,
        prompt: list[int],
        decoding: Decoding,
        stops: tuple[str, ...],
        sample: int,
        room: int,
        guide: Guide | None = None,
    ) -> None:
        self.written: list[int] = []
        self.ended = False
        self.guide = guide
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
        if self.guide and not self.ended:
            self.ended = self.guide.take(token)

    def text(self) -> str:
        text = self._decode([token for token in self.written if token not in self._coder.stop_ids])
        ends = [text.find(stop) for stop in self._stops if stop in text]
        return text[: min(ends, default=len(text))].removeprefix(self._coder.template.lead)

    def settled(self) -> str:
        """How `text` begins, whatever is written next: without a character that is not whole yet, and what may turn out to be how a
        stop string or the template's lead begins."""
        if self.ended:
            return self.text()
        text = self._decode([token for token in self.written if token not in self._coder.stop_ids]).rstrip("\ufffd")
        lead = self._coder.template.lead
        if lead.startswith(text):
            return ""
        sizes = (size for stop in self._stops for size in range(len(stop) - 1, 0, -1) if text.endswith(stop[:size]))
        return text[: len(text) - max(sizes, default=0)].removeprefix(lead)

    def _decode(self, ids: list[int]) -> str:
        return str(self._coder.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class Cached:
    """Reads with the cache that the model makes itself, prompts padded on the left: right for every decoder of transformers that
    makes one, be it of keys and values or of the states of its layers.

    `core` is the transformers model inside `model`. Raises BadInput where it makes none.
    """

    leave_at = 0.5

    def __init__(self, model: Any, core: Any) -> None:
        self._model = model
        self._device = core.device
        takes = inspect.signature(core.forward).parameters
        self._takes_positions = "position_ids" in takes
        self._last = getattr(core.config, "max_position_embeddings", None) or sys.maxsize
        self._name = next((name for name in ("past_key_values", "cache_params") if name in takes), "")
        if not self._name:
            raise BadInput(
                f"{type(core).__name__} makes no cache to write with", "take a base that does: Mamba, or one with attention"
            )

    def begin(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        width = max(len(prompt) for prompt in prompts)
        ids_BT = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts], device=self._device)
        self._positions_B = torch.tensor([len(prompt) for prompt in prompts], device=self._device)
        seen_BT = torch.arange(width, device=self._device)[None] >= (width - self._positions_B)[:, None]
        self._mask_BT = seen_BT.long()
        self._cache: Any = None
        last_B = torch.arange(1, len(prompts) + 1, device=self._device) * width - 1
        return self._forward(ids_BT, (self._mask_BT.cumsum(-1) - 1).clamp(min=0), last_B)

    def spread(self, samples: int) -> None:
        # states know no other way to be chosen from than beam search's
        self._cache.reorder_cache(torch.arange(len(self._mask_BT), device=self._device).repeat_interleave(samples))
        self._mask_BT = self._mask_BT.repeat_interleave(samples, 0)
        self._positions_B = self._positions_B.repeat_interleave(samples, 0)

    def follow(self, tokens: Sequence[int]) -> torch.Tensor:
        ids_B1 = torch.tensor(tokens, device=self._device)[:, None]
        self._mask_BT = torch.cat([self._mask_BT, self._mask_BT.new_ones(len(tokens), 1)], dim=1)
        at_B = self._positions_B.clamp(max=self._last - 1)  # of a row that has ended, and is carried along, nothing is read
        logits_BV = self._forward(ids_B1, at_B[:, None], torch.arange(len(tokens), device=self._device))
        self._positions_B = self._positions_B + 1
        return logits_BV

    def keep(self, order: Sequence[int]) -> None:
        keep = torch.tensor(order, device=self._device)
        self._cache.reorder_cache(keep)
        self._mask_BT = self._mask_BT[keep]
        self._positions_B = self._positions_B[keep]

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        inputs = {"position_ids": positions} if self._takes_positions else {}
        if self._name == "past_key_values" or self._cache is None:  # a state has passed the padding by already
            inputs["attention_mask"] = self._mask_BT
        with reading(self._model, index):
            out = self._model(input_ids=ids, use_cache=True, **{self._name: self._cache}, **inputs)
        self._cache = out[self._name]
        logits_BV: torch.Tensor = out.logits
        return logits_BV


class Holding:
    """Reads into a store of its own (see `held.py`), for a model that was found able to and is open for it; nothing is padded, and
    a row that has ended leaves at once.

    `start` is the length of what all prompts begin with and `shared` what the model holds of it; `tokens` is how many
    are read at once, and `wear` what each row wears (see `worn.py`), if anything.
    """

    leave_at = 1.0

    def __init__(
        self, model: Any, *, start: int, shared: dict[int, held.Pair] | None, tokens: int, wear: Sequence[str] = ()
    ) -> None:
        self._model = model
        self._wear = list(wear)
        self._start = start
        self._shared = shared
        self._tokens = tokens

    def begin(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        rows = [prompt[self._start :] for prompt in prompts]
        self._ends = [len(row) for row in rows]
        self._store = held.Store(len(rows), 0)
        self._store.make_room(max(self._ends) + 1)
        logits = []
        first = 0
        while first < len(rows):
            last = first + 1
            while last < len(rows) and sum(self._ends[first : last + 1]) <= self._tokens:
                last += 1
            lengths = self._ends[first:last]
            own = held.reading(lengths, shared=self._shared, store=self._store, first=first)
            with wearing(self._wear[first:last], lengths), reading(self._model, torch.tensor(lengths).cumsum(0) - 1):
                logits.append(held.read(self._model, rows[first:last], own, positions=None, skip=self._start))
            first = last
        return torch.cat(logits)

    def spread(self, samples: int) -> None:
        self._store.spread(samples)
        self._ends = [end for end in self._ends for _ in range(samples)]
        self._wear = [name for name in self._wear for _ in range(samples)]

    def follow(self, tokens: Sequence[int]) -> torch.Tensor:
        own = held.following(self._store, self._ends, shared=self._shared)
        positions_1B = torch.tensor([self._ends]) + self._start
        self._ends = [end + 1 for end in self._ends]
        with wearing(self._wear, [1] * len(tokens)):
            return held.read(self._model, [[token] for token in tokens], own, positions=positions_1B)[0]

    def keep(self, order: Sequence[int]) -> None:
        self._store.keep(order)
        self._ends = [self._ends[row] for row in order]
        self._wear = [self._wear[row] for row in order] if self._wear else []


def _guided(logits_BV: torch.Tensor, rows: Sequence[_Row]) -> torch.Tensor:
    """The logits, without what a row's guide does not allow. A row that has ended has nothing to be told."""
    if not any(row.guide for row in rows):
        return logits_BV
    allowed_BV = torch.zeros(logits_BV.shape, dtype=torch.bool)
    for own_V, row in zip(allowed_BV, rows, strict=True):
        if row.guide is None or row.ended:
            own_V[:] = True
            continue
        found = row.guide.allowed()[: len(own_V)]
        own_V[: len(found)] = found
    return logits_BV.masked_fill(~allowed_BV.to(logits_BV.device), float("-inf"))


def _choose(logits_BV: torch.Tensor, said_BV: torch.Tensor | None, rows: Sequence[_Row], decoding: Decoding) -> torch.Tensor:
    """A token (B,) for each row; what `said_BV` shows has been said is penalised."""
    if said_BV is not None:
        logits_BV = penalised(logits_BV, said_BV, decoding.repetition)
    if decoding.temperature <= 0:
        return torch.argmax(logits_BV, dim=-1)
    draws_B = torch.tensor([row.draw() for row in rows], device=logits_BV.device)
    return sample(logits_BV, draws_B, temperature=decoding.temperature, top_k=decoding.top_k, top_p=decoding.top_p)


def penalised(logits_BV: torch.Tensor, said_BV: torch.Tensor, repetition: float) -> torch.Tensor:
    """The logits, those of what has been said made less likely (arXiv:1909.05858)."""
    weighed = torch.where(logits_BV > 0, logits_BV / repetition, logits_BV * repetition)
    return torch.where(said_BV, weighed, logits_BV)


def sample(
    logits_BV: torch.Tensor, draws_B: torch.Tensor, *, temperature: float, top_k: int = 0, top_p: float = 1.0
) -> torch.Tensor:
    """Token ids (B,) by inverting the distribution at `draws_B`, numbers in [0, 1)."""
    chances_BV, ids_BV = kept(logits_BV, temperature=temperature, top_k=top_k, top_p=top_p)
    reached_BV = chances_BV.cumsum(-1)
    places_B1 = torch.searchsorted(reached_BV, (draws_B.cpu().double() * reached_BV[:, -1])[:, None], right=True)
    return ids_BV.gather(1, places_B1.clamp(max=ids_BV.shape[1] - 1).to(ids_BV.device)).squeeze(1)


def kept(logits_BV: torch.Tensor, *, temperature: float, top_k: int = 0, top_p: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """What a token is drawn from: chances and ids, both (B, n), the likeliest first; of tokens that are left out the chance is 0,
    and the others' do not sum to 1 then.

    The `top_k` likeliest are kept (0: all), and of these the fewest whose probabilities reach `top_p` (arXiv:1904.09751).
    """
    ordered_BV, ids_BV = (logits_BV / temperature).sort(dim=-1, descending=True, stable=True)
    if top_k > 0:
        ordered_BV, ids_BV = ordered_BV[:, :top_k], ids_BV[:, :top_k]
    # Double precision: the sum over a large vocabulary must end at one. (Not on every accelerator: so on the CPU.)
    chances_BV = ordered_BV.cpu().double().softmax(-1)
    reached_BV = chances_BV.cumsum(-1)
    return chances_BV.masked_fill(reached_BV - chances_BV >= top_p, 0.0), ids_BV
