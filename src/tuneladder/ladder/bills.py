"""What `plan` says of a recipe's rungs, and with `--base` and `--kind`, for a terminal of 80 columns or more and for a program."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tuneladder.ladder import words as say
from tuneladder.ladder.tree import Foretold
from tuneladder.model.bill import BOTTLENECK, SOFT, Bill, Cell, R
from tuneladder.model.cards import MOST, cards
from tuneladder.model.memory import BLOCK
from tuneladder.model.suggest import Fit, Suggestion
from tuneladder.store import freeze

WIDTH = 100  # columns beyond which prose is not read well
FAMILIES = {"encoder": "encoders", "seq2seq": "encoder-decoders", "decoder": "decoders"}
TITLES = {"hold": "to hold", "answer": "to answer"}


def billed(foretold: Sequence[Foretold]) -> bool:
    """Whether something in these rungs is paid by tokens."""
    return any(each.cost.tokens or each.asking.tokens or each.judging.tokens for each in foretold)


def fitting(page: Console, *ways: Table) -> Table:
    """The first of these ways to show a table that is no wider than the page, or else the last."""
    unbound = page.options.update_width(sys.maxsize)
    return next((shown for shown in ways if page.measure(shown, options=unbound).maximum <= page.width), ways[-1])


def plan_table(foretold: Sequence[Foretold], *, long: bool = False) -> Table:
    """The rungs with what each will take; where names are `long`, those of a base under it."""
    paid = billed(foretold)
    shown = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    shown.add_column("rung", overflow="fold")
    for name in ("to climb", "to measure", "memory", "disk", "labels", *(("tokens", "money") if paid else ())):
        shown.add_column(name, justify="right", no_wrap=True)
    for each, (name, base) in zip(foretold, say.under_bases((own.rung for own in foretold), long=long), strict=True):
        if base:
            shown.add_row(Text(base, style="dim"))
        measuring = each.asking.seconds + each.judging.seconds
        cells = [say.duration(each.cost.seconds), say.duration(measuring) if measuring else say.NONE]
        cells += [say.size(each.cost.memory), say.size(each.cost.disk), f"{each.cost.annotations:,}"]
        if paid:
            money = each.cost.money + each.asking.money + each.judging.money
            tokens = each.cost.tokens + each.asking.tokens + each.judging.tokens
            cells += [say.amount(tokens) if tokens else say.NONE, say.money(money) if money else say.NONE]
        shown.add_row(Text(name), *([say.NONE] * len(cells) if each.refused else cells))
    return shown


def bill_page(bill: Bill, page: Console) -> Iterator[RenderableType]:
    """The base in a line, bytes by way and precision, and the cards; how much of the bytes are weights where the page has room."""
    base = bill.base
    active = f" ({say.amount(base.active)} active)" if base.active < base.parameters else ""
    yield Text(
        f"{base.name}: {base.family}, {say.amount(base.parameters)} parameters{active}, licence {base.licence or 'not stated'}"
    )
    yield Text(f"{base.layers} layers of {base.width}, vocabulary {base.vocabulary:,}, context {base.context:,}\n")
    whys = list(dict.fromkeys(cell.why for row in bill.cells.values() for cell in row.values() if cell.why))
    full = _bytes(bill, whys, weights=True)
    shown = fitting(page, full, _bytes(bill, whys, weights=False))
    yield shown
    batch = batch_of(bill.rows, bill.length)
    yield Text("")
    for number, why in enumerate(whys, 1):
        yield Text(f"[{number}] {why}")
    answer = f", and answers of {bill.answer}" if bill.answer else f", {bill.learned} of each learned"
    brackets = "; in brackets what of it are weights" if shown is full else ""
    yield Text(
        f"Peaks on a GPU with {batch}{answer} (--rows, --length), AdamW with moments in fp32{brackets}. Weights that "
        "learn are kept in fp32 whatever the column, in bf16 beside the copy that is computed in, which is why that may take more. "
        f"lora has r={R} on every linear layer, adapter r={BOTTLENECK}, prefix_tuning and prompt_tuning {SOFT} tokens; selective "
        "learns the last layer, and linear_probe only asks the base. nf4 is doubly quantised; quantised once it takes "
        f"{say.size(bill.single)} to hold. What is no linear layer stays in bf16."
    )
    if bill.unblocked > 0:
        yield Text(
            f"{say.percent(bill.unblocked)} of the linear layers' weights stay in bf16 in nf4: their rows are no whole blocks of "
            f"{BLOCK}, which bitsandbytes on a CPU writes wrongly."
        )
    if base.active < base.parameters:
        yield Text(
            "The experts of a mixture are no linear layers in transformers 5: bitsandbytes leaves them in bf16, and a LoRA on them "
            "works on a copy of all."
        )
    yield Text(f"Rule of thumb to train every weight with Adam in fp32, 24 bytes a parameter: {say.size(bill.rule)}.\n")
    yield from _cards(bill, batch)


def batch_of(rows: int, length: int) -> str:
    """`1 row of 512 tokens`."""
    return f"{say.count(rows, 'row')} of {say.count(length, 'token')}"


def _bytes(bill: Bill, whys: Sequence[str], *, weights: bool) -> Table:
    shown = _table("")
    for precision in bill.cells["hold"]:
        shown.add_column(precision, justify="right", no_wrap=True)
    for way, row in bill.cells.items():
        cells = [
            f"{say.NONE} [{whys.index(cell.why) + 1}]"
            if cell.need is None
            else say.size(cell.need.total) + (f" ({say.size(cell.need.weights)})" if weights and way != "hold" else "")
            for cell in row.values()
        ]
        shown.add_row(Text(TITLES.get(way, way)), *(Text(cell) for cell in cells))
    return shown


def _cards(bill: Bill, batch: str) -> Iterator[RenderableType]:
    """How many cards what takes more than one of the smallest takes, up to the size of which one is enough for all."""
    by_memory = {memory: [card.name for card in same] for memory, same in groupby(cards(), key=lambda card: card.memory)}
    every = {
        f"{TITLES.get(way, way)}, {precision}": [
            cell.cards[names[0]] for names in by_memory.values()
        ]  # of one memory it takes as many
        for way, row in bill.cells.items()
        for precision, cell in row.items()
        if cell.need
    }
    many = {title: counts for title, counts in every.items() if counts[0] != 1}
    smallest = f"one card of {_gigabytes(min(by_memory))} GB"
    if not many:
        yield Text(f"Each fits {smallest}.")
        return
    needed = max(next((at for at, count in enumerate(counts) if count == 1), len(counts)) for counts in many.values())
    sizes = list(by_memory)[: needed + 1]
    shown = _table("cards of so many GB")
    for memory in sizes:
        shown.add_column(_gigabytes(memory), justify="right", no_wrap=True)
    for title, counts in many.items():
        shown.add_row(title, *(f"{count:,}" if count else say.NONE for count in counts[: len(sizes)]))
    yield shown
    if len(many) < len(every):
        yield Text(f"All else fits {smallest}.")
    yield Text("")
    yield Text("; ".join(f"{_gigabytes(memory)}: {', '.join(by_memory[memory])}" for memory in sizes))
    yield Text(
        f"More than one: FSDP2 shares out weights, gradients and moments, and each card works on {batch} of its own. "
        f"{say.NONE} is where not even {MOST:,} cards do, for what cannot be shared out."
    )


def _table(first: str) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    shown.add_column(first, no_wrap=True)
    return shown


def _gigabytes(memory: int) -> str:
    return f"{memory / 1e9:g}"


def bill_facts(bill: Bill) -> dict[str, Any]:
    """The bill as JSON has it: bytes as whole numbers."""
    return {
        "base": freeze(bill.base),
        "rows": bill.rows,
        "length": bill.length,
        "learned": bill.learned,
        "answer": bill.answer,
        "memory": {way: {precision: _facts(cell) for precision, cell in row.items()} for way, row in bill.cells.items()},
        "nf4_quantised_once": bill.single,
        "rule_of_thumb": bill.rule,
        "cards": freeze(cards()),
    }


def _facts(cell: Cell) -> dict[str, Any]:
    if cell.need is None:
        return {"bytes": None, "why": cell.why}
    return {"bytes": cell.need.total, **asdict(cell.need), "cards": dict(cell.cards)}


def suggestion_page(found: Sequence[Suggestion], *, batch: str, strange: Sequence[str]) -> Iterator[RenderableType]:
    """The bases by family and size, two lines each; `strange` are methods among them that are no steps here."""
    wide = max(len(each.entry.base.name) for each in found)
    for family, group in groupby(found, key=lambda each: each.entry.base.family):
        heads = f"{'size':>6}  context  {'cheapest that fits':<21}  strongest that fits"
        yield Text(f"{FAMILIES[family]:<{wide}}  {heads}", style="bold")
        for each in group:
            base = each.entry.base
            strongest = _fit(each.strongest) if each.strongest != each.cheapest else "the same"
            sizes = f"{base.name:<{wide}}  {say.amount(base.parameters):>6}  {base.context:>7,}"
            yield Text(f"{sizes}  {_fit(each.cheapest):<21}  {strongest}")
            where = f"{each.entry.hub or 'in the package'}, {base.licence}{', gated' if each.entry.gated else ''}"
            yield Padding(Text(f"{where}: {each.entry.good_at}", style="dim"), (0, 0, 0, 4), expand=False)
        yield Text("")
    yield Text(
        f"Peaks on a machine like this one with {batch} at once. The cheapest takes the least memory of what fits, but for qlora, "
        "which holds weights in nf4 and is slower: that only where nothing else fits. The strongest changes the most."
    )
    for method in strange:
        yield Text(f"{method} is no step of this edition: other tools train it.")


def _fit(fit: Fit) -> str:
    return f"{fit.method} {say.size(fit.bytes)}"


def suggestion_facts(found: Sequence[Suggestion]) -> list[dict[str, Any]]:
    """The suggestions as JSON has them."""
    return [
        {
            "name": each.entry.base.name,
            "hub": each.entry.hub,
            "family": each.entry.base.family,
            "parameters": each.entry.base.parameters,
            "layers": each.entry.base.layers,
            "width": each.entry.base.width,
            "vocabulary": each.entry.base.vocabulary,
            "context": each.entry.base.context,
            "licence": each.entry.base.licence,
            "gated": each.entry.gated,
            "good_at": each.entry.good_at,
            "cheapest": asdict(each.cheapest),
            "strongest": asdict(each.strongest),
        }
        for each in found
    ]
