"""What counts as a number where people write values."""

from __future__ import annotations

import math
from typing import Any


def is_number(value: Any) -> bool:
    """A finite number within a float's range; yes and no are none."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False
