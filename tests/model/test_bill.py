"""What a base takes by method and precision, on how many cards, and what suits a machine."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.ladder.tree import root_of
from tuneladder.model import bill as bills
from tuneladder.model import catalogue, memory
from tuneladder.model.bill import bill, known
from tuneladder.model.cards import FILL, cards, cards_for
from tuneladder.model.hardware import device, has_bf16
from tuneladder.model.inspect import from_shape
from tuneladder.model.memory import Memory, hold, skeleton_of
from tuneladder.model.precision import NF4, NF4_DOUBLE, PRECISIONS, QUANTISED, Linears, held, linears
from tuneladder.model.suggest import FAMILIES, kind_of, suggest
from tuneladder.train import supervised
from tuneladder.tune.adapter import Adapter
from tuneladder.tune.ia3 import Ia3
from tuneladder.tune.linear_probe import LinearProbe
from tuneladder.tune.lora import Lora
from tuneladder.tune.prefix_tuning import PrefixTuning
from tuneladder.tune.prompt_tuning import PromptTuning
from tuneladder.tune.selective import Selective
from tuneladder.types import Base, Pace

GB = 10**9
STEPS: dict[str, Any] = {"selective": Selective, "ia3": Ia3, "prefix_tuning": PrefixTuning}
SMALL = {"layers": 2, "width": 256, "heads": 4, "kv_heads": 2, "mlp": 512, "vocabulary": 1024, "context": 512}


@pytest.fixture(scope="module")
def base() -> Base:
    return from_shape("small", SMALL)


def test_precisions_take_what_bitsandbytes_takes(base: Base) -> None:
    """Set against bitsandbytes 0.50.2 on a Llama of 2 layers: nf4 with and without double quantisation and int8, the same bytes."""
    assert round(NF4 - NF4_DOUBLE, 3) == 0.373  # arXiv:2305.14314, section 3
    linear = 2 * (2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 512)
    rows = 2 * (2 * 256 + 2 * 128 + 2 * 512 + 256)
    parts = dict.fromkeys(QUANTISED, Linears(linear, rows))
    rest = 2 * (base.parameters - linear)
    assert held(base, "fp32", parts) == 4 * base.parameters
    assert held(base, "bf16", parts) == 2 * base.parameters
    assert held(base, "int8", parts) == rest + linear + 4 * rows
    assert held(base, "nf4", parts, double=False) == rest + linear // 2 + 4 * linear // 64
    assert held(base, "nf4", parts) == rest + linear // 2 + linear // 64 + 4 * linear // 64 // 256
    assert held(base, "nf4", parts, dtype="float32") == held(base, "nf4", parts) + rest
    assert linears(skeleton_of(base)) == parts
    assert bill(base).cells["hold"]["nf4"].need == Memory(held(base, "nf4", parts))


def test_a_way_takes_more_the_more_it_learns(base: Base) -> None:
    found = bill(base)

    def total(way: str, precision: str) -> int:
        need = found.cells[way][precision].need  # type: ignore[index]
        assert need is not None
        return int(need.total)

    for precision in PRECISIONS:
        assert total("hold", precision) < total("answer", precision) < total("adapter", precision)
    for precision in ("fp32", "bf16"):
        assert total("adapter", precision) < total("lora", precision) < total("full", precision)
    assert total("hold", "fp32") > total("hold", "bf16") > total("hold", "int8") > total("hold", "nf4")
    assert total("lora", "bf16") > total("qlora", "int8") > total("qlora", "nf4")
    saved = total("hold", "bf16") - total("hold", "nf4")
    assert total("lora", "bf16") - total("qlora", "nf4") == saved  # activations are as they were
    assert total("adapter", "bf16") - total("adapter", "nf4") == saved
    assert total("answer", "bf16") - total("answer", "nf4") == saved
    assert found.rule == 24 * base.parameters


def test_what_makes_no_sense_has_a_reason(base: Base) -> None:
    cells = bill(base).cells
    without = {(way, precision) for way, row in cells.items() for precision, cell in row.items() if cell.need is None}
    quantised = {(way, precision) for way in ("full", "selective", "lora") for precision in ("int8", "nf4")}
    assert without == quantised | {("qlora", "fp32"), ("qlora", "bf16")}
    assert all(cells[way][precision].why for way, precision in without)
    narrow = from_shape("narrow", {**SMALL, "width": 4, "heads": 2, "kv_heads": 1, "mlp": 4})
    refused = bill(narrow).cells["lora"]["bf16"]
    assert (refused.need, "rank 8 is above" in refused.why) == (None, True)


def test_rows_and_length_are_what_is_reckoned_with(base: Base) -> None:
    def activations(**batch: int) -> int:
        need = bill(base, **batch).cells["lora"]["bf16"].need  # type: ignore[arg-type]
        assert need is not None
        return need.activations

    assert activations() == activations(rows=1, length=512)
    assert activations(rows=4) == pytest.approx(4 * activations(), rel=0.001)
    assert activations(length=256) == pytest.approx(activations() / 2, rel=0.05)
    for batch, said in (({"rows": 0}, "--rows is 0"), ({"length": 0}, "--length is 0"), ({"length": 513}, "reads up to 512")):
        with pytest.raises(BadInput, match=said):
            bill(base, **batch)  # type: ignore[arg-type]


def test_the_table_means_what_the_steps_take() -> None:
    assert (Lora().r, Adapter().r, PromptTuning().tokens) == (bills.R, bills.BOTTLENECK, bills.SOFT)
    assert (PrefixTuning().tokens, Selective()._top) == (bills.SOFT, bills.TOP)


def test_what_few_weights_take_by_hand(base: Base) -> None:
    heads, mlp = 256 * 256 * 2 + 256 * 128 * 2, 3 * 256 * 512
    learn = {
        "ia3": 2 * (128 + 128 + 512),  # of each layer its keys, its values, and what its MLP's end reads
        "prefix_tuning": 20 * 2 * (128 + 128),
        "selective": heads + mlp + 2 * 256 + 256,  # a layer with its two norms, and the norm behind it
    }
    cells = bill(base).cells
    for way, count in learn.items():
        need = cells[way]["fp32"].need  # type: ignore[index]
        assert need is not None
        assert (need.gradients, need.optimizer) == (4 * count, 8 * count)
        assert need.weights == 4 * base.parameters + (0 if way == "selective" else 4 * count)
    probe, answer = cells["linear_probe"]["fp32"].need, cells["answer"]["fp32"].need
    assert answer is not None
    assert probe == replace(answer, logits=0)


@pytest.mark.parametrize("family", ["decoder", "encoder", "seq2seq"])
@pytest.mark.parametrize("way", ["selective", "ia3", "prefix_tuning"])
def test_a_way_takes_what_its_rung_is_foretold(way, family, tiny_base, tiny_encoder, tiny_seq2seq, tiny_task, monkeypatch) -> None:
    base = {"decoder": tiny_base, "encoder": tiny_encoder, "seq2seq": tiny_seq2seq}[family]
    asked: list[dict[str, Any]] = []

    def training(base: Base, **shape: Any) -> Memory:
        asked.append(shape)
        return true(base, **shape)

    true = memory.training
    monkeypatch.setattr(memory, "training", training)
    monkeypatch.setattr(supervised, "device", lambda: "cuda")
    STEPS[way](batch_size=2).plan(root_of(base, tiny_task), tiny_task, Pace(1e9))
    shape = asked[-1]
    parts = bills.parts_of(base, skeleton_of(base))
    assert shape["trainable"] == parts.added[way]
    if family != "seq2seq":  # whose answers a bill reckons by the length of what they answer
        precision = "bf16" if shape["dtype"] == "bfloat16" else "fp32"
        length = shape["length"] - (bills.SOFT if way == "prefix_tuning" else 0)
        batch = {"rows": shape["rows"], "length": length, "learned": shape["learned_rows"] // shape["rows"]}
        assert bills.need_of(base, parts, way, precision, device="cuda", **batch) == true(base, **shape)


def test_a_probe_takes_what_its_rung_is_foretold(tiny_base, tiny_task) -> None:
    _, cost = LinearProbe().plan(root_of(tiny_base, tiny_task), tiny_task, Pace(1e9))
    parts = bills.parts_of(tiny_base, skeleton_of(tiny_base))
    precision = "bf16" if has_bf16(device()) else "fp32"
    need = bills.need_of(tiny_base, parts, "linear_probe", precision, rows=64, length=64, device=device())
    assert need.peak == cost.memory


def test_what_needs_attention_is_told_of_a_base_without(shaped) -> None:
    cells = bill(known(str(shaped("mamba")))).cells
    for way in ("ia3", "prefix_tuning"):
        assert (cells[way]["bf16"].need, "needs attention" in cells[way]["bf16"].why) == (None, True)  # type: ignore[index]
    for way in ("selective", "linear_probe"):
        assert cells[way]["bf16"].need  # type: ignore[index]


def test_experts_stay_in_bf16() -> None:
    """bitsandbytes replaces linear layers, and transformers 5 keeps a mixture's experts as one tensor."""
    entry = catalogue.find("mixtral-8x7b")
    assert entry is not None
    less = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 256}
    config = {**entry.base.settings["config"], **less, "num_key_value_heads": 2}
    settings = {**entry.base.settings, "heads": 4, "kv_heads": 2, "mlp": 128, "config": config}
    sizes = {"layers": 2, "width": 64, "vocabulary": 256, "parameters": 451_000, "active": 160_000}
    found = bill(replace(entry.base, settings=settings, **sizes)).cells
    attention = 2 * (2 * 64 * 64 + 2 * 64 * 32)
    whole, nf4 = found["hold"]["bf16"].need, found["hold"]["nf4"].need
    assert whole is not None
    assert nf4 is not None
    assert whole.total - nf4.total == 2 * attention - hold(attention, NF4_DOUBLE)
    assert "finds no layers" in found["adapter"]["bf16"].why


