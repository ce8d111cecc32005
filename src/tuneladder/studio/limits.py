"""How often somebody may try: a bucket that fills with time and that each try takes from."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MOST = 10_000  # names that are remembered; whoever was not seen for longest is forgotten


class Limit:
    """`burst` tries at once, and `per_minute` thereafter, for each name."""

    def __init__(self, burst: int, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.burst, self.per_second, self.clock = burst, per_minute / 60, clock
        self.left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.lock = threading.Lock()

    def wait(self, name: str) -> int:
        """0 where the try is allowed, and then it counts; else the seconds until one is."""
        with self.lock:
            now = self.clock()
            left, then = self.left.pop(name, (float(self.burst), now))
            left = min(self.burst, left + (now - then) * self.per_second)
            allowed = left >= 1
            self.left[name] = (left - 1 if allowed else left, now)
            if len(self.left) > MOST:
                self.left.popitem(last=False)
            return 0 if allowed else math.ceil((1 - left) / self.per_second)
