"""Bases that suit a kind of task and a machine's memory, from the catalogue alone: no module is built, no network asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from tuneladder.errors import BadInput, unknown
from tuneladder.model import catalogue
from tuneladder.model.bill import SOFT, Parts, R, Way, check_batch, embeddings, layers_of, need_of
from tuneladder.model.catalogue import Entry
from tuneladder.model.inspect import reads_text
from tuneladder.model.precision import QUANTISED, Linears, Precision
from tuneladder.types import Base, Family, Kind

# who can learn a kind of task: an encoder says labels and tags, the others write
FAMILIES: dict[Kind, tuple[Family, ...]] = {
    "classify": ("encoder", "seq2seq", "decoder"),
    "tag": ("encoder", "seq2seq", "decoder"),
    "generate": ("seq2seq", "decoder"),
    "extract": ("seq2seq", "decoder"),
    "choose": ("seq2seq", "decoder"),
    "chat": ("seq2seq", "decoder"),
    "prefer": ("decoder",),
    "text": ("encoder", "seq2seq", "decoder"),
}


@dataclass(frozen=True)
class Fit:
    """A method that fits, by the name of its step, and the bytes that it takes."""

    method: str
    precision: Precision
    bytes: int


@dataclass(frozen=True)
class Suggestion:
    """A base of the catalogue, the method that fits and takes the least, and the one that fits and changes the most: the same where
    no other fits."""

    entry: Entry
    cheapest: Fit
    strongest: Fit


def kind_of(text: str) -> Kind:
    """A kind of task by its name. Raises BadInput for anything else."""
    for kind in get_args(Kind):
        if kind == text:
            return kind  # type: ignore[no-any-return]
    raise unknown("kind of task", text, get_args(Kind))


def suggest(
    kind: Kind, memory: int, *, rows: int, length: int | None = None, precision: Precision = "bf16", device: str
) -> list[Suggestion]:
    """The bases that some method fits within `memory` bytes on micro-batches of `rows` rows of `length` tokens, by family and size.

    Weights are held in `precision` (bf16 or fp32); only qlora holds them in nf4, and is the cheapest only where nothing else fits:
    what need not be quantised is faster. Raises BadInput where no base of the catalogue fits.
    """
    found, least = [], []
    for family in FAMILIES[kind]:
        entries = [each for each in catalogue.bases() if each.base.family == family and _suits(each.base, kind)]
        for entry in sorted(entries, key=lambda each: each.base.parameters):
            if length is not None and length > entry.base.context:
                continue
            fits = _fits(entry.base, kind, rows, check_batch(entry.base, rows, length), precision, device)
            least.append(min(fit.bytes for fit in fits))
            if inside := [fit for fit in fits if fit.bytes <= memory]:
                whole = [fit for fit in inside if fit.precision == precision]
                found.append(Suggestion(entry, min(whole or inside, key=lambda fit: fit.bytes), inside[-1]))
    if not least:
        raise BadInput(f"no base of the catalogue that suits {kind} reads {length:,} tokens", "choose a smaller --length")
    if not found:
        smallest = f"{min(least) / 1e9:.2g} GB"
        raise BadInput(
            f"no base of the catalogue can be tuned for {kind} in {memory / 1e9:.2g} GB", f"the smallest takes {smallest}"
        )
    return found


def _suits(base: Base, kind: Kind) -> bool:
    """Plain text is read with the head that a base was pretrained with."""
    return kind != "text" or reads_text(base)


def _fits(base: Base, kind: Kind, rows: int, length: int, precision: Precision, device: str) -> list[Fit]:
    """What each method takes, from the one that changes least to the one that changes most."""
    parts = parts_near(base)

    def fit(method: str, way: Way, precision: Precision, learned: int | None = None) -> Fit:
        need = need_of(base, parts, way, precision, rows=rows, length=length, device=device, learned=learned)
        return Fit(method, precision, need.peak)

    if kind == "text":
        # a decoder learns every token, the others those that are hidden: 15 % (arXiv:1810.04805), and marks around them
        return [fit("pretrain", "full", precision, length if base.family == "decoder" else -(-length // 5))]
    probe: list[tuple[Way, Precision]] = [("linear_probe", precision)] if kind == "classify" else []
    ways: list[tuple[Way, Precision]] = [
        *probe,
        ("prompt_tuning", precision),
        ("qlora", "nf4"),
        ("lora", precision),
        ("full", precision),
    ]
    return [fit(way, way, own) for way, own in ways]


def parts_near(base: Base) -> Parts:
    """The parts of a base by its sizes alone: near what its skeleton has, without the seconds that building one takes.

    Of the linear layers it counts those of attention and MLPs, of a mixture's those of attention; a T5's MLPs end in one that is
    not quantised.
    """
    stacks = layers_of(base)
    heads, width = int(base.settings["heads"]), base.width
    q = heads * int(base.settings.get("head_width") or width // heads)
    kv = q // heads * int(base.settings.get("kv_heads") or heads)
    cross = stacks - base.layers  # a decoder layer of a seq2seq attends to the source too
    attentions = stacks + cross
    projections = 2 * width * (q + kv)
    mixture = base.active < base.parameters
    weights = attentions * projections if mixture else base.parameters - embeddings(base)
    mlp = int(base.settings["mlp"])
    # two matrices, or three where the MLP is gated
    matrices = 0 if mixture else round((weights - attentions * projections) / (stacks * width * mlp))
    ends = attentions * (4 * width + 2 * q + 2 * kv) + stacks * matrices * (width + mlp)
    experts = 0
    if mixture:  # each has two matrices, what opens and what goes up in one
        experts = round((base.parameters - embeddings(base) - weights) / (stacks * 3 * width * mlp)) * stacks
        ends += experts * (2 * width + 3 * mlp)
    made = attentions * (q + 2 * kv + width) + stacks * ((matrices - 1) * mlp + width if matrices else 0)
    whole = stacks if base.settings["architecture"] == "t5" else 0
    linear = Linears(weights - whole * width * mlp, made - whole * width)
    added = {"full": base.parameters, "prompt_tuning": SOFT * width, "lora": R * ends, "qlora": R * ends}
    return Parts(dict.fromkeys(QUANTISED, linear), added, {}, experts * 3 * width * mlp)
