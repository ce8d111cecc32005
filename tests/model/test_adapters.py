"""A folder that should hold an adapter, and does not hold one for this base: said before anything is asked of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from tuneladder.errors import BadInput
from tuneladder.model.adapters import open_adapter
from tuneladder.model.attach import attach_lora, save_adapter
from tuneladder.model.inspect import inspect
from tuneladder.model.shelf import Shelf
from tuneladder.types import Prompt, Variant


@pytest.fixture(scope="module")
def adapter(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter") / "lora"
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    tuned = attach_lora(model, r=2, alpha=4, dropout=0.0, targets=["q_proj", "down_proj"], seed=0)
    save_adapter(tuned, folder, base=str(tiny_folder))
    return folder


@pytest.fixture
def copy(adapter, tmp_path):
    return Path(shutil.copytree(adapter, tmp_path / "lora"))


def test_an_adapter_has_no_card_that_says_nothing(adapter):
    assert sorted(path.name for path in adapter.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def opened(folder, base):
    with Shelf("cpu", dtype=torch.float32).live(Variant(inspect(str(base)), Prompt(), adapter=str(folder))) as live:
        return live.model


def told(folder, **changes):
    path = folder / "adapter_config.json"
    config = {key: value for key, value in (json.loads(path.read_text()) | changes).items() if value is not ...}
    path.write_text(json.dumps(config))


def cut(folder):
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickled(folder):
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


BROKEN = {
    "cut": (cut, "is broken", "make it again"),
    "empty": (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b""), "is broken", "make it again"),
    "no weights": (lambda folder: (folder / "adapter_model.safetensors").unlink(), "holds no weights", "make it again"),
    "no config": (lambda folder: (folder / "adapter_config.json").unlink(), "holds no adapter", "make it again"),
    "bad json": (
        lambda folder: (folder / "adapter_config.json").write_text('{"peft_type": '),
        "adapter_config.json is broken",
        "restore it",
    ),
    "no object": (lambda folder: (folder / "adapter_config.json").write_text("[]"), "holds no adapter", "make it again"),
    "another rank": (lambda folder: told(folder, r=3), "does not fit tiny: .*size mismatch", "are not of one save; restore it"),
    "no type": (lambda folder: told(folder, peft_type=...), "adapter_config.json in it has no 'peft_type'", "not of one save"),
    "pickled": (pickled, r"adapter_model\.bin, and opening such a file can run code", "save_pretrained"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_folder_says_what_is_wrong(name, copy, tiny_folder):
    spoil, said, hint = BROKEN[name]
    spoil(copy)
    before = sorted(path.name for path in copy.iterdir())
    with pytest.raises(BadInput, match=said) as error:
        opened(copy, tiny_folder)
    assert hint in error.value.hint
    assert sorted(path.name for path in copy.iterdir()) == before


def other(tiny_folder, folder, **sizes):
    shutil.copytree(tiny_folder, folder)
    config = LlamaConfig.from_pretrained(tiny_folder, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"hidden_size": 64, "intermediate_size": 64}, "does not fit wide: .*size mismatch"),
        ({"num_hidden_layers": 3}, "which wide asks for"),
        ({}, "was made for tiny, and this is wide"),
    ],
    ids=["width", "layers", "name"],
)
def test_an_adapter_of_another_base(sizes, said, adapter, tiny_folder, tmp_path):
    base = other(tiny_folder, tmp_path / "wide", **sizes)
    with pytest.raises(BadInput, match=said) as error:
        opened(adapter, base)
    assert "name that base" in error.value.hint
    opened(adapter, tiny_folder)


def test_a_base_of_another_architecture(adapter, shaped):
    with pytest.raises(BadInput, match="does not fit mamba"):
        opened(adapter, shaped("mamba"))


def test_a_base_that_moved_keeps_its_adapters(copy, tiny_folder, tmp_path):
    """A store is moved as a whole: what an adapter lies over keeps its name, and not its place."""
    moved = Path(shutil.copytree(tiny_folder, tmp_path / "elsewhere" / "tiny"))
    config = json.loads((copy / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_folder)
    model, soft = open_adapter(AutoModelForCausalLM.from_pretrained(moved), str(copy))
    assert soft == ()
    assert model.peft_config["default"].r == 2


def test_a_store_trusts_its_keys(copy, tiny_folder, tmp_path):
    """The same base may lie in two places, and a node is keyed by what it holds."""
    twin = Path(shutil.copytree(tiny_folder, tmp_path / "twin"))
    with pytest.raises(BadInput, match="was made for tiny"):
        opened(copy, twin)
    (copy / "done.json").write_text("{}")
    opened(copy, twin)


def test_the_shelf_is_whole_after_a_broken_adapter(copy, tiny_folder, fingerprint):
    shelf, root = Shelf("cpu", dtype=torch.float32), Variant(inspect(str(tiny_folder)), Prompt())
    before = fingerprint(shelf, root)
    cut(copy)
    with pytest.raises(BadInput), shelf.live(replace(root, adapter=str(copy))):
        pass
    assert fingerprint(shelf, root) == before
