"""Probabilities and tokens as a terminal shows them: plain text of so many columns, readable without colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size

from tuneladder.model.odds import Odds
from tuneladder.model.pieces import Piece

WIDEST = 100
EIGHTHS = " ▏▎▍▌▋▊▉"
NAME, ID = 16, 6


def visible(piece: str) -> str:
    """A piece as it can be seen: a blank is a dot, and what does not print is written out."""
    return "".join(
        "·" if letter == " " else letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in piece
    )


def percent(share: float) -> str:
    """A probability in six columns."""
    if share <= 0:
        return "     -"
    return " <0.1%" if share < 0.0005 else f"{share * 100:5.1f}%"


def bar(share: float, width: int, *, blocks: bool = True) -> str:
    """`share` of `width` columns, to an eighth of one; by `#` where there are no blocks. What is not nothing can be seen."""
    if share <= 0:
        return ""
    eighths = max(1, round(share * width * 8))
    if not blocks:
        return "#" * max(1, round(share * width))
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def odds_lines(found: Sequence[Odds], *, width: int, blocks: bool = True) -> Iterator[str]:
    """A row for each token with its probability before and after, as numbers and bars, and a row for all others. Each column has a
    scale of its own, or the one token that greedy decoding leaves would hide all that the model thought."""
    width = min(width, WIDEST)
    room = (width - NAME - ID - 2 * 6 - 6) // 2
    before, after = 1 - sum(each.before for each in found), 1 - sum(each.after for each in found)
    fulls = max(each.before for each in found), max(each.after for each in found)
    yield f"{'token':<{NAME}} {'id':>{ID}}  {'before':<{room + 8}} {'after'}"
    for name, id, first, second in [
        *((visible(each.piece.text), str(each.piece.id), each.before, each.after) for each in found),
        ("all others", "", max(before, 0.0), after if after > 1e-9 else 0.0),
    ]:
        # all others together may be more than any one of them
        bars = [bar(min(1.0, share / full), room, blocks=blocks) for share, full in zip((first, second), fulls, strict=True)]
        left, right = bars
        yield f"{_fitted(name, NAME)} {id:>{ID}} {percent(first)} {_fitted(left, room)} {percent(second)} {right}".rstrip()
    yield f"a full bar is {percent(fulls[0]).strip()} before, {percent(fulls[1]).strip()} after; - cannot be drawn; · is a blank"


def label_lines(chances: Sequence[tuple[str, float]], *, width: int, blocks: bool = True) -> Iterator[str]:
    """Each label with its probability, likeliest first."""
    name = min(40, max(cell_len(label) for label, _ in chances))
    room = min(width, WIDEST) - name - 9
    for label, share in sorted(chances, key=lambda each: -each[1]):
        yield f"{_fitted(label, name)} {percent(share)} {bar(share, room, blocks=blocks)}".rstrip()


def piece_lines(pieces: Sequence[Piece], *, width: int) -> Iterator[str]:
    """The pieces one after another with their ids below them, in as many pairs of lines as it takes."""
    above = below = ""
    for piece in pieces:
        text, id = visible(piece.text), str(piece.id)
        size = max(cell_len(text), len(id)) + 2
        if above and cell_len(above) + size > min(width, WIDEST) + 2:
            yield from (above.rstrip(), below.rstrip())
            above = below = ""
        above, below = above + set_cell_size(text, size), below + id.ljust(size)
    if above:
        yield from (above.rstrip(), below.rstrip())


def _fitted(text: str, width: int) -> str:
    """The text in just so many columns."""
    return set_cell_size(text, width) if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"
