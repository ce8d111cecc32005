"""A folder that is no whole base is refused by its files, without torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tuneladder.errors import BadInput
from tuneladder.model.inspect import inspect
from tuneladder.model.whole import check_whole, weighed


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def refused(folder: Path, said: str) -> None:
    with pytest.raises(BadInput, match=said) as error:
        check_whole(folder)
    assert error.value.hint


def test_a_whole_base_passes_in_one_file_and_in_several(copy: Path) -> None:
    check_whole(copy)
    index = copy / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))
    shutil.copy(copy / "model.safetensors", copy / "model-1.safetensors")
    (copy / "model.safetensors").rename(copy / "model-2.safetensors")
    check_whole(copy)
    (copy / "model-2.safetensors").unlink()
    refused(copy, r"lacks model-2\.safetensors, one of the 2 files of its weights")
    index.write_text("{}")
    refused(copy, r"index\.json cannot be read")


def test_what_is_missing_is_named(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "gone")
    looked_at = inspect(str(copy))  # takes none
    with pytest.raises(BadInput, match=r"holds no weights: there is no model\.safetensors"):
        weighed(looked_at)
    (copy / "adapter_config.json").write_text("{}")
    refused(copy, "holds an adapter, not a base")
    (copy / "adapter_config.json").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"x")
    refused(copy, r"keeps its weights in pytorch_model\.bin")
    (copy / "gone").rename(copy / "model.safetensors")
    for path in copy.glob("tokenizer*"):
        path.unlink()
    refused(copy, "holds no tokenizer")
    (copy / "config.json").write_text("{")
    refused(copy, r"config\.json of .* cannot be read")
    (copy / "config.json").unlink()
    refused(copy, r"there is no config\.json in")


def test_weights_that_were_cut_are_told_by_their_size(copy: Path) -> None:
    path = copy / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    refused(copy, rf"is broken: it has {len(whole) - 5:,} bytes, and its head says {len(whole):,}")
    path.write_bytes(whole[:100])
    refused(copy, "is broken: its 100 bytes hold no whole head of a safetensors file")
    for held in (b"", b"version https://git-lfs.github.com/spec/v1\n"):
        path.write_bytes(held)
        refused(copy, "is broken")
    path.write_bytes((5).to_bytes(8, "little") + b"hello")
    refused(copy, "is no safetensors file")
