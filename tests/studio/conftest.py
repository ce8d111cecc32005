"""A studio for each test, closed after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.studio.visiting import PLAIN, House, opened, write_labelling

from tuneladder.studio.locks import PASSWORD


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, PLAIN)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """`house(known=[...])`: a labelling is written and its studio opened, to be closed after the test."""
    with ExitStack() as stack:

        def build(*, options: dict[str, Any] | None = None, **keys: Any) -> House:
            return stack.enter_context(opened(write_labelling(tmp_path, **keys), **(options or {})))

        yield build
