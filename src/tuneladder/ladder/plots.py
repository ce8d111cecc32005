"""Small SVG drawings. Every mark is told by its shape or its label, never by colour alone; colours are the page's CSS variables.

Drawings that only need positions along one axis use percentages, so that they stretch without stretching their text; the two
with laid-out labels are drawn for a width in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

from markupsafe import Markup

Shape = Literal["circle", "square", "diamond"]
MOST_NAMES = 10  # more rungs than this are drawn with their numbers, which the table explains
FEW_NAMES = 3  # as many on a phone, where a long name ends at another's mark
LETTER = 6.7  # pixels that a 12-pixel letter takes in a wide sans serif; labels are laid out with it


@dataclass(frozen=True)
class Point:
    """A rung: `label` where there is room for it, `number` where there is not."""

    number: str
    label: str
    x: float
    y: float
    low: float
    high: float
    shape: Shape
    picked: bool


@dataclass(frozen=True)
class Line:
    """A level across the plot; `interval` is drawn at its right end."""

    label: str
    y: float
    interval: tuple[float, float] | None = None
    bar: bool = False


@dataclass(frozen=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """The common area, square pixels."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return wide * high if wide > 0 and high > 0 else 0.0


def scatter(
    points: Sequence[Point],
    lines: Sequence[Line],
    *,
    width: int,
    height: int,
    rising: bool,
    x_title: str,
    y_title: str,
    ticks: Callable[[float, float], list[tuple[float, str]]],
    figure: Callable[[float], str],
) -> Markup:
    """Quality (y, with intervals) against cost (x, logarithmic); `ticks(low, high)` gives the cost axis its marks."""
    left, right, top, bottom = 52, 132 if width >= 600 else 92, 34, 50
    costs = [max(point.x, 1e-6) for point in points]
    x_low, x_high = _widen(min(costs), max(costs))
    near, far = _levels(points, lines)
    levels = [v for p in points for v in (p.low, p.high)] + [v for n in near for v in (n.y, *(n.interval or ()))]
    room = (max(levels) - min(levels) or 0.1) * 0.07
    y_low, y_high = min(levels) - room, max(levels) + room
    marks = nice(y_low, y_high, 5)

    def x_at(value: float) -> float:
        share: float = (math.log10(max(value, 1e-6)) - math.log10(x_low)) / (math.log10(x_high) - math.log10(x_low))
        return left + share * (width - left - right)

    def y_at(value: float) -> float:
        share: float = (value - y_low) / (y_high - y_low)
        return height - bottom - share * (height - top - bottom)

    edge, floor = width - right, height - bottom
    out = [_open(width, height, f"{y_title} against {x_title}: " + "; ".join(f"{p.label} {figure(p.y)}" for p in points))]
    for mark in marks:
        out.append(f'<line class="grid" x1="{left}" x2="{edge:.1f}" y1="{y_at(mark):.1f}" y2="{y_at(mark):.1f}"/>')
        out.append(_text(left - 9, y_at(mark) + 4, f"{mark:g}", "tick", "end"))
    free = left - LETTER * 2
    for value, label in ticks(x_low, x_high):
        half = LETTER * len(label) / 2
        if x_at(value) - half < free:  # its label would lie on the one before
            continue
        free = x_at(value) + half + LETTER
        out.append(f'<line class="axis" x1="{x_at(value):.1f}" x2="{x_at(value):.1f}" y1="{floor}" y2="{floor + 5}"/>')
        out.append(_text(x_at(value), floor + 19, label, "tick", "middle"))
    out.append(f'<line class="axis" x1="{left}" x2="{edge:.1f}" y1="{floor}" y2="{floor}"/>')
    out.append(_text((left + edge) / 2, height - 8, x_title, "title", "middle"))
    out.append(_text(2, 14, f"{y_title}, {'higher is better ↑' if rising else 'lower is better ↓'}", "title", "start"))

    # what labels keep off, and how much each square pixel of it counts
    marks_at = [_whisker(x_at(p.x), y_at(p.high), y_at(p.low)) for p in points]
    marks_at += [Box(x_at(p.x) - 8, y_at(p.y) - 8, x_at(p.x) + 8, y_at(p.y) + 8) for p in points]
    obstacles = [(box, 4.0) for box in marks_at] + [(Box(left, y_at(line.y) - 1, edge, y_at(line.y) + 1), 1.0) for line in near]
    out += _level_lines(near, far, rising, y_at, left, edge, floor, lambda y: f" {figure(y)}" if width >= 600 else "")
    obstacles += [(box, 1.0) for box in _front(points, rising, x_at, y_at, out)]
    # close to another mark a label would be read as that one's
    around = [(p, Box(x_at(p.x) - 26, y_at(p.y) - 26, x_at(p.x) + 26, y_at(p.y) + 26)) for p in points]
    for point in points:
        kind = "picked" if point.picked else "rung"
        x, y, y1, y2 = x_at(point.x), y_at(point.y), y_at(point.high), y_at(point.low)
        out.append(
            f'<g class="{kind}"><title>{escape(point.label)}: {figure(point.y)} '
            f"({figure(point.low)} to {figure(point.high)})</title>"
        )
        out.append(f'<path class="whisker" d="{_bracket(x, y1, y2)}"/>')
        out.append(
            (f'<circle class="halo" cx="{x:.1f}" cy="{y:.1f}" r="12"/>' if point.picked else "")
            + mark_of(point.shape, x, y)
            + "</g>"
        )
    inside = Box(left + 2, top - 14, edge - 2, floor - 2)
    for point in sorted(points, key=lambda p: not p.picked):
        theirs = [(box, 0.1) for other, box in around if other is not point]
        texts = [point.number]
        if len(points) <= (MOST_NAMES if width >= 600 else FEW_NAMES) or (point.picked and width >= 600):
            texts = [f"{point.number}\u2002{point.label}", f"{point.number}\u2002{_short(point.label, 24)}", point.number]
        x, y, text, box = _place(texts, x_at(point.x), y_at(point.y), [*obstacles, *theirs], inside, picked=point.picked)
        obstacles.append((box, 12.0))
        out.append(_text(x, y, text, "label strong" if point.picked else "label", "start"))
    return Markup("".join(out) + "</svg>")


