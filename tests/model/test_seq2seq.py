"""The seq2seq engine beside plain transformers: the same tokens, the same log-probabilities, whatever stands beside a row."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, BartConfig, T5Config

from tuneladder.errors import BadInput
from tuneladder.evaluate.text import Reader
from tuneladder.ladder.tree import root_of
from tuneladder.model import seq2seq
from tuneladder.model.attach import attach_lora, linear_targets
from tuneladder.model.inspect import inspect
from tuneladder.model.lanes import draws
from tuneladder.model.shelf import Shelf, open_tokenizer
from tuneladder.task.spans import corrupted
from tuneladder.types import Decoding, Embedder, Turn

TEXTS = (
    "My parcel is late",
    "Hi",
    "The river runs past the mill and under the stone bridge. A heron stands in the shallows and waits.",
    "I was charged twice for the same order; please refund me.",
)
ASKS = [(Turn("system", "Which desk?"), Turn("user", text)) for text in TEXTS]
ENDINGS = [("a", "ab", "sports and"), ("x",), ("parcels", "money", "parcels late"), ("m", "money")]


def lively(model):
    """Random weights answer with one token over and over: these are drawn wider."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(0, 0.5)
    return model.eval()


@pytest.fixture(scope="module", params=["t5", "bart"])
def root(request, tiny_seq2seq, tiny_task, tmp_path_factory):
    """A T5 of a shape, and a BART with the same tokenizer: learned positions, another start, stacks of unlike height."""
    folder, tokenizer = tmp_path_factory.mktemp(request.param), open_tokenizer(tiny_seq2seq)
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_seq2seq.location)
    if request.param == "bart":
        small = {"encoder_layers": 2, "decoder_layers": 3, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
        heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 128, "d_model": 32}
        ids = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": 1, "decoder_start_token_id": 0, "forced_eos_token_id": None}
        model = AutoModelForSeq2SeqLM.from_config(BartConfig(vocab_size=len(tokenizer), **small, **heads, **ids))
    lively(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return root_of(inspect(str(folder)), tiny_task)


@pytest.fixture(scope="module")
def shelf():
    return Shelf("cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def plain(root):
    return AutoModelForSeq2SeqLM.from_pretrained(root.base.location, dtype=torch.float32).eval()


def test_greedy_text_is_that_of_plain_transformers(shelf, root, plain):
    with shelf.engine(root) as engine:
        ours = engine.generate(ASKS, Decoding(max_new_tokens=12))
        alone = [engine.generate([ask], Decoding(max_new_tokens=12))[0] for ask in ASKS]
        sources = engine.coder.sources(ASKS)
        tokenizer = engine.coder.tokenizer
    assert ours == alone
    for (source, _), (text,) in zip(sources, ours, strict=True):
        out = plain.generate(torch.tensor([source]), max_new_tokens=12, do_sample=False)
        assert text == tokenizer.decode(out[0], skip_special_tokens=True).removeprefix(" ")
    assert len({text for (text,) in ours}) > 1


def test_the_penalty_on_repetition_is_that_of_plain_transformers(shelf, root, plain):
    with shelf.engine(root) as engine:
        ours = engine.generate(ASKS[:2], Decoding(max_new_tokens=8, repetition=1.7))
        for (source, _), (text,) in zip(engine.coder.sources(ASKS[:2]), ours, strict=True):
            out = plain.generate(torch.tensor([source]), max_new_tokens=8, do_sample=False, repetition_penalty=1.7)
            assert text == engine.coder.tokenizer.decode(out[0], skip_special_tokens=True).removeprefix(" ")


def test_samples_depend_on_their_ask_and_seed_alone(shelf, root):
    decoding = Decoding(max_new_tokens=6, temperature=1.0, samples=3, seed=4)
    with shelf.engine(root) as engine:
        together, alone = engine.generate(ASKS, decoding), [engine.generate([ask], decoding)[0] for ask in ASKS]
        other = engine.generate(ASKS, replace(decoding, seed=5))
    assert together == alone
    assert together != other
    assert all(len(set(own)) > 1 for own in together)


def test_scores_are_those_of_plain_transformers(shelf, root, plain, monkeypatch):
    calls, true = [], seq2seq.SourceReader.begin

    def counted(self, own):
        calls.append(len(own))
        return true(self, own)

    monkeypatch.setattr(seq2seq.SourceReader, "begin", counted)
    with shelf.engine(root) as engine:
        found = engine.score(ASKS, ENDINGS)
        assert sum(calls) == len(ASKS)  # each source was read once, however many endings it has
        alone = [engine.score([ask], [own])[0] for ask, own in zip(ASKS, ENDINGS, strict=True)]
        coder = engine.coder
        for ask, own, scores, other in zip(ASKS, ENDINGS, found, alone, strict=True):
            closed = len(own) > 1  # of these one begins another in every ask
            source = torch.tensor([coder.sources([ask])[0][0]])
            for ending, score, again in zip(own, scores, other, strict=True):
                labels = torch.tensor(coder.targets([ending], close=closed))
                with torch.no_grad():
                    expected = -float(plain(input_ids=source, labels=labels).loss) * labels.numel()
                assert score == pytest.approx(expected, rel=1e-4)
                assert again == pytest.approx(score, rel=1e-4)


def test_many_endings_are_ranked_in_small_copies_as_in_one(shelf, root, monkeypatch):
    many = [tuple(f"{word}{number}" for number in range(12) for word in ("mill ", "a")) for _ in ASKS]
    with shelf.engine(root) as engine:
        whole = engine.score(ASKS, many)
        monkeypatch.setattr(engine, "_copied", 64)
        pieces = engine.score(ASKS, many)
    assert np.allclose(whole, pieces, rtol=1e-5)


def test_the_embedding_is_the_mean_of_the_encoder(shelf, root, plain):
    with shelf.engine(root) as engine:
        assert isinstance(engine, Embedder)
        found = engine.embed(ASKS)
        for row, (source, _) in zip(found, engine.coder.sources(ASKS), strict=True):
            with torch.no_grad():
                own = plain.get_encoder()(input_ids=torch.tensor([source])).last_hidden_state[0].mean(0)
            assert np.allclose(row, own.numpy(), atol=1e-5)


def test_reading_takes_each_token_out_once(shelf, root, plain, monkeypatch):
    text = TEXTS[0]
    with shelf.engine(root) as engine:
        assert isinstance(engine, Reader)
        (ids,) = engine.coder.plain([text])
        total, taken = 0.0, []
        for spans in seq2seq._hands(len(ids)):
            source, target, places = corrupted(ids, spans, engine.coder.sentinels)
            with torch.no_grad():
                labels = torch.tensor([target])
                logits = plain(input_ids=torch.tensor([[*source, *engine.coder.closing]]), labels=labels).logits[0]
            logs = torch.log_softmax(logits, -1)
            total += sum(float(logs[place, target[place]]) for place in places)
            taken += [target[place] for place in places]
        assert sorted(taken) == sorted(ids)
        assert engine.read([text, ""]) == pytest.approx([total, 0.0], rel=1e-4)
        assert engine.lengths([text, ""]) == [len(ids), 0]
        long = " ".join(TEXTS) * 6
        (sampled,) = engine.read([long])
        monkeypatch.setattr(seq2seq, "SHORT", 10**6)
        assert sampled == pytest.approx(engine.read([long])[0], rel=0.15)


def test_hands_are_dealt_evenly():
    for count in (1, 2, 7, 60, 500):
        hands = seq2seq._hands(count)
        assert sorted(place for spans in hands for start, end in spans for place in range(start, end)) == list(range(count))
        assert all(a[1] < b[0] for spans in hands for a, b in pairwise(spans))  # neighbours were joined
    assert len(seq2seq._hands(60)) == 7


def test_without_sentinels_it_cannot_read(shelf, root, monkeypatch):
    monkeypatch.setattr("tuneladder.task.pairs.SENTINEL", "<span_{}>")
    with shelf.engine(root) as engine:
        assert not isinstance(engine, Reader)


def test_an_ending_too_long_for_the_context_is_refused(shelf, root):
    with shelf.engine(root) as engine, pytest.raises(BadInput, match="does not fit in the context of 128 tokens"):
        engine.score(ASKS[:1], [("a", "b " * 200)])


def test_lora_goes_on_both_stacks(shelf, root):
    with shelf.live(root) as live:
        assert not draws(live.model) or live.model.config.model_type == "bart"  # BART has dropout, a shape has none
        every, attention = linear_targets(live.model, "all"), linear_targets(live.model, "attention")
        assert set(attention) < set(every)
        if live.model.config.model_type == "t5":
            assert (every, attention) == (["k", "o", "q", "v", "wi_0", "wi_1", "wo"], ["k", "o", "q", "v"])
        tuned = attach_lora(live.model, r=2, alpha=4, dropout=0.0, targets=attention, seed=0)
        taught = {name.rpartition(".lora_")[0] for name, weight in tuned.named_parameters() if weight.requires_grad}
        layers = root.base.layers + 2 * root.base.settings["decoder_layers"]  # a decoder's attend to the source too
        assert len(taught) == 4 * layers
        assert tuned.peft_config["default"].task_type == "SEQ_2_SEQ_LM"


def test_the_first_t5_is_found_too():
    first = T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4, feed_forward_proj="relu")
    assert linear_targets(AutoModelForSeq2SeqLM.from_config(first), "all") == ["k", "o", "q", "v", "wi", "wo"]
