"""How many asks an engine could not put whole."""

from __future__ import annotations

from tuneladder.model.local import Counts
from tuneladder.model.remote import RemoteEngine
from tuneladder.types import Engine


def shortened(engine: Engine) -> int:
    """How many asks so far were longer than the context, and lost something; 0 for an engine that does not say."""
    if isinstance(engine, RemoteEngine):
        return engine.cut
    return engine.calls.cut if isinstance(engine, Counts) else 0
