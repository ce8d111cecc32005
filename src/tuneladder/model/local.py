"""The local engine: a decoder in this process, asked in batches.

Rows are sorted by length and batched under a budget of tokens, so that little is padded and memory stays flat; results come
back in the order they were asked. What is computed lies in `ranking.py` (scores) and `writing.py` (text).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from tuneladder.errors import BadInput
from tuneladder.model import held, recurrent
from tuneladder.model.batching import (
    MOST_TOKENS,
    Calls,
    batches_of,
    counted,
    mean_of,
    one_begins_another,
    padded,
    regroup,
    running,
    side_by_side,
    still,
)
from tuneladder.model.constrained import Grammars
from tuneladder.model.lanes import Lanes, alters, lanes_for, remembers
from tuneladder.model.odds import Odds, odds_of
from tuneladder.model.pieces import Piece, pieces_of
from tuneladder.model.prepacked import prepacked
from tuneladder.model.ranking import Item, beginning, item_of, rank
from tuneladder.model.worn import wearing
from tuneladder.model.writing import Cached, Holding, Reader, Written, stream, write
from tuneladder.task.comparing import encode_sides
from tuneladder.task.encode import Coder, Encoded, Pair, TooLong
from tuneladder.task.template import goes_on
from tuneladder.types import Decoding, Turns

MEMORY = 1 << 30
# Texts that one lane writes at once: with more, the matrices are no better used (docs/log.md).
MOST_WRITTEN = 64
# Steps of all batches, a token of each row being one, from which on laying weights out beforehand costs less than it saves.
WORTH_PACKING = 32
SCANNED = 64  # tokens of a row by which the memory of a scan is reckoned


@runtime_checkable
class Counts(Protocol):
    """An engine that runs in this process, and counts what it does."""

    calls: Calls


class LocalEngine:
    """Implements `types.Engine` and `types.Embedder` over a transformers causal LM, wrapped by PEFT or not.

    `memory` is the bytes its passes may use beside the weights.
    """

    def __init__(self, model: Any, coder: Coder, *, name: str, memory: int = MEMORY) -> None:
        from transformers import PreTrainedModel

        self.name = name
        self.coder = coder
        self.calls = Calls()
        self._model = model
        self._grammars = Grammars(coder)
        self._core = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
        self._trees: bool | None = None
        self._kept: int | None = None
        config = self._core.config.get_text_config()
        # Of a pass without gradients there live at once the cache of every layer and a handful of one layer's tensors.
        per_token = 4 * config.hidden_size * (2 * config.num_hidden_layers + 16)
        if sizes := recurrent.sizes_of(config):
            per_token += 4 * recurrent.scanned(sizes, SCANNED, learning=False) // SCANNED
        self._memory = memory
        self._lanes = 1 if remembers(self._core) or alters(model) else lanes_for(self._core.device.type)
        self._tokens = max(256, min(MOST_TOKENS.get(self._core.device.type, 4096), memory // (2 * per_token)) // self._lanes)
        self._rows = max(16, memory // (2 * 8 * config.vocab_size) // self._lanes)

    def generate(self, asks: Sequence[Turns], decoding: Decoding, *, wear: Sequence[str] = ()) -> list[list[str]]:
        """`decoding.samples` continuations of each ask, without the special tokens and stop strings that ended them.

        Greedy answers do not depend on what else is asked; sampled ones only on their ask, the seed and the sample's number. `wear`
        says which adapter answers each ask, where the model has several (see `mixing.py`).
        """
        return [[own.text for own in group] for group in self.write_out(asks, decoding, wear=wear)]

    def write_out(self, asks: Sequence[Turns], decoding: Decoding, *, wear: Sequence[str] = ()) -> list[list[Written]]:
        """As `generate`, with the tokens that the texts are made of."""
        rows = self._encode([(turns, None) for turns in asks], limit=self._room(decoding))
        wide = [(len(row.ids) + decoding.max_new_tokens) * decoding.samples for row in rows]
        texts: list[list[Written]] = [[] for _ in asks]
        prompts = [row.ids for row in rows]
        guide = self._grammars.of(decoding.schema)

        def one(batch: list[int]) -> tuple[list[list[Written]], int]:
            stops = [decoding.stop + self.coder.stops(asks[i]) for i in batch]
            own = [prompts[i] for i in batch]
            worn = [wear[i] for i in batch] if wear else ()
            room = [self.coder.context - len(prompt) for prompt in own]
            return write(reader(worn), self.coder, own, decoding, stops, room, guide=guide)

        with self._running() as lanes, self._reading(prompts, wide, decoding, lanes, wear) as (reader, batches, spared):
            for batch, (written, count) in zip(batches, lanes.map(one, batches), strict=True):
                for i, samples in zip(batch, written, strict=True):
                    texts[i] = samples
                self.calls.new_tokens += count
                self.calls.read_tokens += sum(len(prompts[i]) for i in batch)
            self.calls.read_tokens -= spared
        self.calls.prompts += len(asks)
        self.calls.cut += sum(row.cut > 0 for row in rows)
        return texts

    def stream(self, turns: Turns, decoding: Decoding) -> Iterator[str]:
        """The first of the texts that `generate` gives for this ask, in pieces as it is written.

        Until it has ended or is closed the model is laid out for writing: one stream at a time.
        """
        [row] = self._encode([(turns, None)], limit=self._room(decoding))
        self.calls.prompts += 1
        self.calls.cut += row.cut > 0
        self.calls.read_tokens += len(row.ids)
        stops = decoding.stop + self.coder.stops(turns)
        guide = self._grammars.of(decoding.schema)
        with self._writing(row.ids, decoding) as reader:
            room = self.coder.context - len(row.ids)
            pieces = stream(reader, self.coder, row.ids, decoding, stops, room, guide=guide)
            yield from counted(pieces, self.calls)

    def rendered(self, turns: Turns) -> str:
        """See `odds.Glass`, as for the next three."""
        return self.coder.render(turns)

    def cut(self, turns: Turns, decoding: Decoding) -> int:
        return self._encode([(turns, None)], limit=self._room(decoding))[0].cut

    def pieces(self, text: str) -> list[Piece]:
        ids = self.coder.encode_whole(text)
        return pieces_of(self.coder.tokenizer, ids[1:] if ids[:1] == [self.coder.bos] else ids)

    def odds(self, turns: Turns, decoding: Decoding, *, begun: str = "", most: int = 12) -> list[Odds]:
        [row] = self._encode([(turns, begun or None)], limit=self._room(decoding))
        with torch.no_grad(), self._writing(row.ids, replace(decoding, max_new_tokens=1, samples=1)) as reader:
            logits_BV = reader.begin([row.ids]).float()
        return odds_of(logits_BV[0], row.ids, decoding, self.coder.tokenizer, most)

    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]], *, wear: Sequence[str] = ()) -> list[list[float]]:
        """Natural log-probability of each ending of each ask, as the assistant's next turn.

        Endings one of which begins another are closed by what ends a turn, all endings of that ask alike, unless they go on from
        plain text; with nothing before them they are read as whole texts are. `wear` as in `generate`. Raises BadInput for an
        ending that does not fit in the context.
        """
        encoded = self._endings(asks, endings)
        with self._running() as lanes:
            scores, tokens = self._rank(encoded, self._has_trees(lanes), lanes, wear)
        self.calls.prompts += len(asks)
        self.calls.cut += sum(any(row.cut for row in group) for group in encoded)
        self.calls.read_tokens += tokens
        return scores

    def weigh(self, asks: Sequence[Turns], answers: Sequence[Sequence[str]]) -> list[list[float] | None]:
        """Natural log-probability of each answer to each ask, its end included; None for an ask of which an answer does not fit."""
        encoded = encode_sides(self.coder, list(zip(asks, answers, strict=True)))
        groups = [group for group in encoded if group]
        with self._running() as lanes:
            scores, tokens = self._rank(groups, self._has_trees(lanes), lanes, ())
        self.calls.prompts += len(asks)
        self.calls.cut += sum(any(row.cut for row in group) for group in groups)
        self.calls.read_tokens += tokens
        found = iter(scores)
        return [next(found) if group else None for group in encoded]

    def sizes(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[int]]:
        """See `types.Sizer`."""
        return [[sum(row.learn) for row in group] for group in self._endings(asks, endings)]

    def read(self, texts: Sequence[str]) -> list[float]:
        """Natural log-probability of each whole text, read after BOS (or the end of the text before it, where there is no BOS).

        A text longer than the context is read in windows that overlap by half, each token once, after at least half a context.
        """
        windows: list[tuple[int, Item]] = []
        for number, text in enumerate(texts):
            windows += [(number, window) for window in _windows(self._started(text), self.coder.context, self.coder.soft)]
        totals = [0.0] * len(texts)
        with self._running() as lanes:
            scores, tokens = self._pass([window for _, window in windows], lanes, share=False)
        for (number, _), score in zip(windows, scores, strict=True):
            totals[number] += score[0]
        self.calls.prompts += len(texts)
        self.calls.read_tokens += tokens
        return totals

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Of each text the tokens whose log-probabilities `read` adds up."""
        return [max(0, len(self._started(text)) - 1) for text in texts]

    def _started(self, text: str) -> list[int]:
        """A whole text's tokens, after what it is read after."""
        start, ids = self._start, self.coder.encode_whole(text)
        return ids if start is None or ids[:1] == [start] else [start, *ids]

    def _begun(self, row: Encoded) -> Encoded:
        """An ending that nothing stands before, after what a whole text is read after."""
        if self._start is None or row.learn[:1] != [True] or len(row.ids) >= self.coder.context:
            return row
        return replace(row, ids=[self._start, *row.ids], learn=[False, *row.learn])

    @property
    def _start(self) -> int | None:
        return self.coder.bos if self.coder.bos is not None else self.coder.tokenizer.eos_token_id

    def embed(self, asks: Sequence[Turns]) -> np.ndarray[Any, Any]:
        """(N, width) float32: the mean of the last layer over the tokens of each ask, rendered as for an answer."""
        rows = self._encode([(turns, None) for turns in asks])
        found = np.zeros((len(rows), self._core.config.get_text_config().hidden_size), np.float32)

        @torch.no_grad()
        def one(batch: list[int]) -> np.ndarray[Any, Any]:
            ids_BT, mask_BT = (own.to(self._core.device) for own in padded([rows[at].ids for at in batch]))
            # the padding stands on the right, where under causal attention no token sees it
            hidden_BTD = self._core.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state
            return mean_of(hidden_BTD, mask_BT).cpu().numpy()

        with self._running() as lanes:
            cut = list(batches_of([len(row.ids) for row in rows], [1] * len(rows), self._tokens, self._rows))
            for batch, made in zip(cut, lanes.map(one, cut), strict=True):
                found[batch] = made
        self.calls.prompts += len(rows)
        self.calls.cut += sum(row.cut > 0 for row in rows)
        self.calls.read_tokens += sum(len(row.ids) for row in rows)
        return found

    def _encode(self, pairs: Sequence[Pair], *, close: bool = False, limit: int | None = None) -> list[Encoded]:
        try:
            return self.coder.encode_many(pairs, close=close, limit=limit)
        except TooLong as error:
            raise BadInput(
                f"an answer does not fit in the context of {self.coder.context} tokens: {error}", "shorten it"
            ) from error

    def _endings(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[Encoded]]:
        """Every ending of every ask in tokens, all endings of an ask after the same prompt."""
        counts = [len(options) for options in endings]
        flat = self._encode([(turns, ending) for turns, options in zip(asks, endings, strict=True) for ending in options])
        grouped = regroup(flat, counts)
        for number, group in enumerate(grouped):
            close = not goes_on(asks[number]) and _one_begins_another(group)
            if not close and not any(row.cut for row in group):
                grouped[number] = [self._begun(row) for row in group]
                continue
            pairs = [(asks[number], ending) for ending in endings[number]]
            group = self._encode(pairs, close=close)
            if any(row.cut for row in group):
                # The longest ending leaves the least room: cut the prompt alike for all.
                sizes = [sum(row.learn) for row in group]
                limits = [self.coder.context - (max(sizes) - size) for size in sizes]
                group = [self._encode([pair], close=close, limit=limit)[0] for pair, limit in zip(pairs, limits, strict=True)]
            grouped[number] = group
        return grouped

    def _rank(self, encoded: list[list[Encoded]], trees: bool, lanes: Lanes, wear: Sequence[str]) -> tuple[list[list[float]], int]:
        if trees:
            worn = [name for name, group in zip(wear, encoded, strict=True) if group] if wear else ()
            return self._pass(
                [item_of(group) for group in encoded if group],
                lanes,
                share=True,
                into=[len(group) for group in encoded],
                wear=worn,
            )
        flat, tokens = self._pass([item_of([row]) for group in encoded for row in group], lanes, share=False)
        return regroup([score[0] for score in flat], [len(group) for group in encoded]), tokens

    def _pass(
        self, items: list[Item], lanes: Lanes, *, share: bool, into: list[int] | None = None, wear: Sequence[str] = ()
    ) -> tuple[list[list[float]], int]:
        def batches(sizes: Sequence[int], rows: Sequence[int]) -> Iterator[list[int]]:
            return batches_of(sizes, rows, min(self._tokens, -(-sum(sizes) // lanes.count)), self._rows)

        hold = self._holds() > 0
        with held.holding(self._core) if hold else contextlib.nullcontext():
            scores, tokens = rank(self._model, items, share=share, hold=hold, batches=batches, lanes=lanes, wear=wear)
        if into is not None and 0 in into:
            found = iter(scores)
            scores = [next(found) if count else [] for count in into]
        return scores, tokens

    def _room(self, decoding: Decoding) -> int:
        """The most tokens of a prompt: it leaves room for the answer, up to half of the context."""
        return max(self.coder.context - decoding.max_new_tokens, self.coder.context // 2)

    @property
    def side_by_side(self) -> bool:
        """Whether rows lie side by side here, so that each may wear something of its own; tried once."""
        with still(self._model), torch.no_grad():
            return self._holds() > 0

    @contextlib.contextmanager
    def _writing(self, prompt: list[int], decoding: Decoding) -> Iterator[Reader]:
        """A reader for one prompt, with the model as `generate` has it. Gradients are the caller's to turn off: what is open across
        the pieces of a stream must not change how others compute."""
        with still(self._model), torch.no_grad():
            self._holds()
        wide = [len(prompt) + decoding.max_new_tokens]
        with still(self._model), self._reading([prompt], wide, replace(decoding, samples=1), Lanes(1)) as (reader, _, _):
            yield reader(())

    @contextlib.contextmanager
    def _reading(
        self, prompts: list[list[int]], wide: Sequence[int], decoding: Decoding, lanes: Lanes, wear: Sequence[str] = ()
    ) -> Iterator[tuple[Callable[[Sequence[str]], Reader], list[list[int]], int]]:
        """What makes a batch's reader, given what its rows wear; the batches; how many tokens of prompts need not be read again."""
        if not prompts or not (size := self._holds()):
            most = min(self._tokens * 2, -(-sum(wide) // lanes.count))
            yield (
                lambda worn: Cached(self._model, self._core),
                list(batches_of(wide, [decoding.samples] * len(wide), most, self._rows)),
                0,
            )
            return
        with contextlib.ExitStack() as stack:
            stack.enter_context(held.holding(self._core))
            start = beginning(prompts) if len(set(wear)) < 2 else 0
            sizes = [tokens // decoding.samples - start for tokens in wide]
            room = self._memory // 2 // lanes.count // size // decoding.samples
            most = max(1, min(MOST_WRITTEN, self._rows) // decoding.samples)
            batches = list(side_by_side(sizes, room, most, lanes.count))
            if decoding.max_new_tokens * len(batches) >= WORTH_PACKING:
                stack.enter_context(prepacked(self._model, memory=self._memory // 3))
            with wearing(wear[:1], [start]):
                shared = held.common(self._model, prompts[0][:start]) if start else None
            yield (
                lambda worn: Holding(self._model, start=start, shared=shared, tokens=self._tokens, wear=worn),
                batches,
                start * (len(prompts) - 1),
            )

    def _holds(self) -> int:
        """The bytes of a token, if this model can hold what it reads (see `held.py`), else 0: tried once."""
        if self._kept is None:
            able = not remembers(self._core) and _looks_everywhere(self._core, self.coder.context)
            self._kept = held.trial(self._model, self._core) if able else 0
        return self._kept

    def _has_trees(self, lanes: Lanes) -> bool:
        if self._trees is None:
            self._trees = self._holds() > 0 or _trees_are_exact(self._model, self._core, self.coder.context, lanes)
        return self._trees

    def _running(self) -> AbstractContextManager[Lanes]:
        return running(self._model, self.calls, self._lanes)


def _windows(ids: list[int], context: int, soft: Sequence[int]) -> Iterator[Item]:
    """Windows of at most `context` tokens, each after what is soft; each token but the first is in the ending of exactly one."""
    context -= len(soft)
    done = 1
    while done < len(ids):
        end = min(len(ids), context if done == 1 else done + context - context // 2)
        start = max(0, end - context)
        yield Item([*soft, *ids[start:done]], [ids[done:end]], [[True] * (end - done)])
        done = end


def _one_begins_another(group: Sequence[Encoded]) -> bool:
    return one_begins_another([[token for token, learn in zip(row.ids, row.learn, strict=True) if learn] for row in group])


def _looks_everywhere(core: Any, context: int) -> bool:
    """Whether, by its config, every layer attends to all that a text of this context has said before, and carries nothing else."""
    if recurrent.carries(core):
        return False
    config = core.config.get_text_config().to_dict()
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    kinds = set(config.get("layer_types") or ["full_attention"])
    return kinds == {"full_attention"} and (window is None or window >= context)


def _trees_are_exact(model: Any, core: Any, context: int, lanes: Lanes) -> bool:
    """Whether this architecture ranks a tree of endings as it ranks them one by one: known from its config, then tried once."""
    if not _looks_everywhere(core, context):
        return False
    size = core.config.get_text_config().vocab_size
    ids = [(7 * i + 3) % size for i in range(32)]
    branches = [ids[20:24], [*ids[20:22], ids[30]], ids[26:29]]
    trees = [Item(ids[:prefix], branches, [[True] * len(branch) for branch in branches]) for prefix in (18, 20)]
    plain = [Item(tree.prefix, [branch], [[True] * len(branch)]) for tree in trees for branch in branches]

    def whole(sizes: Sequence[int], rows: Sequence[int]) -> Iterator[list[int]]:
        return iter([list(range(len(sizes)))])

    try:
        found = [score for row in rank(model, trees, share=True, hold=False, batches=whole, lanes=lanes)[0] for score in row]
    except (TypeError, ValueError, RuntimeError):
        return False  # this architecture takes no such mask
    expected = [row[0] for row in rank(model, plain, share=False, hold=False, batches=whole, lanes=lanes)[0]]
    slack = 1e-3 if core.dtype == torch.float32 else 0.02
    return all(abs(a - b) < slack * (1 + abs(b)) for a, b in zip(found, expected, strict=True))
