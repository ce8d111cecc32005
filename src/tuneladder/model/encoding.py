"""The engines of encoders: texts become vectors, labels, sets of labels, tags of words and, where the checkpoint has the head of
its pretraining, a loss.

Texts are sorted by length and batched under a budget of tokens, as the decoder's are; they are padded on the right under an
attention mask, so that an answer does not depend on what stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from tuneladder.errors import Refused
from tuneladder.model.batching import (
    HANDS,
    MOST_TOKENS,
    SHORT,
    Calls,
    batches_of,
    kinds_of,
    label_places,
    mean_of,
    padded,
    running,
    unit,
)
from tuneladder.model.lanes import Lanes, lanes_for
from tuneladder.model.pieces import Piece, pieces_of
from tuneladder.model.rows import reading
from tuneladder.task.encode import Encoded
from tuneladder.task.multi_label import likely
from tuneladder.task.passages import TextCoder, said
from tuneladder.task.tagging import OUTSIDE, words_of
from tuneladder.types import Decoding, Turns

# What a cosine is divided by before it is a score among labels; it orders nothing anew, and only shapes the confidence.
TEMPERATURE = 0.05


Inputs = dict[str, torch.Tensor]


class _Read(Protocol):
    @property
    def ids(self) -> list[int]: ...


class EncoderEngine:
    """Implements `types.Engine` and `types.Embedder` over a transformers encoder, wrapped by PEFT or not.

    `labels` are those of the model's classification head; without one, labels are ranked by how near their own words lie to the
    text (cosine), which is what an untouched encoder can say of them. `sets` are those of a head that gives a text each label for
    itself, `tags` those of one that tags words.
    """

    def __init__(
        self,
        model: Any,
        coder: TextCoder,
        *,
        name: str,
        labels: Sequence[str] | None = None,
        sets: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
    ) -> None:
        from transformers import PreTrainedModel

        self.name = name
        self.coder = coder
        self.calls = Calls()
        self._labels = None if labels is None else list(labels)
        self._sets = None if sets is None else list(sets)
        self._tags = None if tags is None else list(tags)
        self._model = model
        self._core = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
        self._device = self._core.device

    def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
        """The tags of each ask's words with blanks between, from a head that tags; a word that the tokenizer drops is outside. From
        a head of several labels the set of those that are likelier than not: their logit is above 0."""
        if self._sets is not None:
            chosen = [likely(row.tolist(), self._sets) for row in self._headed(asks, lambda logits_BK: logits_BK)]
            return [[text] * decoding.samples for text in chosen]
        if self._tags is not None:
            return [[" ".join(tags)] * decoding.samples for tags in self._tagged([said(ask) for ask in asks], self._tags)]
        raise Refused(f"{self.name} reads and writes no text", "rank labels (kind: classify), or take a decoder")

    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        """Natural log-probability of each ending: the head's, or among the endings the softmax of cosines over TEMPERATURE.

        Raises BadInput for an ending that the head has no label for.
        """
        if self._labels is not None:
            place = label_places(self._labels, endings)
            rows = self._headed(asks, lambda logits_BK: torch.log_softmax(logits_BK, dim=-1))
            return [[float(row[place[ending]]) for ending in own] for row, own in zip(rows, endings, strict=True)]
        words = list(dict.fromkeys(ending for own in endings for ending in own))
        texts = [said(ask) for ask in asks]
        found = unit(self._embedded([*texts, *words]))
        where = {word: found[len(texts) + at] for at, word in enumerate(words)}
        scores = []
        for vector, own in zip(found[: len(texts)], endings, strict=True):
            cosines = torch.tensor([float(vector @ where[ending]) for ending in own])
            scores.append(torch.log_softmax(cosines / TEMPERATURE, dim=-1).tolist())
        return scores

    def embed(self, asks: Sequence[Turns]) -> np.ndarray[Any, Any]:
        """(N, width) float32: the mean of the last layer over a text's tokens, its marks included."""
        return self._embedded([said(ask) for ask in asks])

    def states(self, texts: Sequence[str], layer: int) -> list[np.ndarray[Any, Any]]:
        """What the encoder's layer of that number, from 1, makes of each text's tokens, its marks included: (T, width) float32."""

        def of_layer(inputs: Inputs) -> torch.Tensor:
            return self._core.base_model(**inputs, output_hidden_states=True).hidden_states[layer]  # type: ignore[no-any-return]

        rows = self._encode(texts)
        return [own[: len(row.ids)] for row, own in zip(rows, self._pass(rows, of_layer), strict=True)]

    def pieces(self, text: str) -> list[Piece]:
        """See `pieces.Cuts`: of a pair, with the mark between its parts."""
        return pieces_of(self.coder.tokenizer, self.coder.encode_plain([text])[0])

    def _embedded(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        def mean(inputs: Inputs) -> torch.Tensor:
            return mean_of(self._core.base_model(**inputs).last_hidden_state, inputs["attention_mask"])

        rows = self._encode(texts)
        return np.stack(self._pass(rows, mean)) if rows else np.zeros((0, self._core.config.hidden_size), np.float32)

    def _headed(self, asks: Sequence[Turns], of: Callable[[torch.Tensor], torch.Tensor]) -> list[np.ndarray[Any, Any]]:
        """What `of` makes of the head's logits of each ask, (K,) of K labels."""
        return self._pass(self._encode([said(ask) for ask in asks]), lambda inputs: of(self._model(**inputs).logits.float()))

    def _tagged(self, texts: Sequence[str], tags: Sequence[str]) -> list[list[str]]:
        def likeliest(inputs: Inputs) -> torch.Tensor:
            return self._model(**inputs).logits.argmax(-1)  # type: ignore[no-any-return]

        found = [[OUTSIDE] * len(words_of(text)) for text in texts]
        windows = [(text, window) for text, own in enumerate(self.coder.encode_words(texts)) for window in own]
        for (text, window), best_T in zip(windows, self._pass([window for _, window in windows], likeliest), strict=True):
            for word, place in zip(window.words, window.places, strict=True):
                found[text][word] = tags[int(best_T[place])]
        self.calls.prompts += len(texts)
        return found

    def _encode(self, texts: Sequence[str]) -> list[Encoded]:
        rows = self.coder.encode_many(texts)
        self.calls.prompts += len(rows)
        self.calls.cut += sum(row.cut > 0 for row in rows)
        return rows

    def _inputs(self, rows: Sequence[_Read]) -> Inputs:
        """What the model reads of a batch, each (B, T)."""
        ids_BT, mask_BT = padded([row.ids for row in rows])
        found = {"input_ids": ids_BT, "attention_mask": mask_BT}
        if self.coder.divider is not None:
            found["token_type_ids"] = kinds_of(ids_BT, self.coder.divider)
        return {name: value.to(self._device) for name, value in found.items()}

    def _pass(self, rows: Sequence[_Read], run: Callable[[Inputs], torch.Tensor]) -> list[np.ndarray[Any, Any]]:
        """What `run` makes of each row, in order; `run` sees what the model reads of a batch."""

        def one(batch: list[int]) -> np.ndarray[Any, Any]:
            with torch.no_grad():
                return run(self._inputs([rows[at] for at in batch])).float().cpu().numpy()

        found: list[Any] = [None] * len(rows)
        with self._running(self._model) as lanes:
            cut = self._cut([len(row.ids) for row in rows], [1] * len(rows), lanes)
            for batch, made in zip(cut, lanes.map(one, cut), strict=True):
                for at, own in zip(batch, made, strict=True):
                    found[at] = own
        self.calls.read_tokens += sum(len(row.ids) for row in rows)
        return found

    def _cut(self, sizes: Sequence[int], rows: Sequence[int], lanes: Lanes) -> list[list[int]]:
        """Batches for the lanes to take as they come."""
        tokens = MOST_TOKENS.get(self._device.type, 4096) // lanes.count
        return list(batches_of(sizes, rows, min(tokens, -(-sum(sizes) // lanes.count)), tokens))

    def _running(self, model: Any) -> AbstractContextManager[Lanes]:
        return running(model, self.calls, lanes_for(self._device.type))


@dataclass(frozen=True)
class _Asked:
    """A text with a hand of its tokens hidden: `places` (of `ids`) whose `tokens` are looked for; each counts `weight` times."""

    text: int
    weight: float
    ids: list[int]
    places: list[int]
    tokens: list[int]


class MaskedEngine(EncoderEngine):
    """An encoder that can also read: `masked` makes the model with the head of its pretraining, once, when it is first asked."""

    def __init__(
        self,
        model: Any,
        coder: TextCoder,
        *,
        name: str,
        masked: Callable[[], Any],
        labels: Sequence[str] | None = None,
        sets: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
    ) -> None:
        super().__init__(model, coder, name=name, labels=labels, sets=sets, tags=tags)
        self._make = masked
        self._masked: Any = None

    def read(self, texts: Sequence[str]) -> list[float]:
        """Natural log-probability of each text's tokens, each hidden once while the rest is seen; of a text longer than SHORT
        tokens one hand of HANDS is hidden, and counted HANDS times. Which tokens a hand hides depends on the text's length alone.
        """
        if self._masked is None:
            self._masked = self._make()
        asked = [each for number, ids in enumerate(self.coder.encode_plain(texts)) for each in self._asked(number, ids)]
        totals = [0.0] * len(texts)
        with self._running(self._masked) as lanes:
            cut = self._cut([len(each.ids) for each in asked], [len(each.places) for each in asked], lanes)
            for batch, logs in zip(cut, lanes.map(lambda own: self._hidden([asked[at] for at in own]), cut), strict=True):
                for at, log in zip(batch, logs, strict=True):
                    totals[asked[at].text] += asked[at].weight * log
        self.calls.prompts += len(texts)
        self.calls.read_tokens += sum(len(each.ids) for each in asked)
        return totals

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Of each text the tokens whose log-probabilities `read` adds up."""
        return [len(ids) for ids in self.coder.encode_plain(texts)]

    def _asked(self, text: int, plain: list[int]) -> Iterator[_Asked]:
        """What is asked of one text, in windows of the context."""
        assert self.coder.mask is not None
        before, after = self.coder.opening, self.coder.closing
        room = self.coder.context - len(before) - len(after)
        for start in range(0, len(plain), room):
            window = plain[start : start + room]
            ids = [*before, *window, *after]
            hands = _hands(len(before), len(window))
            for hand in hands if len(plain) <= SHORT else hands[:1]:
                hidden = list(ids)
                for place in hand:
                    hidden[place] = self.coder.mask
                weight = 1.0 if len(plain) <= SHORT else len(window) / len(hand)
                yield _Asked(text, weight, hidden, hand, [ids[place] for place in hand])

    @torch.no_grad()
    def _hidden(self, batch: Sequence[_Asked]) -> list[float]:
        """The summed log-probability of each row's hidden tokens; the head runs on their places only."""
        inputs = self._inputs(batch)
        width = inputs["input_ids"].shape[1]
        index_n = torch.tensor([row * width + place for row, each in enumerate(batch) for place in each.places])
        tokens_n = torch.tensor([token for each in batch for token in each.tokens], device=self._device)
        with reading(self._masked, index_n.to(self._device)):
            logits_nV = self._masked(**inputs).logits.float()
        logs_n = -functional.cross_entropy(logits_nV, tokens_n, reduction="none").double()
        return [float(own.sum()) for own in torch.split(logs_n, [len(each.places) for each in batch])]


def _hands(start: int, count: int) -> list[list[int]]:
    """`count` places from `start` on dealt into at most HANDS hands, shuffled by a seed that is fixed."""
    order = (start + np.random.default_rng([HANDS, count]).permutation(count)).tolist()
    return [sorted(order[hand::HANDS]) for hand in range(min(HANDS, count))]
