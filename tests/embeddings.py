"""What embeddings say of how texts lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tuneladder.model.shelf import Shelf
from tuneladder.types import Turns, Variant


def cosines(shelf: Shelf, variant: Variant, asks: Sequence[Turns]) -> np.ndarray[Any, Any]:
    """(N, N): how alike the variant finds each two of the asks."""
    with shelf.engine(variant) as engine:
        own = engine.embed(asks)
    own = own / np.linalg.norm(own, axis=1, keepdims=True)
    return own @ own.T  # type: ignore[no-any-return]