def _levels(points: Sequence[Point], lines: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    """Lines to scale, and those so far off that drawing them would squash the rungs: these are only named at the edge."""
    low, high = min(p.low for p in points), max(p.high for p in points)
    reach = 0.4 * max(high - low, 0.02)
    near = [line for line in lines if line.bar or low - reach <= line.y <= high + reach]
    return near, [line for line in lines if line not in near]


def _level_lines(
    near: Sequence[Line],
    far: Sequence[Line],
    rising: bool,
    y_at: Callable[[float], float],
    left: float,
    edge: float,
    floor: float,
    figures: Callable[[float], str],
) -> list[str]:
    out = []
    ordered = sorted(near, key=lambda line: y_at(line.y))
    places = spread([y_at(line.y) for line in ordered], 16)
    for line, place in zip(ordered, places, strict=True):
        y, kind = y_at(line.y), "bar" if line.bar else "level"
        out.append(f'<line class="{kind}" x1="{left}" x2="{edge:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        if line.interval:
            y1, y2 = y_at(line.interval[1]), y_at(line.interval[0])
            out.append(f'<path class="whisker level" d="{_bracket(edge, y1, y2)}"/>')
        out.append(f'<path class="leader" d="M{edge + 5:.1f} {y:.1f}L{edge + 12:.1f} {place:.1f}"/>')
        out.append(_text(edge + 15, place + 4, f"{line.label}{figures(line.y)}", f"label {kind}", "start"))
    for index, line in enumerate(far):
        arrow = "↓" if rising else "↑"
        y = floor - 6 - 16 * index if rising else 34 + 16 * index
        out.append(_text(edge + 15, y, f"{arrow} {line.label}{figures(line.y)}", "label level", "start"))
    return out


def _front(
    points: Sequence[Point], rising: bool, x_at: Callable[[float], float], y_at: Callable[[float], float], out: list[str]
) -> list[Box]:
    """The best that each cost buys, as a stair; returns the boxes that labels had better not cross."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y if rising else p.y)):
        if not front or (point.y > front[-1].y if rising else point.y < front[-1].y):
            front.append(point)
    if len(front) < 2:
        return []
    path, boxes = f"M{x_at(front[0].x):.1f} {y_at(front[0].y):.1f}", []
    for a, b in pairwise(front):
        path += f"H{x_at(b.x):.1f}V{y_at(b.y):.1f}"
        boxes.append(Box(x_at(a.x), y_at(a.y) - 1, x_at(b.x), y_at(a.y) + 1))
    out.append(f'<path class="front" d="{path}"/>')
    return boxes


def _place(
    texts: Sequence[str], x: float, y: float, obstacles: Sequence[tuple[Box, float]], inside: Box, *, picked: bool
) -> tuple[float, float, str, Box]:
    """Where the label goes: the place around the mark that covers least, for the first of the texts that finds a free one. That of
    the pick is bold, and stands off its ring."""
    best: tuple[float, float, float, str, Box] | None = None
    for text in texts:
        wide, off = (1.12 * LETTER * len(text), 17) if picked else (LETTER * len(text), 13)
        for shift in (0, -15, 15, -28, 28, -42, 42, -56, 56):
            for start in (x + off, x - off - wide, x - wide / 2):
                if start == x - wide / 2 and abs(shift) < 15:
                    continue
                box = Box(start - 2, y + shift - 8, start + wide + 2, y + shift + 8)
                outside = (box.right - box.left) * 16 - box.overlap(inside)
                bad = sum(box.overlap(other) * weight for other, weight in obstacles) + outside * 8 + abs(shift) * 0.4
                if best is None or bad < best[0]:
                    best = (bad, start, y + shift + 4, text, box)
        if best is not None and best[0] < 60:
            break
    assert best is not None
    return best[1], best[2], best[3], best[4]


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 8]}…{text[-7:]}"


def _whisker(x: float, top: float, bottom: float) -> Box:
    return Box(x - 5, top - 2, x + 5, bottom + 2)


def _bracket(x: float, top: float, bottom: float) -> str:
    return f"M{x - 4:.1f} {top:.1f}h8M{x:.1f} {top:.1f}V{bottom:.1f}M{x - 4:.1f} {bottom:.1f}h8"


def _widen(low: float, high: float) -> tuple[float, float]:
    """At least a decade of cost, with room at both ends."""
    if high < low * 10:
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
    return low / 1.6, high * 1.6


def mark_of(shape: Shape, x: float, y: float) -> str:
    if shape == "circle":
        return f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="6"/>'
    if shape == "square":
        return f'<rect class="mark" x="{x - 5.5:.1f}" y="{y - 5.5:.1f}" width="11" height="11" rx="1.5"/>'
    return f'<path class="mark" d="M{x:.1f} {y - 7.5:.1f}l7.5 7.5l-7.5 7.5l-7.5 -7.5z"/>'


def legend(shape: Shape) -> Markup:
    return Markup(f'<svg class="key" width="18" height="18" aria-hidden="true"><g class="rung">{mark_of(shape, 9, 9)}</g></svg>')


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move sorted places apart until neighbours are `gap` away, as little as it takes."""
    out = list(places)
    for _ in range(60):
        for index in range(1, len(out)):
            short = gap - (out[index] - out[index - 1])
            if short > 0.01:
                out[index - 1] -= short / 2
                out[index] += short / 2
    return out


def nice(low: float, high: float, about: int) -> list[float]:
    """Round numbers between low and high, roughly `about` of them."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def strip(value: float, low: float, high: float, scale: tuple[float, float], bar: float | None, *, picked: bool) -> Markup:
    """A score on a scale shared by the column: the interval, the value, and the bar as a tick."""

    def at(number: float) -> str:
        return f"{3 + 94 * min(max((number - scale[0]) / (scale[1] - scale[0] or 1), 0), 1):.2f}%"

    tick = f'<line class="bar" x1="{at(bar)}" x2="{at(bar)}" y1="0" y2="14"/>' if bar is not None else ""
    return Markup(
        f'<svg class="strip {"picked" if picked else "rung"}" height="14" aria-hidden="true">{tick}'
        f'<line class="reach" x1="{at(low)}" x2="{at(high)}" y1="7" y2="7"/>'
        f'<circle class="mark" cx="{at(value)}" cy="7" r="3.3"/></svg>'
    )


def bars(value: float, scale: tuple[float, float], limit: float | None, *, over: bool) -> Markup:
    """One horizontal bar from zero; `limit` is a tick, and what lies over it is hatched."""
    wide = scale[1] - scale[0] or 1

    def at(number: float) -> float:
        return 1 + 98 * (number - scale[0]) / wide

    start, end = sorted((at(0), at(value)))
    tick = f'<line class="bar" x1="{at(limit):.2f}%" x2="{at(limit):.2f}%" y1="0" y2="20"/>' if limit is not None else ""
    return Markup(
        f'<svg class="barrow" height="20" aria-hidden="true"><rect class="{"over" if over else "under"}" x="{start:.2f}%" '
        f'width="{end - start:.2f}%" y="4" height="12" rx="2"/>'
        f'<line class="axis" x1="{at(0):.2f}%" x2="{at(0):.2f}%" y1="0" y2="20"/>{tick}</svg>'
    )


def dumbbell(predicted: float, found: float, scale: tuple[float, float]) -> Markup:
    """Predicted (hollow) and measured (full) on a logarithmic scale."""
    low, high = (math.log(max(each, 1e-9)) for each in scale)

    def at(number: float) -> str:
        return f"{4 + 92 * (math.log(max(number, 1e-9)) - low) / ((high - low) or 1):.2f}%"

    return Markup(
        f'<svg class="dumbbell" height="18" aria-hidden="true"><line class="grid" x1="0" x2="100%" y1="9" y2="9"/>'
        f'<line class="reach" x1="{at(predicted)}" x2="{at(found)}" y1="9" y2="9"/>'
        f'<circle class="hollow" cx="{at(predicted)}" cy="9" r="4.5"/><circle class="mark" cx="{at(found)}" cy="9" r="4.5"/></svg>'
    )


def curve(train: Sequence[tuple[int, float]], dev: Sequence[tuple[int, float]], *, title: str) -> Markup:
    """Training loss as a thin line, dev loss as a thick one with a dot at each measurement and its best value written out."""
    width, height, left, right, top, bottom = 470, 220, 40, 50, 12, 26
    train, dev = _thin(_finite(train), 140), _thin(_finite(dev), 60)
    values = [loss for _, loss in (*train, *dev)]
    if not values:
        return Markup("")
    last = max(step for step, _ in (*train, *dev))
    low, high = min(values), _high(values)
    room = (high - low or 0.1) * 0.08
    low, high = low - room, high + room

    def at(step: int, loss: float) -> tuple[float, float]:
        share = min(max((loss - low) / (high - low), 0), 1)
        return left + (width - left - right) * step / (last or 1), height - bottom - share * (height - top - bottom)

    out = [_open(width, height, title)]
    for mark in nice(low, high, 4):
        y = at(0, mark)[1]
        out.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(_text(left - 7, y + 4, f"{mark:g}", "tick", "end"))
    for step in nice(0, last or 1, 4):
        if step == int(step):
            out.append(_text(at(int(step), low)[0], height - 8, f"{int(step):,}", "tick", "middle"))
    ends = []
    for name, series in (("train", train), ("dev", dev)):
        if series:
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in (at(*each) for each in series))
            out.append(f'<path class="{name}" d="{path}"/>')
            ends.append((at(*series[-1])[1], name))
    ends.sort()
    for (_, name), place in zip(ends, spread([y for y, _ in ends], 14), strict=True):
        out.append(_text(width - right + 6, place + 4, name, f"label {name}", "start"))
    out += [f'<circle class="devdot" cx="{at(*each)[0]:.1f}" cy="{at(*each)[1]:.1f}" r="2.6"/>' for each in dev]
    if dev:
        x, y = at(*min(dev, key=lambda each: each[1]))
        out.append(f'<circle class="best" cx="{x:.1f}" cy="{y:.1f}" r="6"/>')
    return Markup("".join(out) + "</svg>")


def path(points: Sequence[tuple[float, float]], *, title: str) -> Markup:
    """Reward (y) against KL (x), in the order that a policy went through them: a ring where it began, a dot each time it wrote."""
    width, height, left, right, top, bottom = 470, 240, 48, 20, 22, 42
    across, up = zip(*points, strict=True)
    x_low, x_high, y_low, y_high = min(0.0, *across), max(across), min(up), max(up)
    x_high, room = (x_high if x_high - x_low > 1e-9 else x_low + 1), ((y_high - y_low) or 0.1) * 0.08
    y_low, y_high = y_low - room, y_high + room

    def at(x: float, y: float) -> tuple[float, float]:
        along, above = (x - x_low) / (x_high - x_low), (y - y_low) / (y_high - y_low)
        return left + along * (width - left - right), height - bottom - above * (height - top - bottom)

    out = [_open(width, height, title), _text(left, top - 10, "reward", "tick", "start")]
    for mark in nice(y_low, y_high, 4):
        y = at(x_low, mark)[1]
        out.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(_text(left - 7, y + 4, f"{mark:g}", "tick", "end"))
    for mark in nice(x_low, x_high, 4):
        out.append(_text(at(mark, y_low)[0], height - bottom + 16, f"{mark:g}", "tick", "middle"))
    out.append(_text((left + width - right) / 2, height - 6, "KL to the reference, nats an answer", "tick", "middle"))
    places = [at(*point) for point in points]
    out.append('<path class="train" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in places) + '"/>')
    out += [f'<circle class="devdot" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in places]
    out.append(f'<circle class="best" cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="6"/>')
    return Markup("".join(out) + "</svg>")


def reliability(bins: Sequence[tuple[float, float, float, float]], *, title: str) -> Markup:
    """How often answers are right (with its interval) against how sure they are: on the dashed diagonal both are the same."""
    width, height, left, right, top, bottom = 400, 330, 50, 22, 30, 44

    def at(x: float, y: float) -> tuple[float, float]:
        return left + x * (width - left - right), height - bottom - y * (height - top - bottom)

    out = [_open(width, height, title)]
    for mark in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = at(mark, mark)
        out.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(_text(left - 7, y + 4, f"{100 * mark:.0f} %", "tick", "end"))
        out.append(_text(x, height - bottom + 17, f"{100 * mark:.0f} %", "tick", "middle"))
    (x1, y1), (x2, y2) = at(0, 0), at(1, 1)
    out.append(f'<line class="level" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
    out.append('<g class="rung">')
    for confidence, share, low, high in bins:
        x, y = at(confidence, share)
        out.append(
            f"<g><title>{100 * confidence:.0f} % sure: {100 * share:.0f} % right ({100 * low:.0f} % to {100 * high:.0f} %)</title>"
        )
        out.append(f'<path class="whisker" d="{_bracket(x, at(0, high)[1], at(0, low)[1])}"/>')
        out.append(mark_of("circle", x, y) + "</g>")
    out.append("</g>")
    out.append(_text(2, 14, "right", "title", "start"))
    out.append(_text((left + width - right) / 2, height - 6, "how sure", "title", "middle"))
    return Markup("".join(out) + "</svg>")


def _finite(series: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    return [(step, loss) for step, loss in series if math.isfinite(loss)]


def _thin(series: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """At most about `most` points, each the mean of its neighbours."""
    if len(series) <= most:
        return list(series)
    by = math.ceil(len(series) / most)
    chunks = [series[start : start + by] for start in range(0, len(series), by)]
    return [(chunk[len(chunk) // 2][0], sum(loss for _, loss in chunk) / len(chunk)) for chunk in chunks]


def _high(values: Sequence[float]) -> float:
    """The top of a loss axis: a first spike is cut off rather than flatten all that follows."""
    ordered = sorted(values)
    return min(ordered[-1], ordered[int(0.97 * (len(ordered) - 1))] * 1.6)


def _open(width: float, height: float, title: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{escape(title)}">'


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
