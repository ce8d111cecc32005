"""What a base takes, method by method and precision by precision, on common cards. Arithmetic over `memory`; nothing is run."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from tuneladder.errors import BadInput, Refused
from tuneladder.model import catalogue, pocket
from tuneladder.model.cards import cards, cards_for
from tuneladder.model.inspect import inspect
from tuneladder.model.memory import BYTES, Memory, hold, inference, lora_parameters, rule_of_thumb, skeleton_of, training
from tuneladder.model.precision import COMPUTED, PRECISIONS, QUANTISED, Form, Linears, Precision, held, linears
from tuneladder.types import Base

Way = Literal[
    "hold",
    "answer",
    "linear_probe",
    "full",
    "selective",
    "lora",
    "qlora",
    "adapter",
    "ia3",
    "prefix_tuning",
    "prompt_tuning",
]
WAYS: tuple[Way, ...] = get_args(Way)
OF_THE_BASE: tuple[Way, ...] = ("full", "selective")  # where weights of the base itself learn
OF_SOFT: tuple[Way, ...] = ("prefix_tuning", "prompt_tuning")

# what the steps take where a recipe says nothing; a test holds them to it
R, BOTTLENECK, SOFT, TOP = 8, 16, 20, 1

ROWS, LENGTH = 1, 512  # the smallest micro-batch decides what fits: steps take more rows where there is room
LEARNED = 32  # tokens of a decoder's row that reach the head
MOST_ROWS = 1_000_000


@dataclass(frozen=True)
class Parts:
    """What the bill of a base is made of: the linear layers that are quantised, the weights that each method adds, why it cannot,
    and the weights of a mixture's experts."""

    linear: Mapping[Form, Linears]
    added: Mapping[str, int]
    refused: Mapping[str, str]
    experts: int = 0


@dataclass(frozen=True)
class Cell:
    """One way in one precision: bytes by what holds them, and how many of each card it takes, None where no number will do; or
    why there is no such way."""

    need: Memory | None
    cards: Mapping[str, int | None]
    why: str = ""


@dataclass(frozen=True)
class Bill:
    """The cells of a base by way and precision. A card works on `rows` rows of `length` tokens; of each row `learned` reach the
    head, and a seq2seq's decoder reads `answer` besides. `single` is what nf4 takes to hold without double quantisation, `rule`
    the lectures' 24 bytes a parameter. `unblocked` of the weights that int8 quantises nf4 leaves: rows that are no whole blocks."""

    base: Base
    rows: int
    length: int
    learned: int
    answer: int
    cells: Mapping[Way, Mapping[Precision, Cell]]
    single: int
    rule: int
    unblocked: float


def known(source: str) -> Base:
    """The base of a folder, of a name or hub id that the catalogue knows (no network is asked), or of any other hub id.

    Raises BadInput as `inspect` does, with what the catalogue has that looks like it.
    """
    if Path(source).expanduser().is_dir() or source in pocket.names():
        return inspect(source)
    if entry := catalogue.find(source):
        return entry.base
    try:
        return inspect(source)
    except BadInput as error:
        names = [each.base.name for each in (*catalogue.bases(), *catalogue.shapes())]
        if close := difflib.get_close_matches(source.casefold(), names, n=3, cutoff=0.6):
            raise BadInput(error.message, f"known without a network: {', '.join(close)}; {error.hint}") from error
        raise


def bill(base: Base, *, rows: int = ROWS, length: int | None = None) -> Bill:
    """Every way in every precision, on cards with CUDA. `length` is 512 tokens or the context where that is shorter.

    Raises BadInput for rows and a length that no such base reads.
    """
    length = check_batch(base, rows, length)
    parts = parts_of(base, skeleton_of(base))
    learned, answer = _learned(base, length)
    cells = {way: {each: _cell(base, parts, way, each, rows, length) for each in PRECISIONS} for way in WAYS}
    single = held(base, "nf4", parts.linear, double=False)
    unblocked = 1 - parts.linear["nf4"].weights / max(1, parts.linear["int8"].weights)
    return Bill(base, rows, length, learned, answer, cells, single, rule_of_thumb(base.parameters), unblocked)


def check_batch(base: Base, rows: int, length: int | None) -> int:
    """The length that is meant. Raises BadInput for what is no batch of this base."""
    if not 1 <= rows <= MOST_ROWS:
        raise BadInput(f"--rows is {rows:,}", f"from 1 to {MOST_ROWS:,} rows")
    if length is None:
        return min(LENGTH, base.context)
    if not 1 <= length <= base.context:
        raise BadInput(f"--length is {length:,}, and {base.name} reads up to {base.context:,} tokens", "choose a length within")
    return length


