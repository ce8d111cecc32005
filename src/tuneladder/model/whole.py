"""Whether a folder can be a base, by its files alone: nothing is imported that a model needs, and no weight is read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tuneladder.errors import BadInput
from tuneladder.types import Base

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
TOKENIZER = (
    *("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json"),
    *("*.model", "*.tiktoken", "tekken.json"),
)
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
AGAIN = "save or fetch it again"


def check_whole(folder: Path) -> None:
    """Raises BadInput for a folder without a configuration or a tokenizer, or whose weights are pickled or were cut. One without
    any can be looked at: `weighed` is for what opens it."""
    files = files_of(folder)
    configuration(folder, str(folder))
    only_safetensors(str(folder), files)
    for name in _weights(folder, files):
        _check_weights(folder / name)
    if not any(fnmatch(file, pattern) for file in files for pattern in TOKENIZER):
        raise BadInput(f"{folder} holds no tokenizer", "tokenizer.json, or the files it is made of, lie beside config.json")


def weighed(base: Base) -> Base:
    """The base. Raises BadInput for one in a folder that is not whole, or holds no weights."""
    if base.source == "folder":
        check_whole(folder := Path(base.location))
        if not _weights(folder, files_of(folder)):
            raise BadInput(f"{folder} holds no weights: there is no {WEIGHTS}", AGAIN)
    return base


def files_of(folder: Path) -> list[str]:
    """The names of a base's files. Raises BadInput where there is no configuration among them, and for those of an adapter."""
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    if "adapter_config.json" in files and not {WEIGHTS, INDEX} & set(files):
        raise BadInput(
            f"{folder} holds an adapter, not a base",
            "name the run that made it, as RUN:RUNG, or merge it into its base: merge_and_unload(), then save_pretrained(...)",
        )
    if "config.json" not in files:
        raise BadInput(f"there is no config.json in {folder}", "give a folder that a model was saved to")
    return files


def configuration(folder: Path, name: str) -> dict[str, Any]:
    """What a base's config.json says. Raises BadInput where it cannot be read, or is no model's."""
    try:
        written = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"config.json of {name} cannot be read: {error}", "save the model again, or fetch it again") from error
    if not isinstance(written, dict) or not (written.get("model_type") or written.get("auto_map")):
        raise BadInput(f"config.json of {name} does not name a model_type", "it is not a model that transformers can open")
    return written


def only_safetensors(name: str, files: Iterable[str]) -> None:
    """Raises BadInput for a base whose weights are pickled only."""
    files = list(files)
    pickled = sorted(file for file in files if any(fnmatch(file, pattern) for pattern in PICKLED) and file != "training_args.bin")
    if pickled and not any(file.endswith(".safetensors") for file in files):
        raise BadInput(
            f"{name} keeps its weights in {pickled[0]}, and opening such a file can run code hidden in it",
            "only safetensors are opened: convert it where you trust it, with save_pretrained(..., safe_serialization=True)",
        )


def _weights(folder: Path, files: list[str]) -> list[str]:
    """The files that hold a base's weights: one, or those of its index; none where there are none."""
    if WEIGHTS in files or INDEX not in files:
        return [WEIGHTS] if WEIGHTS in files else []
    try:
        shards = sorted({str(name) for name in json.loads((folder / INDEX).read_text("utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{folder / INDEX} cannot be read: {error}", AGAIN) from error
    if missing := next((name for name in shards if not (folder / name).is_file()), ""):
        raise BadInput(f"{folder} lacks {missing}, one of the {len(shards):,} files of its weights", AGAIN)
    return shards


def _check_weights(path: Path) -> None:
    """Raises BadInput for a safetensors file of another size than its head says: one that was cut, or is something else."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        try:
            head = json.loads(file.read(start - 8)) if 8 <= start <= size else {}
            ends = [int(own["data_offsets"][1]) for name, own in head.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{path} is no safetensors file: {error}", AGAIN) from error
    if not ends:
        raise BadInput(f"{path} is broken: its {size:,} bytes hold no whole head of a safetensors file, or no weights", AGAIN)
    if (whole := start + max(ends)) != size:
        raise BadInput(f"{path} is broken: it has {size:,} bytes, and its head says {whole:,}", AGAIN)
