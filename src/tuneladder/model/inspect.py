"""What a base is, from its configuration alone: family, sizes, parameters, licence. No weight is read or fetched.

Parameters are counted on the meta device, where a 175B model takes milliseconds and no memory. Weights are only ever taken from
safetensors, and a base's own code is only run where the recipe trusts it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tuneladder.errors import BadInput, unknown
from tuneladder.model import pocket
from tuneladder.store import digest, digest_files
from tuneladder.types import Base, Family

SMALL = ("*.json", "*.txt", "*.model", "*.jinja", "*.py", "README*", "LICENSE*", "LICENCE*")
CONTENT = ("config.json", "generation_config.json", "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json")
CONTENT += ("*.model", "*.jinja", "*.safetensors", "*.safetensors.index.json")
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")

REQUIRED = ("layers", "width", "heads", "vocabulary")
SHAPE = (*REQUIRED, "family", "architecture", "kv_heads", "mlp", "context", "tie")

LICENCES = {
    "Apache License": "apache-2.0",
    "MIT License": "mit",
    "Permission is hereby granted, free of charge": "mit",
    "BSD 3-Clause": "bsd-3-clause",
    "GNU GENERAL PUBLIC LICENSE": "gpl",
    "Attribution-ShareAlike 4.0": "cc-by-sa-4.0",
    "Attribution 4.0 International": "cc-by-4.0",
    "LLAMA": "llama",
    "Gemma Terms": "gemma",
}


def inspect(source: str, *, revision: str = "", trust: bool = False) -> Base:
    """Look at a base: a pocket base's name, a folder, or a hub id with a revision.

    `trust` lets the base's own code run. Raises BadInput where it is not there, is not a language model, keeps its weights
    pickled, or brings code that was not trusted.
    """
    place = Path(source).expanduser()
    if place.is_dir():
        if revision:
            raise BadInput(f"revision '{revision}' was asked of {source}, which is a folder", "folders have no revisions: leave it out")
        return _from_folder(place, name=place.resolve().name, trust=trust)
    if source in pocket.names() or pocket.is_meant(source):
        return _from_folder(pocket.folder(source), name=source, trust=trust)
    if place.is_file():
        raise BadInput(f"{source} is a file, not a base", "give the folder that holds config.json")
    if place.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1 or not re.fullmatch(r"[\w./-]+", source):
        raise BadInput(f"there is no base at {source}", "give a folder with config.json, a hub id such as org/name, or a pocket base")
    return _from_hub(source, revision, trust=trust)


def config_of(base: Base) -> Any:
    """The transformers configuration of a base. Raises BadInput where it cannot be read."""
    if base.source == "url":
        raise BadInput(f"{base.name} is a remote model: its configuration cannot be seen", "name a folder or a hub id")
    if base.source != "shape":
        trust = bool(base.settings.get("trust_remote_code"))
        return _config(Path(base.location) if base.source == "folder" else _fetch(base.location, base.revision)[0], base.name, trust)
    from transformers import LlamaConfig

    shape = base.settings
    return LlamaConfig(
        vocab_size=shape["vocabulary"],
        hidden_size=shape["width"],
        intermediate_size=shape["mlp"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        max_position_embeddings=shape["context"],
        tie_word_embeddings=shape["tie"],
        bos_token_id=None,  # the tokenizer that is trained for it says which
        eos_token_id=None,
    )


def skeleton(config: Any, family: Family, *, trust: bool = False) -> Any:
    """The model on the meta device: modules and shapes, no numbers."""
    import torch
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    kind: Any = {"decoder": AutoModelForCausalLM, "encoder": AutoModel, "encoder-decoder": AutoModelForSeq2SeqLM}[family]
    with torch.device("meta"):
        return kind.from_config(config, trust_remote_code=trust)


def from_shape(name: str, shape: Mapping[str, Any]) -> Base:
    """A base that does not exist yet: a Llama shape, which `pretrain` fills.

    layers, width, heads and vocabulary must be given; kv_heads is heads, mlp 8/3 of the width (arXiv:2002.05202), context 512
    and tie true unless said. Raises BadInput for an unknown key and for a shape that cannot be built.
    """
    if not isinstance(shape, Mapping):
        raise BadInput(f"the shape of {name} is {shape!r}", f"keys and values: {', '.join(SHAPE)}")
    for key in shape:
        if key not in SHAPE:
            raise unknown("key of a shape", str(key), SHAPE)
    if missing := [key for key in REQUIRED if key not in shape]:
        raise BadInput(f"the shape of {name} does not say its {missing[0]}", f"a shape needs {', '.join(REQUIRED)}")
    for key in SHAPE:
        value = shape.get(key, 1)
        if key not in ("family", "architecture", "tie") and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise BadInput(f"{key} of the shape of {name} is {value!r}", f"{key} is a whole number, 1 or more")
    whole = {"family": "decoder", "architecture": "llama", "kv_heads": shape["heads"], "context": 512, "tie": True, **shape}
    whole.setdefault("mlp", -(-8 * whole["width"] // 3 // 64) * 64)
    _possible(name, whole)
    base = Base(
        name=name,
        source="shape",
        location="",
        family="decoder",
        parameters=0,
        active=0,
        layers=whole["layers"],
        width=whole["width"],
        vocabulary=whole["vocabulary"],
        context=whole["context"],
        content=digest("shape", whole),
        settings={key: whole[key] for key in ("family", "architecture", *REQUIRED[:3], "kv_heads", "mlp", "vocabulary", "context", "tie")},
    )
    parameters, active = _count(skeleton(config_of(base), "decoder"), config_of(base))
    return Base(**{**vars(base), "parameters": parameters, "active": active})


def _possible(name: str, shape: Mapping[str, Any]) -> None:
    width, heads, kv_heads = shape["width"], shape["heads"], shape["kv_heads"]
    if shape["family"] != "decoder":
        raise BadInput(f"the shape of {name} is of family '{shape['family']}'", "family is decoder: no other can be made of a shape yet")
    if shape["architecture"] != "llama":
        raise unknown("architecture of a shape", str(shape["architecture"]), ("llama",))
    if not isinstance(shape["tie"], bool):
        raise BadInput(f"tie of the shape of {name} is {shape['tie']!r}", "tie is true or false")
    if width % heads:
        raise BadInput(f"width {width} of {name} cannot be divided among {heads} heads", f"choose a width such as {heads * (width // heads + 1)}")
    if (width // heads) % 2:
        raise BadInput(f"each head of {name} is {width // heads} wide, which rotary positions cannot halve", "make width / heads even")
    if heads % kv_heads:
        raise BadInput(f"{heads} heads of {name} cannot share {kv_heads} kv_heads evenly", "choose kv_heads that divides heads")


def _from_folder(folder: Path, *, name: str, trust: bool) -> Base:
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    if "config.json" not in files:
        if "adapter_config.json" in files:
            raise BadInput(f"{folder} holds an adapter, not a base", "name the base that the adapter lies over")
        raise BadInput(f"there is no config.json in {folder}", "give a folder that a model was saved to")
    _only_safetensors(str(folder), files)
    names = [file for file in files if any(fnmatch(file, pattern) for pattern in CONTENT)]
    return _describe(folder, name, "folder", str(folder.resolve()), "", digest_files(folder, names), trust)


def _from_hub(name: str, revision: str, *, trust: bool) -> Base:
    folder, commit, files = _fetch(name, revision)
    if not (folder / "config.json").is_file():
        raise BadInput(f"{name} has no config.json on the hub", "it is not a model that transformers can open")
    _only_safetensors(name, files)
    return _describe(folder, name, "hub", name, commit, digest("hub", name, commit), trust)


def _fetch(name: str, revision: str) -> tuple[Path, str, list[str]]:
    """A hub model's small files in the local cache, its commit, and the names of all its files (those at hand when offline)."""
    from huggingface_hub import HfApi, errors, snapshot_download

    http_errors: Any = (OSError, errors.HfHubHTTPError.__mro__[1:-3])
    try:
        info = HfApi().model_info(name, revision=revision or None)
        commit = str(info.sha)
        folder = Path(snapshot_download(name, revision=commit, allow_patterns=list(SMALL)))
        return folder, commit, [file.rfilename for file in info.siblings or ()]
    except errors.GatedRepoError as error:
        raise BadInput(f"{name} is gated on the hub", "accept its terms there, and set HF_TOKEN") from error
    except errors.RevisionNotFoundError as error:
        raise BadInput(f"{name} has no revision '{revision}' on the hub", "give a branch, a tag or a commit of it") from error
    except errors.RepositoryNotFoundError as error:
        raise BadInput(f"there is no base '{name}': no folder, no pocket base, and the hub has none", _where()) from error
    except errors.HFValidationError as error:
        raise BadInput(f"'{name}' is not a hub id", _where()) from error
    except _network_errors() as error:
        unreachable = error
    try:
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=list(SMALL), local_files_only=True))
    except OSError:
        raise BadInput(
            f"there is no base '{name}' here: no folder, no pocket base, not in the cache, and the hub cannot be reached", _where()
        ) from unreachable
    return folder, folder.name, [path.name for path in folder.iterdir()]