def parts_of(base: Base, model: Any) -> Parts:
    """The parts of a base as its skeleton has them."""
    from tuneladder.model.attach import experts_of, ia3_parameters
    from tuneladder.model.bottleneck import bottleneck_parameters
    from tuneladder.model.frozen import last_weights
    from tuneladder.model.soft import prefix_parameters

    added = {"full": base.parameters, "prompt_tuning": SOFT * base.width}
    refused: dict[str, str] = {}
    counts: dict[tuple[Way, ...], Callable[[], int]] = {
        ("lora", "qlora"): lambda: lora_parameters(base, r=R, model=model),
        ("adapter",): lambda: bottleneck_parameters(model, r=BOTTLENECK, placement="pfeiffer"),
        ("ia3",): lambda: ia3_parameters(model),
        ("prefix_tuning",): lambda: prefix_parameters(model, SOFT),
        ("selective",): lambda: sum(weight.numel() for weight in last_weights(model, TOP, family=base.family)),
    }
    for ways, count in counts.items():
        try:
            added |= dict.fromkeys(ways, count())
        except Refused as error:
            refused |= dict.fromkeys(ways, error.message)
    return Parts(linears(model), added, refused, sum(weight.numel() for _, weight in experts_of(model)))


def need_of(
    base: Base, parts: Parts, way: Way, precision: Precision, *, rows: int, length: int, device: str, learned: int | None = None
) -> Memory:
    """Bytes that a way takes, which has to be one that makes sense. `learned` tokens of a row reach the head, by default those of
    a short answer."""
    weights = held(base, precision, parts.linear)
    kept = weights if precision in QUANTISED else None
    dtype = COMPUTED[precision]
    if way == "hold":
        return Memory(weights)
    if way == "answer":
        return inference(base, rows=rows, length=length, dtype=dtype, device=device, held=kept)
    if way == "linear_probe":  # it asks the base for no more than its last layer
        return inference(base, rows=rows, length=length, dtype=dtype, read_rows=0, device=device, held=kept)
    usual, answer = _learned(base, length)
    need = training(
        base,
        trainable=parts.added[way],
        rows=rows,
        length=length + (SOFT if way in OF_SOFT else 0),
        learned_rows=rows * (usual if learned is None else learned),
        dtype=dtype,
        method="full" if way in OF_THE_BASE else "adapter",
        device=device,
        answer=answer,
        held=kept,
        top=TOP if way == "selective" else 0,
        soft=way in OF_SOFT,
    )
    # PEFT adds a LoRA on experts to a copy of all of them in every pass
    copies = hold(parts.experts, 8 * BYTES[dtype]) if way in ("lora", "qlora") else 0
    return replace(need, activations=need.activations + copies)


def _cell(base: Base, parts: Parts, way: Way, precision: Precision, rows: int, length: int) -> Cell:
    if why := _senseless(way, precision) or parts.refused.get(way, ""):
        return Cell(None, {}, why)
    need = need_of(base, parts, way, precision, rows=rows, length=length, device="cuda")
    gathered = _gathered(base, held(base, precision, parts.linear), way, precision)
    return Cell(need, {card.name: cards_for(need, card.memory, gathered=gathered) for card in cards()})


def _senseless(way: Way, precision: Precision) -> str:
    quantised = precision in QUANTISED
    if way in OF_THE_BASE and quantised:
        return "quantised weights cannot learn: an update is smaller than the step between two values"
    if way == "lora" and quantised:
        return "lora over quantised weights is qlora (arXiv:2305.14314)"
    if way == "qlora" and not quantised:
        return "qlora is lora over quantised weights"
    return ""


def _learned(base: Base, length: int) -> tuple[int, int]:
    """Tokens of a row that reach the head, and a seq2seq's answer beside the row: an encoder has one label, an answer is a quarter
    as long as what it answers."""
    answer = max(1, length // 4)
    if base.family == "seq2seq":
        return answer, answer
    return (1 if base.family == "encoder" else min(LEARNED, length)), 0


def _gathered(base: Base, weights: int, way: Way, precision: Precision) -> int:
    """Bytes of weights that are whole on each card while FSDP2 works: embeddings and head, which are no layer's, the layer at work
    and the one that comes next; where a layer's weights learn, its gradients too."""
    tables = embeddings(base) * (4 if precision == "fp32" else 2)
    layer = max(0, weights - tables) // layers_of(base)
    return tables + (3 if way in OF_THE_BASE else 2) * layer


def embeddings(base: Base) -> int:
    """Parameters of the embeddings and the head, which are one where they are tied."""
    return base.vocabulary * base.width * (1 if base.settings.get("tie", True) or base.family == "encoder" else 2)


def layers_of(base: Base) -> int:
    """Layers of all stacks."""
    decoder = int(base.settings.get("decoder_layers") or base.layers)
    return base.layers + (decoder if base.family == "seq2seq" else 0)
