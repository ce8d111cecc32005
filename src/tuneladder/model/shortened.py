"""How many asks an engine could not put whole, and how many answers it did not give to their end."""

from __future__ import annotations

from collections.abc import Mapping

from tuneladder.model.local import Counts
from tuneladder.model.remote import RemoteEngine
from tuneladder.types import Engine


def shortened(engine: Engine) -> int:
    """How many asks so far were longer than the context, and lost something; 0 for an engine that does not say."""
    if isinstance(engine, RemoteEngine):
        return engine.cut
    return engine.calls.cut if isinstance(engine, Counts) else 0


def unfinished(engine: Engine) -> dict[str, int]:
    """How many answers of an endpoint so far ended at their `length`, how many of those `empty`, and how many by a
    `content_filter`; nothing of another engine."""
    if not isinstance(engine, RemoteEngine):
        return {}
    return {why: engine.ended[why] for why in ("length", "empty", "content_filter")}


def told(engine: Engine, of: str) -> tuple[str, ...]:
    """What was not asked or answered whole so far, in sentences about prompts and answers `of` something."""
    said = f"prompts of {of} were longer than the context: shots were left out, or the row was cut"
    cut = shortened(engine)
    return (*([f"{cut:,} {said}"] if cut else []), *told_unfinished(unfinished(engine), of))


def told_unfinished(found: Mapping[str, int], of: str = "") -> list[str]:
    """What `unfinished` found, in sentences about answers `of` something."""
    lines, answers = [], f"answers{of and f' of {of}'}"
    if cut := found.get("length", 0):
        empty = f", {found['empty']:,} of them with nothing said" if found["empty"] else ""
        lines.append(f"{cut:,} {answers} ended at the most tokens that they may have{empty}: raise `max_new_tokens`")
    if held := found.get("content_filter", 0):
        lines.append(f"{held:,} {answers} were cut or held back by the endpoint's content filter")
    return lines
