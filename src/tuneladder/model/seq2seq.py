"""The engine of seq2seq models: the encoder reads a prompt once, and the decoder writes, or ranks, what answers it.

Sources are sorted by length and batched under a budget of tokens, padded on the right under an attention mask.

Shapes: A asks, B rows, T tokens of a source, U tokens that the decoder reads, D the width, V vocabulary, n rows of the head.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tuneladder.errors import BadInput
from tuneladder.model.batching import (
    HANDS,
    MOST_TOKENS,
    SHORT,
    Calls,
    batches_of,
    counted,
    mean_of,
    one_begins_another,
    padded,
    running,
    still,
)
from tuneladder.model.constrained import Grammars
from tuneladder.model.lanes import Lanes, lanes_for, remembers
from tuneladder.model.odds import Odds, odds_of
from tuneladder.model.pieces import Piece, pieces_of
from tuneladder.model.rows import reading
from tuneladder.model.writing import Written, stream, write
from tuneladder.task.encode import TooLong
from tuneladder.task.pairs import PairCoder
from tuneladder.task.spans import MEAN, corrupted
from tuneladder.types import Decoding, Turns

MEMORY = 1 << 30


class SourceReader:
    """Sources that the encoder reads, and a decoder that answers them, with its cache: a `writing.Reader`. `lead` is what the
    decoder is begun with."""

    leave_at = 0.5

    def __init__(self, core: Any, lead: list[int]) -> None:
        self._core, self._lead = core, lead

    def begin(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        device = self._core.device
        ids_BT, self._mask_BT = (own.to(device) for own in padded(prompts))
        self._states_BTD = self._core.get_encoder()(input_ids=ids_BT, attention_mask=self._mask_BT).last_hidden_state
        self._cache: Any = None
        lead_BU = torch.tensor([self._lead] * len(prompts), device=device)
        rows, width = lead_BU.shape
        return self.further(lead_BU, torch.arange(1, rows + 1, device=device) * width - 1)

    def spread(self, samples: int) -> None:
        self._cache.batch_repeat_interleave(samples)
        self._mask_BT = self._mask_BT.repeat_interleave(samples, 0)
        self._states_BTD = self._states_BTD.repeat_interleave(samples, 0)

    def follow(self, tokens: Sequence[int]) -> torch.Tensor:
        ids_B1 = torch.tensor(tokens, device=self._core.device)[:, None]
        return self.further(ids_B1, torch.arange(len(tokens), device=self._core.device))

    def keep(self, order: Sequence[int]) -> None:
        places_B = torch.tensor(order, device=self._core.device)
        self._cache.batch_select_indices(places_B)
        self._mask_BT = self._mask_BT[places_B]
        self._states_BTD = self._states_BTD[places_B]

    def fork(self, order: Sequence[int]) -> SourceReader:
        """The rows of these places, some perhaps several times, to go on from without a trace in this one."""
        other = copy.copy(self)
        other._cache = copy.deepcopy(self._cache)
        other.keep(order)
        return other

    def further(self, ids_BU: torch.Tensor, index_n: torch.Tensor) -> torch.Tensor:
        """Logits (n, V) at the flattened places `index_n` of what the decoder reads next."""
        from transformers.modeling_outputs import BaseModelOutput

        with reading(self._core, index_n):
            out = self._core(
                encoder_outputs=BaseModelOutput(last_hidden_state=self._states_BTD),
                attention_mask=self._mask_BT,
                decoder_input_ids=ids_BU,
                past_key_values=self._cache,
                use_cache=True,
            )
        self._cache = out.past_key_values
        return out.logits.float()  # type: ignore[no-any-return]


class Seq2seqEngine:
    """Implements `types.Engine` and `types.Embedder` over a transformers seq2seq model, wrapped by PEFT or not.

    `memory` is the bytes its passes may use beside the weights.
    """

    def __init__(self, model: Any, coder: PairCoder, *, name: str, memory: int = MEMORY) -> None:
        from transformers import PreTrainedModel

        self.name = name
        self.coder = coder
        self.calls = Calls()
        self._model = model
        self._grammars = Grammars(coder.prompts)
        self._core = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
        config, device = self._core.config, self._core.device.type
        layers = int(getattr(config, "num_decoder_layers", None) or config.decoder_layers)
        # Of a pass without gradients there live at once the cache of the decoder's layers and a handful of one layer's tensors.
        cached = 4 * config.hidden_size * 2 * layers
        self._lanes = 1 if remembers(self._core) else lanes_for(device)
        self._tokens = max(
            256, min(MOST_TOKENS.get(device, 4096), memory // (2 * cached + 128 * config.hidden_size)) // self._lanes
        )
        self._rows = max(16, memory // (2 * 8 * config.vocab_size) // self._lanes)
        self._copied = max(256, memory // (2 * cached) // self._lanes)

    def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
        """`decoding.samples` answers to each ask, without the special tokens and stop strings that ended them.

        Greedy answers do not depend on what else is asked; sampled ones only on their ask, the seed and the sample's number.
        """
        sources = self._sources(asks)
        room = self.coder.context - len(self.coder.lead)
        wide = [(len(source) + min(decoding.max_new_tokens, room)) * decoding.samples for source in sources]
        texts: list[list[str]] = [[] for _ in asks]
        guide = self._grammars.of(decoding.schema)

        def one(batch: list[int]) -> tuple[list[list[Written]], int]:
            own = [sources[at] for at in batch]
            stops = [decoding.stop + self.coder.prompts.stops(asks[at]) for at in batch]
            lead = self.coder.lead
            reader = SourceReader(self._core, lead)
            return write(reader, self.coder.prompts, own, decoding, stops, [room] * len(own), said=[lead] * len(own), guide=guide)

        with self._running() as lanes:
            most = min(self._tokens * 2, -(-sum(wide) // lanes.count))
            batches = list(batches_of(wide, [decoding.samples] * len(sources), most, self._rows))
            for batch, (written, count) in zip(batches, lanes.map(one, batches), strict=True):
                for at, samples in zip(batch, written, strict=True):
                    texts[at] = [own.text for own in samples]
                self.calls.new_tokens += count
        return texts

    def stream(self, turns: Turns, decoding: Decoding) -> Iterator[str]:
        """The first of the texts that `generate` gives for this ask, in pieces as it is written."""
        [source] = self._sources([turns])
        lead = self.coder.lead
        stops = decoding.stop + self.coder.prompts.stops(turns)
        guide = self._grammars.of(decoding.schema)
        with still(self._model):
            reader = SourceReader(self._core, lead)
            room = self.coder.context - len(lead)
            pieces = stream(reader, self.coder.prompts, source, decoding, stops, room, said=lead, guide=guide)
            yield from counted(pieces, self.calls)

    def rendered(self, turns: Turns) -> str:
        """See `odds.Glass`, as for the next three."""
        return self.coder.prompts.render(turns)

    def cut(self, turns: Turns, decoding: Decoding) -> int:
        return self._encoded([turns])[0][1]

    def pieces(self, text: str) -> list[Piece]:
        return pieces_of(self.coder.tokenizer, self.coder.plain([text])[0])

    def odds(self, turns: Turns, decoding: Decoding, *, begun: str = "", most: int = 12) -> list[Odds]:
        [source] = self._sources([turns])
        lead = [*self.coder.lead, *(self.coder.plain([begun])[0] if begun else ())]
        with still(self._model), torch.no_grad():
            logits_BV = SourceReader(self._core, lead).begin([source])
        return odds_of(logits_BV[0], lead, decoding, self.coder.tokenizer, most)

    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        """Natural log-probability of each ending of each ask; the source is read once for all of them.

        Endings one of which begins another are closed by what ends an answer, all endings of that ask alike. Raises BadInput
        for an ending that does not fit in the context.
        """
        sources, groups = self._sources(asks), self._endings(endings)
        scores: list[list[float]] = [[] for _ in asks]

        def one(batch: list[int]) -> list[list[float]]:
            return self._ranked([sources[at] for at in batch], [groups[at] for at in batch])

        with self._running() as lanes:
            cut = self._cut([len(source) for source in sources], [1] * len(sources), lanes)
            for batch, found in zip(cut, lanes.map(one, cut), strict=True):
                for at, own in zip(batch, found, strict=True):
                    scores[at] = own
        self.calls.read_tokens += sum(max(0, len(ending) - 1) for group in groups for ending in group)
        return scores

    def sizes(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[int]]:
        """See `types.Sizer`."""
        return [[len(ending) for ending in group] for group in self._endings(endings)]

    def embed(self, asks: Sequence[Turns]) -> np.ndarray[Any, Any]:
        """(N, width) float32: the mean of the encoder's last layer over the tokens of each ask, rendered as for an answer."""
        sources = self._sources(asks)
        found = np.zeros((len(sources), self._core.config.hidden_size), np.float32)

        @torch.no_grad()
        def one(batch: list[int]) -> np.ndarray[Any, Any]:
            ids_BT, mask_BT = (own.to(self._core.device) for own in padded([sources[at] for at in batch]))
            states_BTD = self._core.get_encoder()(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
            return mean_of(states_BTD, mask_BT).cpu().numpy()

        with self._running() as lanes:
            cut = self._cut([len(source) for source in sources], [1] * len(sources), lanes)
            for batch, made in zip(cut, lanes.map(one, cut), strict=True):
                found[batch] = made
        return found

    def _encoded(self, asks: Sequence[Turns]) -> list[tuple[list[int], int]]:
        try:
            return self.coder.sources(asks)
        except TooLong as error:
            hint = "take a base with a longer context"
            raise BadInput(f"a prompt does not fit in the context of {self.coder.context} tokens: {error}", hint) from error

    def _sources(self, asks: Sequence[Turns]) -> list[list[int]]:
        found = self._encoded(asks)
        self.calls.prompts += len(found)
        self.calls.cut += sum(cut > 0 for _, cut in found)
        self.calls.read_tokens += sum(len(source) for source, _ in found)
        return [source for source, _ in found]

    def _endings(self, endings: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """Every ending of every ask in tokens, closed where its ask's endings need it."""
        different = list(dict.fromkeys(ending for own in endings for ending in own))
        known = dict(zip(different, self.coder.targets(different, close=False), strict=True)) if different else {}
        room = self.coder.context - len(self.coder.lead)
        groups = []
        for own in endings:
            group = [known[ending] for ending in own]
            if one_begins_another(group):
                group = [[*ending, *self.coder.closing] for ending in group]
            if (longest := max(map(len, group), default=0)) > room:
                message = f"an answer does not fit in the context of {self.coder.context} tokens: {longest}, of which {room} fit"
                raise BadInput(message, "shorten it")
            groups.append(group)
        return groups

    @torch.no_grad()
    def _ranked(self, sources: Sequence[list[int]], groups: Sequence[list[list[int]]]) -> list[list[float]]:
        """The first token of every ending is read off one step of the decoder, for all endings of an ask; what follows, off a
        copy of its cache for each ending."""
        device = self._core.device
        reader = SourceReader(self._core, self.coder.lead)
        first_AV = torch.log_softmax(reader.begin(sources), dim=-1)
        scores = [[0.0] * len(group) for group in groups]
        flat = [(ask, at, ending) for ask, group in enumerate(groups) for at, ending in enumerate(group) if ending]
        if not flat:
            return scores
        places = torch.tensor([(ask, ending[0]) for ask, _, ending in flat], device=device)
        for (ask, at, _), log in zip(flat, first_AV[places[:, 0], places[:, 1]].double().tolist(), strict=True):
            scores[ask][at] = log
        longer = [each for each in flat if len(each[2]) > 1]
        width = max(map(len, sources))
        sizes = [width + len(ending) for _, _, ending in longer]
        for chunk in batches_of(sizes, [len(ending) - 1 for _, _, ending in longer], self._copied, self._rows):
            own = [longer[at] for at in chunk]
            ids_BU, mask_BU = (each.to(device) for each in padded([ending[:-1] for _, _, ending in own]))
            places_n = mask_BU.flatten().nonzero().flatten()
            logits_nV = reader.fork([ask for ask, _, _ in own]).further(ids_BU, places_n)
            wanted_n = torch.tensor([token for _, _, ending in own for token in ending[1:]], device=device)
            logs_n = _logs_of(logits_nV, wanted_n)
            for (ask, at, _), logs in zip(own, torch.split(logs_n, [len(ending) - 1 for _, _, ending in own]), strict=True):
                scores[ask][at] += float(logs.sum())
        return scores

    def _cut(self, sizes: Sequence[int], rows: Sequence[int], lanes: Lanes) -> list[list[int]]:
        """Batches for the lanes to take as they come."""
        return list(batches_of(sizes, rows, min(self._tokens, -(-sum(sizes) // lanes.count)), self._rows))

    def _running(self) -> AbstractContextManager[Lanes]:
        return running(self._model, self.calls, self._lanes)


@dataclass(frozen=True)
class _Asked:
    """A text with a hand of its spans taken out: `places` of `target` hold its tokens; each counts `weight` times."""

    text: int
    weight: float
    source: list[int]
    target: list[int]
    places: list[int]


class SpanEngine(Seq2seqEngine):
    """A seq2seq model with sentinels, which can also read."""

    def read(self, texts: Sequence[str]) -> list[float]:
        """Natural log-probability of each text's tokens, each taken out once, in spans, while the rest is seen; of a text longer
        than SHORT tokens one hand of HANDS is taken out, and counted HANDS times. Which spans a hand takes depends on the text's
        length alone."""
        asked = [each for number, ids in enumerate(self.coder.plain(texts)) for each in self._asked(number, ids)]
        totals = [0.0] * len(texts)
        with self._running() as lanes:
            cut = self._cut([len(each.source) + len(each.target) for each in asked], [len(each.places) for each in asked], lanes)
            for batch, logs in zip(cut, lanes.map(lambda own: self._taken([asked[at] for at in own]), cut), strict=True):
                for at, log in zip(batch, logs, strict=True):
                    totals[asked[at].text] += asked[at].weight * log
        self.calls.prompts += len(texts)
        self.calls.read_tokens += sum(len(each.source) + len(each.target) for each in asked)
        return totals

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Of each text the tokens whose log-probabilities `read` adds up."""
        return [len(ids) for ids in self.coder.plain(texts)]

    def _asked(self, text: int, plain: list[int]) -> Iterator[_Asked]:
        """What is asked of one text, in windows of the context."""
        coder = self.coder
        before = [*coder.soft, *coder.opening]
        room = min(coder.context - len(before) - len(coder.closing), HANDS * MEAN * len(coder.sentinels))
        for start in range(0, len(plain), room):
            window = plain[start : start + room]
            hands = _hands(len(window))
            for spans in hands if len(plain) <= SHORT else hands[:1]:
                source, target, places = corrupted(window, spans, coder.sentinels)
                weight = 1.0 if len(plain) <= SHORT else len(window) / len(places)
                yield _Asked(text, weight, [*before, *source, *coder.closing], [*coder.opening, *target], places)

    @torch.no_grad()
    def _taken(self, batch: Sequence[_Asked]) -> list[float]:
        """The summed log-probability of each row's taken tokens; the head runs on their places only."""
        device, shift = self._core.device, len(self.coder.opening)
        ids_BT, mask_BT = (own.to(device) for own in padded([each.source for each in batch]))
        answers_BU, _ = padded([[self.coder.start, *each.target[:-1]] for each in batch])
        width = answers_BU.shape[1]
        index_n = torch.tensor([row * width + shift + place for row, each in enumerate(batch) for place in each.places])
        wanted_n = torch.tensor([each.target[shift + place] for each in batch for place in each.places], device=device)
        with reading(self._core, index_n.to(device)):
            logits_nV = self._core(
                input_ids=ids_BT, attention_mask=mask_BT, decoder_input_ids=answers_BU.to(device), use_cache=False
            ).logits
        logs_n = _logs_of(logits_nV.float(), wanted_n)
        return [float(own.sum()) for own in torch.split(logs_n, [len(each.places) for each in batch])]


def _logs_of(logits_nV: torch.Tensor, wanted_n: torch.Tensor) -> torch.Tensor:
    """(n,) float64 log-probabilities of the wanted tokens."""
    return -torch.nn.functional.cross_entropy(logits_nV, wanted_n, reduction="none").double()


def _hands(count: int) -> list[list[tuple[int, int]]]:
    """`count` tokens in spans of MEAN, dealt into at most HANDS hands by a seed that is fixed; neighbours in one hand are one."""
    spans = [(start, min(start + MEAN, count)) for start in range(0, count, MEAN)]
    order = np.random.default_rng([HANDS, count]).permutation(len(spans)).tolist()
    hands = []
    for hand in range(min(HANDS, len(spans))):
        joined: list[tuple[int, int]] = []
        for start, end in sorted(spans[at] for at in order[hand::HANDS]):
            if joined and joined[-1][1] == start:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((start, end))
        hands.append(joined)
    return hands