def test_what_transformers_keeps_is_not_quantised() -> None:
    """The end of a T5's MLP, and for nf4 a matrix whose rows are no whole blocks."""
    shape = {"family": "seq2seq", "layers": 2, "width": 64, "heads": 2, "mlp": 96, "vocabulary": 256}
    found = linears(skeleton_of(from_shape("two", shape)))
    attention, mlp = 6 * 4 * 64 * 64, 4 * 2 * 64 * 96
    assert found["int8"] == found["nf4"] == Linears(attention + mlp, 6 * 4 * 64 + 4 * 2 * 96)
    narrow = linears(skeleton_of(from_shape("narrow", {**SMALL, "width": 96, "heads": 2, "kv_heads": 2, "mlp": 128})))
    assert narrow["int8"].weights == 2 * (4 * 96 * 96 + 3 * 96 * 128)
    assert narrow["nf4"] == Linears(2 * 96 * 128, 2 * 96)  # what reads the MLP's width


def test_cards_share_out_what_fsdp_shares_out() -> None:
    need = Memory(weights=60 * GB, gradients=10 * GB, optimizer=20 * GB, activations=4 * GB, logits=1 * GB)
    assert cards_for(need, 100 * GB, gathered=GB) == 1
    assert cards_for(need, 99 * GB, gathered=GB) == 2
    assert FILL == 0.95
    # 40 cards: 38 to fill, 5 of a batch and 1 gathered leave 32 for a share of 90
    assert cards_for(need, 40 * GB, gathered=GB) == 3
    assert cards_for(need, 40 * GB, gathered=11 * GB) == 5
    assert cards_for(need, 6 * GB, gathered=GB) is None
    assert cards_for(need, 40 * GB, gathered=int(32.999 * GB)) is None  # no 1,024 cards will do
    assert {card.name: card.memory for card in cards()}["RTX 3060"] == 12 * GB
    assert [card.memory for card in cards()] == sorted(card.memory for card in cards())


