"""The engine against the naive way: one text at a time, transformers' own generate."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from tuneladder.errors import BadInput
from tuneladder.model.local import LocalEngine
from tuneladder.model.rows import reading
from tuneladder.model.writing import sample
from tuneladder.task.encode import Coder
from tuneladder.types import Decoding, Turn, Turns

SHOTS = (
    Turn("user", "Which of these fits the text: politics, sports, business?\n\nThe team won the final."),
    Turn("assistant", "sports"),
    Turn("user", "The market fell three per cent."),
    Turn("assistant", "business"),
)
QUESTIONS = [
    "The vote would be held in May.",
    "A heron.",
    "She asked: where did my parcel go? Thank you, and have a good day!",
    "漢字 é",
]
LABELS = ["politics", "sports", "business", "sports and politics today"]


def asks_of(*, shots: bool) -> list[Turns]:
    return [(*(SHOTS if shots else ()), Turn("user", question)) for question in QUESTIONS]


def open_tiny(folder: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)


def tiny_gpt2(vocabulary: int) -> Any:
    torch.manual_seed(1)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=vocabulary, n_positions=512, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2)
    ).eval()


def tiny_mistral(vocabulary: int) -> Any:
    torch.manual_seed(2)
    config = MistralConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=24,
        max_position_embeddings=512,
        initializer_range=0.2,
    )
    return MistralForCausalLM(config).eval()


def with_lora(model: Any) -> Any:
    torch.manual_seed(3)
    return get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)).eval()


@pytest.fixture(params=["llama", "eager", "gpt2", "window", "lora"])
def engine(request: pytest.FixtureRequest, tiny_folder: Path) -> LocalEngine:
    model, tokenizer = open_tiny(tiny_folder)
    if request.param == "gpt2":
        model = tiny_gpt2(len(tokenizer))
    elif request.param == "window":
        model = tiny_mistral(len(tokenizer))
    elif request.param == "lora":
        model = with_lora(model)
    elif request.param == "eager":
        model.set_attn_implementation("eager")
    return LocalEngine(model, Coder(tokenizer, 512), name=request.param)


def naive(model: Any, ids: list[int], learn: list[bool]) -> float:
    with torch.no_grad():
        chances = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(chances[i - 1, ids[i]]) for i in range(1, len(ids)) if learn[i])


def naive_score(model: Any, coder: Coder, turns: Turns, endings: list[str], *, close: bool) -> list[float]:
    found = []
    for ending in endings:
        encoded = coder.encode(turns, ending, close=close)
        found.append(naive(model, encoded.ids, encoded.learn))
    return found


@pytest.mark.parametrize("shots", [False, True])
def test_scores_are_those_of_one_text_at_a_time(engine: LocalEngine, shots: bool) -> None:
    asks = asks_of(shots=shots)
    found = engine.score(asks, [LABELS] * len(asks))
    for turns, scores in zip(asks, found, strict=True):
        close = True  # "sports" begins "sports and politics today"
        assert scores == pytest.approx(naive_score(engine._model, engine.coder, turns, LABELS, close=close), abs=1e-4)
    assert engine._trees is (engine.name != "window")
    assert engine.calls.prompts == len(asks)


def test_a_shared_prefix_is_read_once(tiny_folder: Path) -> None:
    model, tokenizer = open_tiny(tiny_folder)
    coder = Coder(tokenizer, 512)
    engine = LocalEngine(model, coder, name="tiny")
    asks = asks_of(shots=True)
    engine.score(asks, [["a", "b"]] * 4)
    whole = sum(len(coder.encode(turns, "a", close=False).ids) for turns in asks)
    assert engine.calls.read_tokens < whole / 2


def test_endings_that_begin_no_other_are_left_open(tiny_folder: Path) -> None:
    model, tokenizer = open_tiny(tiny_folder)
    coder = Coder(tokenizer, 512)
    turns = asks_of(shots=False)[0]
    [found] = LocalEngine(model, coder, name="tiny").score([turns], [["politics", "sports"]])
    assert found == pytest.approx(naive_score(model, coder, turns, ["politics", "sports"], close=False), abs=1e-4)


def test_endings_may_differ_by_row_and_be_none(tiny_folder: Path) -> None:
    model, tokenizer = open_tiny(tiny_folder)
    coder = Coder(tokenizer, 512)
    asks = asks_of(shots=False)
    endings = [["yes", "no"], [], ["only one"], ["é", "漢字", "it"]]
    found = LocalEngine(model, coder, name="tiny").score(asks, endings)
    assert [len(scores) for scores in found] == [2, 0, 1, 3]
    for turns, options, scores in zip(asks, endings, found, strict=True):
        assert scores == pytest.approx(naive_score(model, coder, turns, options, close=False), abs=1e-4)


def test_long_prompts_are_cut_alike_for_all_endings(tiny_folder: Path) -> None:
    model, tokenizer = open_tiny(tiny_folder)
    coder = Coder(tokenizer, 64)
    turns = (Turn("user", "the river runs past the mill " * 40),)
    endings = ["no", "a very much longer answer"]
    [found] = LocalEngine(model, coder, name="tiny").score([turns], [endings])
    long = coder.encode(turns, endings[1], close=False)
    short = coder.encode(turns, endings[0], close=False, limit=64 - sum(long.learn) + 2)
    short = next(
        row
        for limit in range(64, 0, -1)
        if (row := coder.encode(turns, endings[0], close=False, limit=limit)).learn.index(True) == long.learn.index(True)
    )
    assert found == pytest.approx([naive(model, row.ids, row.learn) for row in (short, long)], abs=1e-4)


def test_an_ending_that_does_not_fit_is_bad_input(tiny_folder: Path) -> None:
    model, tokenizer = open_tiny(tiny_folder)
    with pytest.raises(BadInput, match="does not fit in the context of 32 tokens"):
        LocalEngine(model, Coder(tokenizer, 32), name="tiny").score([(Turn("user", "hi"),)], [["x" * 50_000, "y"]])


@pytest.mark.parametrize("repetition", [1.0, 1.3])
def test_greedy_is_transformers_own_and_no_neighbour_matters(engine: LocalEngine, repetition: float) -> None:
    asks = [*asks_of(shots=False), *asks_of(shots=True)]
    decoding = Decoding(max_new_tokens=12, repetition=repetition)
    together = engine.generate(asks, decoding)
    for turns, found in zip(asks, together, strict=True):
        ids = torch.tensor([engine.coder.encode(turns).ids])
        out = engine._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            repetition_penalty=repetition,
            eos_token_id=list(engine.coder.stop_ids),
            pad_token_id=engine.coder.stop_ids[0],
        )
        text = engine.coder.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).removeprefix(" ")
        for stop in engine.coder.stops(turns):
            text = text.partition(stop)[0]
        assert found == [text]
        assert engine.generate([turns], decoding) == [found]


def test_stop_strings_end_an_answer_and_are_left_out(tiny_folder: Path) -> None:
    model, tokenizer = open_tiny(tiny_folder)
    engine = LocalEngine(model, Coder(tokenizer, 512), name="tiny")
    turns = asks_of(shots=False)[0]
    [[whole]] = engine.generate([turns], Decoding(max_new_tokens=20))
    stop = whole[len(whole) // 2 :][:2]
    engine.calls.new_tokens = 0
    [[found]] = engine.generate([turns], Decoding(max_new_tokens=20, stop=(stop,)))
    assert found == whole.partition(stop)[0]
    assert engine.calls.new_tokens < 20


def test_samples_differ_and_depend_on_seed_and_ask_alone(tiny_folder: Path) -> None:
    model, tokenizer = open_tiny(tiny_folder)
    engine = LocalEngine(model, Coder(tokenizer, 512), name="tiny")
    asks = asks_of(shots=False)
    decoding = Decoding(max_new_tokens=8, temperature=1.0, samples=3, seed=5)
    found = engine.generate(asks, decoding)
    assert all(len(set(samples)) > 1 for samples in found)
    assert engine.generate(asks, decoding) == found
    assert engine.generate(asks[2:3], decoding) == found[2:3]
    assert engine.generate(asks, Decoding(max_new_tokens=8, temperature=1.0, samples=3, seed=6)) != found
    greedy = engine.generate(asks, Decoding(max_new_tokens=8, samples=3))
    assert all(len(samples) == 3 and len(set(samples)) == 1 for samples in greedy)


def test_sampling_follows_the_distribution_and_its_filters() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    draws = (torch.arange(1000) + 0.5) / 1000
    rows = logits.expand(1000, -1)
    counts = torch.bincount(sample(rows, draws, temperature=1.0), minlength=4)
    assert counts.tolist() == [500, 300, 150, 50]
    assert torch.bincount(sample(rows, draws, temperature=1.0, top_k=2), minlength=4).tolist() == [625, 375, 0, 0]
    assert torch.bincount(sample(rows, draws, temperature=1.0, top_p=0.6), minlength=4).tolist() == [625, 375, 0, 0]
    assert torch.bincount(sample(rows, draws, temperature=1.0, top_p=0.5), minlength=4).tolist() == [1000, 0, 0, 0]
    sharp = torch.bincount(sample(rows, draws, temperature=0.5), minlength=4) / 1000
    assert sharp.tolist() == pytest.approx([0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365], abs=2e-3)


def test_writing_never_leaves_the_context(tiny_folder: Path) -> None:
    model, tokenizer = open_tiny(tiny_folder)
    coder = Coder(tokenizer, 48)
    engine = LocalEngine(model, coder, name="tiny")
    long = (Turn("user", "the river runs past the mill " * 40),)
    engine.generate([long], Decoding(max_new_tokens=40))
    assert engine.calls.read_tokens + engine.calls.new_tokens <= 48


def test_read_is_the_log_probability_of_the_whole_text(engine: LocalEngine) -> None:
    texts = ["The river runs past the mill.", "", "x", "漢字 and é", "<|end|> is only text here"]
    found = engine.read(texts)
    for text, score, length in zip(texts, found, engine.lengths(texts), strict=True):
        ids = [engine.coder.tokenizer.eos_token_id, *engine.coder.encode((), text, close=False).ids]
        assert score == pytest.approx(naive(engine._model, ids, [True] * len(ids)), abs=1e-4)
        assert length == len(ids) - 1


def test_endings_with_nothing_before_them_are_read_as_whole_texts(engine: LocalEngine) -> None:
    endings = ["The market fell.", "A heron.", "yes"]
    found = engine.score([(), ()], [endings[:2], endings[1:]])
    read = engine.read(endings)
    assert [*found[0], found[1][1]] == pytest.approx(read, abs=1e-3)
    assert found[1][0] == pytest.approx(read[1], abs=1e-3)


def test_long_texts_are_read_in_windows_each_token_once(tiny_folder: Path) -> None:
    model, tokenizer = open_tiny(tiny_folder)
    coder = Coder(tokenizer, 16)
    ids = [tokenizer.eos_token_id, *Coder(tokenizer, 512).encode((), "the river runs past the mill " * 4, close=False).ids]
    expected = naive(model, ids[:16], [True] * 16)
    for start in range(16, len(ids), 8):
        end = min(start + 8, len(ids))
        window = ids[end - 16 : end]
        expected += naive(model, window, [False] * (16 - (end - start)) + [True] * (end - start))
    [found] = LocalEngine(model, coder, name="tiny").read(["the river runs past the mill " * 4])
    assert found == pytest.approx(expected, abs=1e-4)


def test_the_head_is_read_only_where_asked(tiny_folder: Path) -> None:
    model, _ = open_tiny(tiny_folder)
    for wrapped in (model, with_lora(model)):
        ids = torch.randint(0, 300, (3, 7))
        with torch.no_grad():
            whole = wrapped(input_ids=ids).logits.reshape(21, -1)
            with reading(wrapped, torch.tensor([20, 0, 9])):
                some = wrapped(input_ids=ids).logits
            after = wrapped(input_ids=ids).logits
        assert torch.allclose(some, whole[[20, 0, 9]], atol=1e-6)
        assert torch.equal(after.reshape(21, -1), whole)


def test_the_engine_leaves_the_model_as_it_was(tiny_folder: Path) -> None:
    model, tokenizer = open_tiny(tiny_folder)
    model.train()
    model.model.layers[0].eval()
    modes = {name: module.training for name, module in model.named_modules()}
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    engine = LocalEngine(model, Coder(tokenizer, 512), name="tiny")
    engine.score(asks_of(shots=True), [LABELS] * 4)
    engine.generate(asks_of(shots=True), Decoding(max_new_tokens=4))
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert not model.lm_head._forward_pre_hooks
    assert torch.is_grad_enabled()


def test_bfloat16_ranks_nearly_alike(tiny_folder: Path) -> None:
    model, tokenizer = open_tiny(tiny_folder)
    exact = LocalEngine(model, Coder(tokenizer, 512), name="tiny").score(asks_of(shots=True), [LABELS] * 4)
    half, _ = open_tiny(tiny_folder)
    engine = LocalEngine(half.to(torch.bfloat16), Coder(tokenizer, 512), name="tiny")
    found = engine.score(asks_of(shots=True), [LABELS] * 4)
    assert engine._trees
    for a, b in zip(found, exact, strict=True):
        assert a == pytest.approx(b, rel=0.05)


def test_little_memory_makes_smaller_batches_of_the_same_scores(tiny_folder: Path) -> None:
    model, tokenizer = open_tiny(tiny_folder)
    asks = [(Turn("user", f"The vote number {n} would be held in May. " * (n % 7 + 1)),) for n in range(40)]
    coder = Coder(tokenizer, 512)
    wide = LocalEngine(model, coder, name="tiny").score(asks, [LABELS] * 40)
    narrow = LocalEngine(model, coder, name="tiny", memory=1).score(asks, [LABELS] * 40)
    assert [x for row in wide for x in row] == pytest.approx([x for row in narrow for x in row], abs=1e-4)


def test_a_hundred_items_of_a_10m_model_take_seconds(tiny_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=288,
        intermediate_size=768,
        num_hidden_layers=7,
        num_attention_heads=6,
        num_key_value_heads=3,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    engine = LocalEngine(LlamaForCausalLM(config).eval(), Coder(tokenizer, 512), name="10M")
    asks = [(Turn("user", f"{n} team won the final by two goals, and the market fell three per cent."[:72]),) for n in range(100)]
    begun = time.process_time()
    engine.score(asks, [["politics", "sports", "business", "technology"]] * 100)
    assert time.process_time() - begun < 15  # about 1.5 s on an idle core; shared ones are slower


def test_the_real_checkpoint(shared: Path) -> None:
    folder = shared / "models" / "stories260K"
    model, tokenizer = open_tiny(folder)
    coder = Coder(tokenizer, 512)
    engine = LocalEngine(model, coder, name="stories260K")
    [score] = engine.read(["Once upon a time, there was a little girl named Lily."])
    assert -score / math.log(2) / 53 < 1.5
    asks = asks_of(shots=True)
    for turns, scores in zip(asks, engine.score(asks, [LABELS] * 4), strict=True):
        assert scores == pytest.approx(naive_score(model, coder, turns, LABELS, close=True), abs=1e-4)
    ids = torch.tensor([coder.encode((Turn("user", "Once upon a time"),)).ids])
    out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=30, do_sample=False, pad_token_id=2)
    [[text]] = engine.generate([(Turn("user", "Once upon a time"),)], Decoding(max_new_tokens=30))
    assert text == tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).removeprefix(" ")
