"""What may come next, against the softmax written out and what is really drawn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from tuneladder.model.local import LocalEngine
from tuneladder.model.odds import Glass, odds_of
from tuneladder.model.seq2seq import Seq2seqEngine
from tuneladder.task.encode import Coder
from tuneladder.task.pairs import PairCoder
from tuneladder.types import Base, Decoding, Turn

ASK = (Turn("user", "The team won the final."),)


@pytest.fixture(scope="module")
def engine(tiny_folder: Path) -> LocalEngine:
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval()
    return LocalEngine(model, Coder(AutoTokenizer.from_pretrained(tiny_folder), 512), name="tiny")


def test_before_and_after_on_a_small_vocabulary(engine: LocalEngine) -> None:
    """Probabilities 0.5, 0.3, 0.15, 0.05: at temperature 1/2 squared, and each cut in turn."""
    logits = torch.tensor([0.05, 0.5, 0.15, 0.3]).log()

    def after(**settings: float) -> dict[int, float]:
        found = odds_of(logits, [1], Decoding(**settings), engine.coder.tokenizer, 4)  # type: ignore[arg-type]
        assert {own.piece.id: pytest.approx(own.before) for own in found} == {0: 0.05, 1: 0.5, 2: 0.15, 3: 0.3}
        return {own.piece.id: own.after for own in found}

    assert after(temperature=1.0) == pytest.approx({1: 0.5, 3: 0.3, 2: 0.15, 0: 0.05})
    assert after(temperature=0.5) == pytest.approx({1: 0.25 / 0.365, 3: 0.09 / 0.365, 2: 0.0225 / 0.365, 0: 0.0025 / 0.365})
    assert after(temperature=1.0, top_k=2) == pytest.approx({1: 0.625, 3: 0.375, 2: 0, 0: 0})
    assert after(temperature=1.0, top_p=0.81) == pytest.approx({1: 0.5 / 0.95, 3: 0.3 / 0.95, 2: 0.15 / 0.95, 0: 0})
    assert after() == {1: 1.0, 3: 0.0, 2: 0.0, 0: 0.0}
    assert after(repetition=4.0)[3] == 1.0  # the likeliest was said


def test_what_is_shown_is_what_is_drawn(engine: LocalEngine) -> None:
    """700 first tokens beside their odds: no token that is left out is drawn, and shares agree within four standard errors."""
    decoding = Decoding(max_new_tokens=1, temperature=1.5, top_k=6, repetition=1.3, samples=700)
    found = engine.odds(ASK, decoding, most=320)
    drawn = Counter(engine.generate([ASK], decoding)[0])
    tokenizer = engine.coder.tokenizer
    assert sum(own.after > 0 for own in found) == 6
    texts: Counter[str] = Counter()  # several tokens may read alike
    for own in found:
        if own.after:
            texts[tokenizer.decode([own.piece.id], skip_special_tokens=True).removeprefix(" ")] += own.after  # type: ignore[assignment]
    assert len(texts) > 2
    assert sum(own.after for own in found) == pytest.approx(1)
    assert set(drawn) <= set(texts)
    for text, share in texts.items():
        assert abs(drawn[text] / 700 - share) < 4 * (share * (1 - share) / 700) ** 0.5


def test_an_answer_that_is_begun_goes_on(engine: LocalEngine) -> None:
    written = engine.generate([ASK], Decoding(max_new_tokens=6))[0][0]
    ids = [engine.odds(ASK, Decoding(), most=1)[0].piece.id]
    assert engine.coder.tokenizer.decode(ids).removeprefix(" ")[:1] == written[:1]
    assert engine.odds(ASK, Decoding()) != engine.odds(ASK, Decoding(), begun="The heron")


def test_a_seq2seq_shows_what_its_decoder_may_write(tiny_seq2seq: Base) -> None:
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_seq2seq.location, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_seq2seq.location)
    coder = PairCoder(tokenizer, 128, start=model.config.decoder_start_token_id)
    engine = Seq2seqEngine(model, coder, name="tiny")
    assert isinstance(engine, Glass)
    [best] = engine.odds(ASK, Decoding(), most=1)
    [source] = [ids for ids, _ in coder.sources([ASK])]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([coder.lead])).logits[0, -1]
    assert best.piece.id == int(logits.argmax())
    assert best.before == pytest.approx(float(logits.softmax(-1).max()), rel=1e-4)
    assert engine.odds(ASK, Decoding()) != engine.odds(ASK, Decoding(), begun="sports")
    assert engine.cut(ASK, Decoding()) == 0
    assert engine.cut((Turn("user", "The team won. " * 99),), Decoding()) > 0
    assert "The team won the final." in engine.rendered(ASK)