def test_a_bill_counts_cards(base: Base) -> None:
    large = replace(base, parameters=10**11, active=10**11)
    found = bill(large, rows=1)
    full, whole = found.cells["full"]["bf16"], found.cells["hold"]["bf16"]
    assert set(full.cards) == {card.name for card in cards()}
    assert full.need is not None
    assert whole.need is not None
    # 1.8 TB in all; two layers, of which this base has no more, and the gradients of one are whole on each
    assert full.cards["B200"] is None
    assert found.cells["lora"]["bf16"].cards["B200"] is None
    deep = bill(replace(large, settings={**base.settings, "decoder_layers": 2}, layers=100), rows=1)
    shares = {card: count for card, count in deep.cells["full"]["bf16"].cards.items() if count}
    assert 9 < shares["B200"] < shares["H100"] < shares["A100 40GB"]
    assert deep.cells["hold"]["bf16"].cards["B200"] == 2


def test_rows_that_are_no_whole_blocks_are_told_of(base: Base) -> None:
    assert bill(base).unblocked == 0
    odd = from_shape("odd", {"family": "decoder", "width": 96, "layers": 2, "heads": 2, "mlp": 256, "vocabulary": 512})
    body = 4 * 96 * 96 + 3 * 96 * 256
    assert bill(odd).unblocked == pytest.approx(1 - 96 * 256 / body)


