"""A shape made into a folder: what cannot be made is said before anything is drawn."""

from __future__ import annotations

import pytest

from tuneladder.errors import BadInput
from tuneladder.model.inspect import from_shape
from tuneladder.model.root import root_base
from tuneladder.store import Store


@pytest.mark.parametrize("change", [{"layers": 96, "width": 16_384, "heads": 128}, {"width": 1_000_000, "heads": 4}])
def test_a_shape_that_the_machine_cannot_hold_is_refused(change, tiny_task, tmp_path):
    shape = {"layers": 1, "width": 64, "heads": 4, "vocabulary": 300} | change
    with pytest.raises(BadInput, match=r"the shape of vast makes [\d,]+ parameters, [\d,]+ GB, and this machine has"):
        root_base(from_shape("vast", shape), tiny_task, Store(tmp_path), seed=0)
    assert not [*tmp_path.iterdir()]
