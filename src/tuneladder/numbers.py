"""What counts as a number where people write values."""

from __future__ import annotations

from typing import Any

MOST = 2**53  # beyond it a float cannot tell whole numbers apart, and nobody means any


def is_number(value: Any) -> bool:
    """A number of at most 2^53 either way; yes, no, infinity and nan are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -MOST <= value <= MOST


def is_whole(value: Any) -> bool:
    """A number as above, written without a fraction."""
    return isinstance(value, int) and is_number(value)