def test_what_is_known_needs_no_network() -> None:
    assert known("Llama-2-7b").parameters == 6_738_415_616
    assert known("pocket-decoder").source == "folder"
    with pytest.raises(BadInput) as refused:
        known("lama-2-7b")
    assert "known without a network: llama-2-7b" in refused.value.hint


def test_suggestions_fit_and_stand_in_order() -> None:
    found = suggest("classify", 16 * GB, rows=1, device="cuda")
    families = [each.entry.base.family for each in found]
    assert families == sorted(families, key=FAMILIES["classify"].index)
    for one, two in pairwise(found):
        assert one.entry.base.family != two.entry.base.family or one.entry.base.parameters <= two.entry.base.parameters
    assert all(fit.bytes <= 16 * GB for each in found for fit in (each.cheapest, each.strongest))
    by_name = {each.entry.base.name: each for each in found}
    assert by_name["bert-base"].cheapest.method == "linear_probe"
    assert by_name["bert-base"].strongest.method == "full"
    assert by_name["llama-2-13b"].cheapest.method == by_name["llama-2-13b"].strongest.method == "qlora"
    assert "gpt-3-175b" not in by_name
    assert "llama-2-70b" not in by_name
    assert {each.entry.base.name for each in suggest("classify", 64 * GB, rows=1, device="cuda")} >= {*by_name, "llama-2-70b"}


def test_a_suggestion_takes_what_the_table_says() -> None:
    found = {each.entry.base.name: each for each in suggest("generate", 4 * GB, rows=2, length=256, device="cuda")}
    table = bill(known("smollm2-135m"), rows=2, length=256).cells
    full = table["full"]["bf16"].need
    assert full is not None
    assert found["smollm2-135m"].strongest.method == "full"
    assert found["smollm2-135m"].strongest.bytes == full.total
    least = min(need.total for way in ("lora", "prompt_tuning") if (need := table[way]["bf16"].need))  # type: ignore[index]
    assert found["smollm2-135m"].cheapest.bytes == pytest.approx(least, rel=0.02)


def test_a_kind_decides_who_suits() -> None:
    def names(kind: str, **options: int) -> set[str]:
        return {each.entry.base.name for each in suggest(kind_of(kind), 40 * GB, rows=1, device="cuda", **options)}

    assert "bert-base" in names("tag")
    assert not {"bert-base", "minilm"} & names("generate")
    assert "bert-base" in names("text")
    assert not {"minilm", "bart-base"} & names("text")  # without the head or the marks of their pretraining
    assert {each.cheapest.method for each in suggest("text", 40 * GB, rows=1, device="cuda")} == {"pretrain"}
    pretrained = {each.entry.base.name: each.strongest for each in suggest("text", 40 * GB, rows=1, device="cuda")}
    tuned = {each.entry.base.name: each.strongest for each in suggest("chat", 40 * GB, rows=1, device="cuda")}
    heads = (512 - bills.LEARNED) * 50257 * 14  # all tokens are learned, and each has logits
    assert pretrained["gpt2"].bytes - tuned["gpt2"].bytes == heads
    assert "gpt2" not in names("classify", length=2000)
    assert "modernbert-base" in names("classify", length=2000)
    fp32 = suggest("classify", 16 * GB, rows=1, precision="fp32", device="cpu")
    assert {each.cheapest.precision for each in fp32} == {"fp32", "nf4"}


def test_suggestions_refuse() -> None:
    with pytest.raises(BadInput, match="did you mean 'classify'"):
        kind_of("clasify")
    with pytest.raises(BadInput, match="can be tuned for classify in") as refused:
        suggest("classify", 10**7, rows=1, device="cuda")
    assert "the smallest takes 0.0" in refused.value.hint
    with pytest.raises(BadInput, match="reads 1,000,000 tokens"):
        suggest("classify", 10**12, rows=1, length=10**6, device="cuda")
