"""What `agreement` and `pairs` say, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tuneladder.feedback.agreement import Agreement
from tuneladder.feedback.alpha import RELIABLE, TENTATIVE
from tuneladder.feedback.changes import Change
from tuneladder.feedback.disputes import Dispute
from tuneladder.feedback.judgements import JudgementFile
from tuneladder.feedback.labelers import Labeler
from tuneladder.feedback.pairs import Exported
from tuneladder.ladder import words as say
from tuneladder.task.formats import text_of
from tuneladder.types import Score


def left_out(read: JudgementFile) -> Iterator[str]:
    """What of a file of judgements was not taken as it stands."""
    if read.tool:
        yield f"read as an export from {read.tool}"
    if read.empty:
        yield f"{say.count(read.empty, 'row')} without a value left out"
    if read.unread:
        yield f"columns left unread: {', '.join(read.unread)[:200]}"


def agreement_page(found: Agreement, *, show: int) -> Iterator[RenderableType]:
    """The figures, `show` labelers at most, and what stands out."""
    under = f" under {found.rubric}" if found.rubric else ""
    people = say.count(len(found.labelers) + found.unnamed, "labeler")
    whole = f"{say.count(found.judgements, 'judgement')} of {say.count(found.items, 'item')} by {people}{under}"
    yield Text(whole, style="bold")
    yield from _figures(found, show)
    # those that stand out first, and then who agrees least
    order = sorted(found.labelers, key=lambda each: (not each.findings, each.accord.value if each.accord else 1.0))
    if show and order:
        yield _people(order[:show], scored=found.level != "nominal")
    if len(order) > show:
        yield Text(f"and {len(order) - show:,} more (--show {len(order)}, or --json)", style="dim")
    yield from _standing_out(order)
    if found.unnamed:
        yield Text(f"{say.count(found.unnamed, 'labeler')} not named: each counts as another person, and nothing is said of them")
    if found.disputes and show:
        yield Text(f"\n{say.count(len(found.disputes), found.unit)} in dispute", style="bold")
        yield from (Text(f"  {_dispute(each)}") for each in found.disputes[:show])
    if found.slips and show:
        yield Text(f"\n{say.count(len(found.slips), 'judgement')} to look at again", style="bold")
        yield from (Text(f"  {slip.item}: {slip.labeler} {slip.said}") for slip in found.slips[:show])


def _figures(found: Agreement, show: int) -> Iterator[Text]:
    on = " on pairs of the ranked" if found.unit == "pair" else ""
    for level, score in found.alphas.items():
        mark = "*" if len(found.alphas) > 1 and level == found.level else " "
        yield Text(f"{mark} alpha, {level:<9} {say.scored(score)}{on}")
    for name, value in {"Fleiss' kappa": found.fleiss, "Cohen's kappa, mean of pairs": found.cohen}.items():
        if value is not None:
            yield Text(f"  {name} {say.figure(value)}")
    yield Text(f"  alpha (Krippendorff): from {RELIABLE} to rely on, from {TENTATIVE} for tentative conclusions", style="dim")
    for way, score in found.gold.items():
        yield Text(f"  right by gold: {way} {say.scored(score)}, {say.count(score.count, found.unit)}")
    if found.tied:
        more = " ..." if len(found.tied) > show else ""
        yield Text(f"  {say.count(len(found.tied), found.unit)} tied by majority: {', '.join(found.tied[:show])}{more}")
    for strength in found.strengths:
        span = say.scored(Score(strength.value, strength.low, strength.high, found.items, ""))
        yield Text(f"  {strength.name}: {span}")
    if found.strengths:
        yield Text("  the ranked by Bradley and Terry's strength, its natural logarithm, 0 their mean", style="dim")


def _people(order: Sequence[Labeler], *, scored: bool) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    columns = {"labeler": True, "judgements": True, "beyond chance": True, "severity": scored}
    columns |= {"by gold": any(each.right for each in order), "repeats": any(each.repeats for each in order)}
    for name in (name for name, there in columns.items() if there):
        shown.add_column(name, justify="left" if name == "labeler" else "right", no_wrap=True)
    for each in order:
        cells = {"labeler": each.name, "judgements": f"{each.count:,}", "beyond chance": _score(each.accord)}
        cells |= {"severity": _score(each.severity), "by gold": _score(each.right)}
        cells |= {"repeats": repeated(each) or say.NONE}
        shown.add_row(*(Text(cells[name]) for name, there in columns.items() if there))
    return shown


def _standing_out(order: Sequence[Labeler]) -> Iterator[Text]:
    if any(each.findings for each in order):
        yield Text("\nwho stands out", style="bold")
    for each in order:
        for finding in each.findings:
            p = f" ({say.plausible(finding.p)})" if finding.p is not None else ""
            yield Text(f"  {each.name} {finding.said}{p}")


def repeated(found: Labeler) -> str:
    """How a labeler judged items when asked again; "" where they were not."""
    if not found.repeats:
        return ""
    if found.moved is None:
        return f"{found.same} of {found.repeats} alike"
    return f"{found.moved:.2g} apart, {say.count(found.repeats, 'item')}"


def _dispute(dispute: Dispute) -> str:
    voices = (f"{each.labeler} {text_of(each.value)}" + (f" ({each.why})" if each.why else "") for each in dispute.said)
    return f"{dispute.item}: {say.clip('; '.join(voices), 400)}"


def _score(score: Score | None) -> str:
    return say.scored(score) if score else say.NONE


def change_line(change: Change) -> str:
    """What a new version of a guideline did."""
    items = f"{say.count(change.difference.count, 'item')}, {change.shared:,} of them under both"
    return (
        f"from {change.before} to {change.after}: alpha, {change.level}, after less before: {say.scored(change.difference)}, "
        f"{say.plausible(change.p)}, {items}"
    )


def pairs_line(found: Exported) -> str:
    """How many pairs can be learned, and why not the others."""
    left = {"tied": found.tied, "where every answer failed": found.failed, "of equal texts": found.alike}
    out = [f"{count:,} {why}" for why, count in left.items() if count]
    return say.count(len(found.comparisons), "comparison") + (f"; pairs left out: {', '.join(out)}" if out else "")
