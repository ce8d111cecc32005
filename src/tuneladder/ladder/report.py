"""A climbed Ladder, shown: the report, the card, the answers, the terminal's table and the notebook's glance."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tuneladder.ladder import words
from tuneladder.ladder.card import write_card
from tuneladder.ladder.page import page
from tuneladder.ladder.results import cut_short, forecast, forgetting, metric_of, per_answer, results, score_of, write_answers
from tuneladder.ladder.verdict import plainly, sentence, why
from tuneladder.store import write_text
from tuneladder.types import Ladder, Measurement, Result, Score

__all__ = ["glance", "plainly", "results", "sentence", "table", "why", "write_answers", "write_card", "write_report"]


def write_report(ladder: Ladder, folder: Path, *, notes: Sequence[str] = ()) -> Path:
    """Write report.html into `folder`, whose environment.json it shows; `notes` are sentences about the data, beside those of the
    ladder itself."""
    path = folder / "report.html"
    write_text(path, page(ladder, folder, notes))
    return path


FIGURES = 70  # columns of a terminal that the figures beside a rung's name take


def table(ladder: Ladder, *, width: int = 80) -> Group:
    """The rungs for a terminal of this width; the pick is marked with an arrow. Below stand why rungs failed or were cut, and
    what the plan foretold."""
    longest = max((len(result.rung.name) for result in ladder.results), default=0)
    long = longest + FIGURES > width  # then memory makes room for names
    heads = [
        f"{words.metric_name(metric_of(ladder))} dev",
        "test",
        "forgets",
        "to climb",
        *([] if long else ["memory"]),
        "an answer",
    ]
    rows: list[tuple[str, str, list[str], str]] = []  # the mark, the name, the figures, the style
    said: list[Text] = []
    names = words.under_bases((result.rung for result in ladder.results), long=long)
    for result, (name, base) in zip(ladder.results, names, strict=True):
        if base:
            rows.append(("", base, [""] * len(heads), "dim"))
        picked = ladder.pick is not None and ladder.pick.rung == result.rung.name
        if result.failure:
            said.append(Text(f"{result.rung.name} failed: {result.failure}", style="red"))
        if cut := cut_short(result):
            said.append(Text(f"{result.rung.name}: {cut}", style="yellow"))
        cells = [_cell(result.dev, ladder), _cell(result.test, ladder), words.percent(forgetting(result))]
        memory = [] if long else [words.size(result.alone.memory)]
        cells += [words.duration(result.alone.seconds), *memory, words.duration(per_answer(result).seconds)]
        if result.dev is None and result.test is None:
            cells = [words.NONE] * len(cells)
        rows.append(("→" if picked else "", name, cells, "bold" if picked else ""))
    for key, each in ladder.baselines.items():
        cells = [words.NONE, _cell(each, ladder), words.NONE, words.duration(each.spent.seconds)]
        cells += [*([] if long else [words.NONE]), words.duration(each.per_answer.seconds)]
        rows.append(("", words.short_baseline(key), cells, "dim"))
    shown = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1 if long else 2, 0, 0))
    shown.add_column("")
    shown.add_column(
        "rung",
        overflow="fold",
        ratio=1,
        min_width=min(16, max((len(name) for _, name, _, _ in rows), default=0)),
    )
    for at, head in enumerate(heads):  # a head may take two lines, a figure never does
        shown.add_column(head, justify="right", min_width=max((len(cells[at]) for _, _, cells, _ in rows), default=0))
    for mark, name, cells, style in rows:
        shown.add_row(mark, Text(name), *map(Text, cells), style=style)
    return Group(shown, *said, *_forecasts(ladder))


def _forecasts(ladder: Ladder) -> Sequence[RenderableType]:
    """Of the rungs that took time what was measured beside what was foretold, in a small table if there are any."""
    both = [(each.rung.name, forecast(each, "seconds"), forecast(each, "memory")) for each in ladder.results]
    shown = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    shown.add_column("rung", overflow="fold")
    for head in ("to climb", "foretold", "memory", "foretold"):
        shown.add_column(head, justify="right", no_wrap=True)
    for name, seconds, memory in both:
        if seconds:
            cells = [words.duration(seconds[1]), words.duration(seconds[0])]
            cells += [words.size(memory[1]), words.size(memory[0])] if memory else [words.NONE] * 2
            shown.add_row(Text(name), *map(Text, cells))
    return [Text(""), shown] if shown.row_count else []


def glance(ladder: Ladder) -> str:
    """A small table in HTML, as a notebook shows a Ladder."""
    metric = words.metric_name(metric_of(ladder))
    left, right = 'style="text-align:left"', 'style="text-align:right"'
    rows = "".join(_glanced(result, ladder) for result in ladder.results)
    heads = "".join(f"<th {right}>{escape(name)}</th>" for name in (f"{metric}, dev", "test", "forgotten", "to climb", "an answer"))
    said = "".join(f"<p>{escape(each)}</p>" for each in (sentence(ladder), *plainly(ladder)))
    return f"<div>{said}<table><thead><tr><th {left}>rung</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"


def _glanced(result: Result, ladder: Ladder) -> str:
    picked = ladder.pick is not None and ladder.pick.rung == result.rung.name
    name = f"<b>→ {escape(result.rung.name)}</b>" if picked else escape(result.rung.name)
    if result.failure and result.dev is None:
        said = f'<td colspan="5" style="text-align:left">failed: {escape(result.failure)}</td>'
        return f'<tr><td style="text-align:left">{name}</td>{said}</tr>'
    cells = [_cell(result.dev, ladder), _cell(result.test, ladder), words.percent(forgetting(result))]
    cells += [words.duration(result.alone.seconds), words.duration(per_answer(result).seconds)]
    return (
        f'<tr><td style="text-align:left">{name}</td>'
        + "".join(f'<td style="text-align:right">{cell}</td>' for cell in cells)
        + "</tr>"
    )


def _cell(measurement: Measurement | None, ladder: Ladder) -> str:
    score = score_of(measurement, ladder)
    return f"{words.figure(score.value)} {_doubt(score)}" if score else words.NONE


def _doubt(score: Score) -> str:
    """How far the truth may lie from it, in one figure: on the side that it lies on, where the other has less than a quarter."""
    below, above = score.value - score.low, score.high - score.value
    sign, far = ("−", below) if below > 4 * above else ("+", above) if above > 4 * below else ("±", (below + above) / 2)
    return f"{sign}{words.figure(far).lstrip('0')}"
