"""A shelf that lends an engine without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tuneladder.types import Engine, Kit, Variant


class FakeShelf:
    def __init__(self, engine: Engine) -> None:
        self.given, self.asked = engine, list[Variant]()

    @contextmanager
    def engine(self, variant: Variant) -> Iterator[Engine]:
        self.asked.append(variant)
        yield self.given


@pytest.fixture
def lend_fake(lend: Callable[..., Kit]) -> Callable[..., Kit]:
    """Makes a kit whose shelf lends this engine for every variant."""
    return lambda engine, name="step", *, seed=0: replace(lend(name, seed=seed), shelf=FakeShelf(engine))
