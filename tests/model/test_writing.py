"""A text that is streamed is the text that is generated, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from tuneladder.model.local import LocalEngine
from tuneladder.model.seq2seq import Seq2seqEngine
from tuneladder.model.writing import stream
from tuneladder.task.encode import Coder
from tuneladder.task.pairs import PairCoder
from tuneladder.types import Base, Decoding, Turn

ASK = (
    Turn("user", "Which of these fits the text?"),
    Turn("assistant", "sports"),
    Turn("user", "The market fell, 漢字 é, by three per cent."),
)
DECODINGS = {
    "greedy": Decoding(max_new_tokens=40),
    "sampled": Decoding(max_new_tokens=40, temperature=1.3, top_k=200, top_p=0.98, repetition=1.2, seed=3),
    "another seed": Decoding(max_new_tokens=40, temperature=1.3, seed=4),
    "stopped": Decoding(max_new_tokens=40, temperature=1.3, seed=3, stop=("e", "zq")),
    "short": Decoding(max_new_tokens=3),
}


class Scripted:
    """A `writing.Reader` that wants these tokens one after another."""

    leave_at = 1.0

    def __init__(self, tokens: list[int], size: int) -> None:
        self._tokens: Iterator[int] = iter(tokens)
        self._size = size

    def begin(self, prompts: Any) -> torch.Tensor:
        return self.follow([])

    def follow(self, tokens: Any) -> torch.Tensor:
        logits_BV = torch.zeros(1, self._size)
        logits_BV[0, next(self._tokens)] = 9.0
        return logits_BV

    def spread(self, samples: int) -> None: ...

    def keep(self, order: Any) -> None: ...


@pytest.fixture(scope="module")
def local(tiny_folder: Path) -> LocalEngine:
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval()
    return LocalEngine(model, Coder(AutoTokenizer.from_pretrained(tiny_folder), 512), name="tiny")


@pytest.mark.parametrize("decoding", DECODINGS.values(), ids=list(DECODINGS))
def test_streamed_pieces_join_to_what_is_generated(decoding: Decoding, local: LocalEngine) -> None:
    pieces = list(local.stream(ASK, decoding))
    assert "".join(pieces) == local.generate([ASK], decoding)[0][0]
    assert all(pieces)


def test_settings_and_seed_change_what_is_streamed(local: LocalEngine) -> None:
    assert len({"".join(local.stream(ASK, decoding)) for decoding in DECODINGS.values()}) == len(DECODINGS)


@pytest.mark.parametrize("name", ["gpt2", "mamba", "mixtral"])
def test_models_that_hold_nothing_stream_too(name: str, shaped: Callable[[str], Path]) -> None:
    folder = shaped(name)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    engine = LocalEngine(model, Coder(AutoTokenizer.from_pretrained(folder), 128), name=name)
    decoding = Decoding(max_new_tokens=12, temperature=1.0, seed=1)
    assert "".join(engine.stream(ASK, decoding)) == engine.generate([ASK], decoding)[0][0]


def test_a_row_that_filled_the_context_is_carried_along_without_harm(shaped: Callable[[str], Path]) -> None:
    folder = shaped("gpt2")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    context = model.config.n_positions
    coder = Coder(AutoTokenizer.from_pretrained(folder), context)
    engine = LocalEngine(model, coder, name="gpt2")
    word = " past"
    asks = [(Turn("user", word * count),) for count in (1, context // 4, context)]  # the last is cut to what the context holds
    decoding = Decoding(max_new_tokens=context // 2 + 10, temperature=1.0, seed=1)
    together = engine.generate(asks, decoding)
    assert len(coder.tokenizer(together[0][0])["input_ids"]) > context // 4
    assert together == [engine.generate([ask], decoding)[0] for ask in asks]


@pytest.mark.parametrize("decoding", DECODINGS.values(), ids=list(DECODINGS))
def test_a_seq2seq_streams(decoding: Decoding, tiny_seq2seq: Base) -> None:
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_seq2seq.location, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_seq2seq.location)
    coder = PairCoder(tokenizer, 128, start=model.config.decoder_start_token_id)
    engine = Seq2seqEngine(model, coder, name="tiny")
    assert "".join(engine.stream(ASK, decoding)) == engine.generate([ASK], decoding)[0][0]


def test_a_stream_that_is_left_leaves_the_model_as_it_was(local: LocalEngine) -> None:
    model: Any = local._model
    before = local.generate([ASK], DECODINGS["greedy"])
    attention, patched = model.config._attn_implementation, [m for m in model.modules() if "forward" in vars(m)]
    model.train()
    torch.set_grad_enabled(True)
    pieces = local.stream(ASK, DECODINGS["greedy"])
    next(pieces)
    assert torch.is_grad_enabled()
    assert model.config._attn_implementation != attention
    assert local.generate([ASK], DECODINGS["greedy"]) == before
    pieces.close()  # type: ignore[attr-defined]
    assert model.training
    assert model.config._attn_implementation == attention
    assert [m for m in model.modules() if "forward" in vars(m)] == patched
    model.eval()
    assert local.generate([ASK], DECODINGS["greedy"]) == before


def test_a_stream_is_counted_as_an_answer_is(local: LocalEngine) -> None:
    def spent(work: Callable[[], object]) -> tuple[int, ...]:
        before = (local.calls.prompts, local.calls.new_tokens, local.calls.read_tokens)
        work()
        after = (local.calls.prompts, local.calls.new_tokens, local.calls.read_tokens)
        return tuple(b - a for a, b in zip(before, after, strict=True))

    decoding = DECODINGS["sampled"]
    assert spent(lambda: list(local.stream(ASK, decoding))) == spent(lambda: local.generate([ASK], decoding))


def scripted(local: LocalEngine, ids: list[int], stops: tuple[str, ...] = ()) -> list[str]:
    reader = Scripted(ids, len(local.coder.tokenizer))
    decoding = Decoding(max_new_tokens=len(ids))
    return list(stream(reader, local.coder, [5], decoding, stops, 99))


def test_a_character_cut_between_tokens_is_given_whole(local: LocalEngine) -> None:
    ids = local.coder.tokenizer(" 漢é!")["input_ids"]
    assert len(ids) > 4  # bytes
    pieces = scripted(local, ids)
    assert "".join(pieces) == "漢é!"
    assert [piece for piece in pieces if piece] == ["漢", "é", "!"]
    broken = scripted(local, ids[:3])
    assert "".join(broken) == local.coder.tokenizer.decode(ids[:3]).removeprefix(" ")
    assert "�" in "".join(broken)


def test_how_a_stop_string_begins_is_held_back_until_it_is_none(local: LocalEngine) -> None:
    ids = [local.coder.tokenizer(letter)["input_ids"][0] for letter in " a\nb\n\nc"]
    assert scripted(local, ids, ("\n\n",)) == ["", "a", "", "\nb", "", ""]
    assert "".join(scripted(local, ids, ("\n\nz",))) == "a\nb\n\nc"
