"""The time, as judgements keep it."""

from __future__ import annotations

import datetime


def now() -> str:
    """UTC in ISO 8601 to the microsecond, so that no two judgements of a person are said at once."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
