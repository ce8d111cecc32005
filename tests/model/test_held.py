"""Keys and values held in place: the same answers as from the model's own cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.model.test_local import LABELS, asks_of, tiny_gpt2, tiny_mistral, with_lora
from transformers import AutoModelForCausalLM, AutoTokenizer

from tuneladder.errors import BadInput
from tuneladder.model import held
from tuneladder.model.batching import side_by_side
from tuneladder.model.local import LocalEngine
from tuneladder.model.rows import reading
from tuneladder.model.writing import _without_ended
from tuneladder.task.encode import Coder
from tuneladder.types import Decoding, Turn


def open_tiny(folder: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)


def test_what_attends_to_everything_can_hold(tiny_folder: Path) -> None:
    model, _ = open_tiny(tiny_folder)
    # 2 layers, keys and values, 2 heads of 8, 4 bytes
    assert held.trial(model, model) == 2 * 2 * 2 * 8 * 4
    other = tiny_gpt2(320)
    assert held.trial(other, other) == 2 * 2 * 32 * 4
    tuned = with_lora(model)
    assert held.trial(tuned, model) > 0
    assert held.trial(model.bfloat16(), model) == 2 * 2 * 2 * 8 * 2
    assert model.config._attn_implementation == "sdpa"


def test_a_model_that_says_nothing_but_nan_is_broken(tiny_folder: Path) -> None:
    model, _ = open_tiny(tiny_folder)
    next(iter(model.parameters())).data[7:20] = float("nan")
    with pytest.raises(BadInput, match="weights are broken: what it says of a text is NaN"):
        held.trial(model, model)


def test_what_looks_through_a_window_cannot(tiny_folder: Path) -> None:
    model = tiny_mistral(320)
    assert held.trial(model, model) == 0
    assert model.config._attn_implementation == "sdpa"
    # nor where the config alone tells
    llama, tokenizer = open_tiny(tiny_folder)
    llama.config.sliding_window = 24
    assert LocalEngine(llama, Coder(tokenizer, 512), name="tiny")._holds() == 0


def engines(folder: Path) -> tuple[LocalEngine, LocalEngine]:
    """One that holds, one that does not."""
    made = []
    for _ in range(2):
        model, tokenizer = open_tiny(folder)
        made.append(LocalEngine(model, Coder(tokenizer, 512), name="tiny"))
    made[1]._kept = 0
    assert made[0]._holds()
    return made[0], made[1]


@pytest.mark.parametrize("shots", [False, True])
@pytest.mark.parametrize("samples", [1, 3])
def test_texts_are_those_of_the_models_own_cache(tiny_folder: Path, shots: bool, samples: int) -> None:
    holding, plain = engines(tiny_folder)
    asks = [*asks_of(shots=shots), *asks_of(shots=shots)[::-1]]
    decoding = Decoding(max_new_tokens=40, temperature=float(samples > 1), samples=samples, stop=("a", "e", " t"), repetition=1.2)
    assert holding.generate(asks, decoding) == plain.generate(asks, decoding)
    assert holding.calls.new_tokens == plain.calls.new_tokens
    assert (holding.calls.read_tokens < plain.calls.read_tokens) is shots
    little = LocalEngine(holding._model, holding.coder, name="tiny", memory=1)
    assert little.generate(asks, decoding) == plain.generate(asks, decoding)


@pytest.mark.parametrize("shots", [False, True])
def test_long_rows_are_read_by_the_librarys_kernel_alike(tiny_folder: Path, shots: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = open_tiny(tiny_folder)
    engine = LocalEngine(model, Coder(tokenizer, 512), name="tiny")
    asks = asks_of(shots=shots)
    scores = [score for row in engine.score(asks, [LABELS] * len(asks)) for score in row]
    texts = engine.generate(asks, Decoding(max_new_tokens=8))
    monkeypatch.setattr(held, "LONG", 4)
    assert [score for row in engine.score(asks, [LABELS] * len(asks)) for score in row] == pytest.approx(scores, abs=1e-4)
    assert engine.generate(asks, Decoding(max_new_tokens=8)) == texts


def test_rows_that_share_much_are_read_a_few_at_a_time_alike(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = open_tiny(tiny_folder)
    engine = LocalEngine(model, Coder(tokenizer, 512), name="tiny")
    asks = asks_of(shots=True)
    expected = engine.score(asks, [["yes", "no", "perhaps not"]] * len(asks))
    counts = []
    mix = held._mix
    monkeypatch.setattr(held, "_mix", lambda *given: counts.append(given[-1]) or mix(*given))
    monkeypatch.setattr(held, "MOST", 1)
    found = engine.score(asks, [["yes", "no", "perhaps not"]] * len(asks))
    assert set(counts) == {1}
    for mine, own in zip(found, expected, strict=True):
        assert mine == pytest.approx(own, abs=1e-4)


def test_prompts_are_read_a_few_at_a_time_where_tokens_are_short(tiny_folder: Path) -> None:
    holding, plain = engines(tiny_folder)
    holding._tokens = 10
    asks = [(Turn("user", f"The vote number {n} would be held in May. " * (n % 5 + 1)),) for n in range(9)]
    decoding = Decoding(max_new_tokens=6)
    assert holding.generate(asks, decoding) == plain.generate(asks, decoding)


def test_rows_that_stay_in_their_place_are_not_copied() -> None:
    store = held.Store(4, 8)
    keys, values = store.of(0, torch.zeros(4, 2, 3), torch.zeros(4, 2, 3))
    keys[:] = torch.arange(4.0)[:, None, None, None]
    store.keep([0, 3])
    assert store.of(0, keys, values)[0] is keys
    assert keys[:, 0, 0, 0].tolist() == [0, 3, 2, 3]
    store.make_room(9)
    grown, _ = store.of(0, keys, values)
    assert grown.shape == (2, 2, held.TILE, 3)
    assert grown[:, 0, 7, 0].tolist() == [0, 3]
    assert grown[:, 0, 8, 0].tolist() == [0, 0]


def test_the_last_rows_take_the_places_of_those_that_ended() -> None:
    class Row:
        def __init__(self, ended: bool) -> None:
            self.ended = ended

    def left(ended: str) -> list[int]:
        return _without_ended([Row(mark == "x") for mark in ended])  # type: ignore[misc]

    assert left("....") == [0, 1, 2, 3]
    assert left("x...") == [3, 1, 2]
    assert left(".x.x.") == [0, 4, 2]
    assert left("..xx") == [0, 1]
    assert left("xxxx") == []


def test_batches_side_by_side_cost_alike() -> None:
    sizes = [10, 50, 20, 40, 30, 60]
    assert list(side_by_side(sizes, 1000, 64, 2)) == [[5, 3, 2], [1, 4, 0]]
    assert list(side_by_side(sizes, 1000, 1, 2)) == [[5], [1], [3], [4], [2], [0]]
    assert list(side_by_side(sizes, 1, 64, 1)) == [[5], [1], [3], [4], [2], [0]]
    assert list(side_by_side([], 1000, 64, 2)) == []
    # five rows where four fit at once: three and two, not four and one
    assert [len(batch) for batch in side_by_side([9] * 5, 36, 64, 1)] == [3, 2]


def test_a_pass_reads_what_was_asked_of_the_head(tiny_folder: Path) -> None:
    model, _ = open_tiny(tiny_folder)
    rows = [[5, 6, 7], [8, 9]]
    with torch.no_grad(), held.holding(model):
        whole = held.read(model, rows, held.reading([3, 2]), positions=None)
        with reading(model, torch.tensor([4, 0])):
            some = held.read(model, rows, held.reading([3, 2]), positions=None)
    assert torch.allclose(some, whole[0, [4, 0]], atol=1e-6)
    with pytest.raises(TypeError, match="held attention takes a pass"), held.holding(model), torch.no_grad():
        model(input_ids=torch.tensor([[1, 2]]))
