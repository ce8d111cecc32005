"""What a base is, from its configuration alone: family, sizes, parameters, licence. No weight is read or fetched.

Parameters are counted on the meta device, where a 175B model takes milliseconds and no memory. Weights are only ever taken from
safetensors, and a base's own code is only run where the recipe trusts it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tuneladder.errors import BadInput, shown, told, unknown
from tuneladder.model import pocket, recurrent
from tuneladder.model.whole import TOKENIZER, configuration, files_of, only_safetensors
from tuneladder.numbers import is_whole
from tuneladder.store import digest, digest_files
from tuneladder.task.read import expand
from tuneladder.task.tokenizer import SENTINEL
from tuneladder.types import Base, Family

SMALL = ("*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja", "*.py", "README*", "LICENSE*", "LICENCE*")
CONTENT = ("config.json", "generation_config.json", *TOKENIZER, "*.jinja", "*.safetensors", "*.safetensors.index.json")

REQUIRED = ("layers", "width", "heads", "vocabulary")
SHAPE = (*REQUIRED, "family", "architecture", "kv_heads", "mlp", "context", "tie", "lowercase", "decoder_layers")
MOST = {  # beyond any model there is: what is mistyped would take all memory, or numbers that no tensor has
    **dict.fromkeys(("layers", "decoder_layers"), 1_000),
    **dict.fromkeys(("width", "mlp"), 1_000_000),
    "vocabulary": 10_000_000,
    "context": 100_000_000,
}
ARCHITECTURES = {"decoder": "llama", "encoder": "modernbert", "seq2seq": "t5"}  # what a shape of a family is made of

# what a shape's own tokenizer and head give it, and a checkpoint may lack: what its pretraining needs
GIVEN: dict[Family, dict[str, bool]] = {"encoder": {"masked": True}, "seq2seq": {"sentinels": True}}

MLP = ("intermediate_size", "d_ff", "n_inner", "ffn_dim", "ffn_hidden_size", "encoder_ffn_dim")

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
    """Look at a base: the name of a pocket base or of one that a package brings, a folder, or a hub id with a revision.

    A folder's environment variables and `~` expand. `trust` lets the base's own code run. Raises BadInput where it is not there, is
    not a language model, keeps its weights pickled, or brings code that was not trusted.
    """
    source = expand(source)
    place = Path(source)
    if source and place.is_dir():
        if revision:
            raise BadInput(
                f"revision '{revision}' was asked of {source}, which is a folder", "folders have no revisions: leave it out"
            )
        return _from_folder(place, name=place.resolve().name, trust=trust)
    if source in pocket.PACKAGED:
        return _from_folder(pocket.packaged(source), name=source, trust=trust)
    if source in pocket.names() or pocket.is_meant(source):
        return _from_folder(pocket.folder(source), name=source, trust=trust)
    if place.is_file():
        raise BadInput(f"{source} is a file, not a base", "give the folder that holds config.json")
    if place.is_absolute() or source.startswith(".") or source.count("/") > 1 or not re.fullmatch(r"[\w./-]+", source):
        raise BadInput(
            f"there is no base at '{source}'", "give a folder with config.json, a hub id such as org/name, or a pocket base"
        )
    return _from_hub(source, revision, trust=trust)


def config_of(base: Base) -> Any:
    """The transformers configuration of a base. Raises BadInput where it cannot be read."""
    if base.source == "url":
        raise BadInput(f"{base.name} is a remote model: its configuration cannot be seen", "name a folder or a hub id")
    if base.source != "shape":
        trust = bool(base.settings.get("trust_remote_code"))
        folder = Path(base.location) if base.source == "folder" else _fetch(base.location, base.revision)[0]
        return _config(folder, base.name, trust)
    from transformers import AutoConfig, LlamaConfig, ModernBertConfig, T5Config

    shape = base.settings
    if written := shape.get("config"):  # one that the catalogue knows
        return AutoConfig.for_model(**written)
    if shape["family"] == "encoder":
        return ModernBertConfig(
            architectures=["ModernBertForMaskedLM"],
            vocab_size=shape["vocabulary"],
            hidden_size=shape["width"],
            intermediate_size=shape["mlp"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            max_position_embeddings=shape["context"],
            tie_word_embeddings=shape["tie"],
            global_attn_every_n_layers=1,  # windows pay at thousands of tokens
            classifier_pooling="mean",  # what its embeddings are, so that a head stands on what pretraining made
            **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "pad_token_id")),
        )
    if shape["family"] == "seq2seq":
        # T5's version 1.1 (arXiv:2002.05202: a gated GELU), but with its first version's one matrix for all embeddings and the
        # head: of their own, both heads of a vocabulary would be half of a model this small. Dropout is off, as its authors
        # have it in pretraining; relative positions (arXiv:1910.10683, section 2.1) set no bound but what was trained.
        return T5Config(
            architectures=["T5ForConditionalGeneration"],
            vocab_size=shape["vocabulary"],
            d_model=shape["width"],
            d_kv=shape["width"] // shape["heads"],
            d_ff=shape["mlp"],
            num_layers=shape["layers"],
            num_decoder_layers=shape["decoder_layers"],
            num_heads=shape["heads"],
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            n_positions=shape["context"],  # a name of T5's first configurations, which is kept
            decoder_start_token_id=None,  # the tokenizer that is trained for it says which
            **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")),
        )
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
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    encoder = AutoModelForMaskedLM if reads_masked(config) else AutoModel
    kind: Any = {"decoder": AutoModelForCausalLM, "encoder": encoder, "seq2seq": AutoModelForSeq2SeqLM}[family]
    with torch.device("meta"):
        return kind.from_config(config, trust_remote_code=trust)


def reads_masked(config: Any) -> bool:
    """Whether the checkpoint of an encoder holds the head of its pretraining, by the class that it says it was saved from."""
    return any(str(one).endswith(("ForMaskedLM", "ForPreTraining")) for one in config.architectures or ())


def reads_text(base: Base) -> bool:
    """Whether a base came with the head of its pretraining, by which it can say how likely a plain text is."""
    return all(base.settings.get(name) for name in GIVEN.get(base.family, ()))


def from_shape(name: str, shape: Mapping[str, Any]) -> Base:
    """A base that does not exist yet, which `pretrain` fills: a Llama, of family encoder a ModernBERT (arXiv:2412.13663), of
    family seq2seq a T5 (arXiv:1910.10683), whose `layers` are its encoder's.

    layers, width, heads and vocabulary must be given; kv_heads is heads, mlp 8/3 of the width (arXiv:2002.05202), context 512,
    tie true, lowercase false (an encoder's tokenizer may read everything in lower case) and decoder_layers as many as layers
    unless said. Raises BadInput for an unknown key and for a shape that cannot be built.
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
        if key not in ("family", "architecture", "tie", "lowercase") and (not is_whole(value) or value < 1):
            raise BadInput(f"{key} of the shape of {name} is {shown(value)}", f"{key} is a whole number, 1 or more")
        if key in MOST and value > MOST[key]:
            raise BadInput(f"{key} of the shape of {name} is {value:,}", f"no model has more than {MOST[key]:,}")
    if (family := shape.get("family", "decoder")) not in ARCHITECTURES:
        raise BadInput(f"the shape of {name} is of family '{family}'", f"family is {' or '.join(ARCHITECTURES)}")
    usual = {"family": family, "architecture": ARCHITECTURES[family], "kv_heads": shape["heads"], "context": 512, "tie": True}
    usual["lowercase"] = False
    whole = {**usual, **({"decoder_layers": shape["layers"]} if family == "seq2seq" else {}), **shape}
    whole.setdefault("mlp", -(-8 * whole["width"] // 3 // 64) * 64)
    _possible(name, whole)
    base = Base(
        name=name,
        source="shape",
        location="",
        family=family,
        parameters=0,
        active=0,
        layers=whole["layers"],
        width=whole["width"],
        vocabulary=whole["vocabulary"],
        context=whole["context"],
        content=digest("shape", whole),
        settings={key: whole[key] for key in SHAPE if key in whole} | GIVEN.get(family, {}),
    )
    config = config_of(base)
    parameters, active = _count(skeleton(config, family), config)
    return replace(base, parameters=parameters, active=active)


def _possible(name: str, shape: Mapping[str, Any]) -> None:
    width, heads, kv_heads = shape["width"], shape["heads"], shape["kv_heads"]
    if shape["architecture"] != (own := ARCHITECTURES[shape["family"]]):
        raise unknown(f"architecture of a shape of family {shape['family']}", str(shape["architecture"]), (own,))
    if (family := shape["family"]) != "decoder" and kv_heads != heads:
        raise BadInput(f"the shape of {name} says kv_heads {kv_heads}, and heads share none in family {family}", "leave it out")
    if family != "seq2seq" and "decoder_layers" in shape:
        raise BadInput(f"the shape of {name} is of family {family}, and says decoder_layers", "`layers` are all that it has")
    if family == "seq2seq" and shape["tie"] is False:
        raise BadInput(f"tie of the shape of {name} is False, and T5 in transformers ties always", "leave tie out")
    for key in ("tie", "lowercase"):
        if not isinstance(shape[key], bool):
            raise BadInput(f"{key} of the shape of {name} is {shape[key]!r}", f"{key} is true or false")
    if shape["lowercase"] and shape["family"] != "encoder":
        raise BadInput(f"the shape of {name} reads everything in lower case, and could write nothing else", "leave lowercase out")
    if width % heads:
        raise BadInput(
            f"width {width} of {name} cannot be divided among {heads} heads",
            f"choose a width such as {heads * (width // heads + 1)}",
        )
    if (width // heads) % 2 and family != "seq2seq":
        raise BadInput(
            f"each head of {name} is {width // heads} wide, which rotary positions cannot halve", "make width / heads even"
        )
    if heads % kv_heads:
        raise BadInput(f"{heads} heads of {name} cannot share {kv_heads} kv_heads evenly", "choose kv_heads that divides heads")


def _from_folder(folder: Path, *, name: str, trust: bool) -> Base:
    files = files_of(folder)
    only_safetensors(str(folder), files)
    names = [file for file in files if any(fnmatch(file, pattern) for pattern in CONTENT)]
    return _describe(folder, name, "folder", str(folder.resolve()), "", digest_files(folder, names), trust)


def _from_hub(name: str, revision: str, *, trust: bool) -> Base:
    folder, commit, files = _fetch(name, revision)
    if not (folder / "config.json").is_file():
        raise BadInput(f"{name} has no config.json on the hub", "it is not a model that transformers can open")
    only_safetensors(name, files)
    return _describe(folder, name, "hub", name, commit, digest("hub", name, commit), trust)


def _fetch(name: str, revision: str) -> tuple[Path, str, list[str]]:
    """A hub model's small files in the local cache, its commit, and the names of all its files (those at hand when offline)."""
    from huggingface_hub import HfApi, errors, snapshot_download

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
    except (OSError, errors.HTTPError) as error:  # type: ignore[attr-defined]  # offline, or no answer: the root of its client's errors
        unreachable = error
    try:
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=list(SMALL), local_files_only=True))
    except OSError:
        raise BadInput(
            f"there is no base '{name}' here: no folder, no pocket base, not in the cache, and the hub cannot be reached", _where()
        ) from unreachable
    return folder, folder.name, [path.name for path in folder.iterdir()]


def _where() -> str:
    known = ", ".join(pocket.names()) or "none is installed"
    return f"give a folder that exists, a pocket base ({known}), or with a network a hub id such as org/name"


def _describe(folder: Path, name: str, source: Any, location: str, revision: str, content: str, trust: bool) -> Base:
    config = _config(folder, name, trust)
    family = _family(config, name)
    text = config.get_text_config(decoder=True) if family == "decoder" else config  # of two stacks, the encoder
    model = _built(config, family, name, trust)
    parameters, active = _count(model, text)
    settings = {
        "architecture": str(config.model_type),
        **_layers(text),
        "tie": bool(config.tie_word_embeddings),
        "dtype": str(config.dtype or "float32").removeprefix("torch."),
    }
    if family == "encoder":
        settings["masked"] = reads_masked(config)
        if any(str(one).endswith(("ForSequenceClassification", "ForTokenClassification")) for one in config.architectures or ()):
            settings["classes"] = int(config.num_labels)
    if family == "seq2seq":
        settings["decoder_layers"] = int(_first(config, ("num_decoder_layers", "decoder_layers")) or text.num_hidden_layers)
        settings["sentinels"] = _has_sentinels(folder)
    if trust:
        settings["trust_remote_code"] = True
    return Base(
        name=name,
        source=source,
        location=location,
        family=family,
        parameters=parameters,
        active=active,
        layers=int(text.num_hidden_layers),
        width=int(text.hidden_size),
        vocabulary=int(text.vocab_size),
        context=_context(text, folder, family, model),
        revision=revision,
        licence=_licence(folder),
        content=content,
        settings=settings,
    )


def _layers(text: Any) -> dict[str, int]:
    """The sizes of attention and MLPs, or of what stands in their place where there is none."""
    if sizes := recurrent.sizes_of(text):
        return sizes
    if not (heads := int(getattr(text, "num_attention_heads", None) or 0)):
        return {}
    return {
        "heads": heads,
        "kv_heads": int(_first(text, ("num_key_value_heads", "num_kv_heads")) or heads),
        "head_width": int(_first(text, ("head_dim", "d_kv")) or text.hidden_size // heads),
        "mlp": int(_first(text, MLP) or 4 * text.hidden_size),
    }


def _config(folder: Path, name: str, trust: bool) -> Any:
    from transformers import AutoConfig

    written = configuration(folder, name)
    if written.get("auto_map") and not trust:
        raise BadInput(
            f"{name} brings its own code (auto_map in config.json), which is not run unasked",
            "read that code, then say `trust_remote_code: true`",
        )
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    except Exception as error:  # each architecture checks its values in its own way
        unknown_kind = "model type" in str(error)
        hint = "it may need a newer transformers" if unknown_kind else "a value in it is wrong: save or fetch it again"
        raise BadInput(f"config.json of {name} makes no sense to transformers: {told(error)}", hint) from error


def _built(config: Any, family: Family, name: str, trust: bool) -> Any:
    try:
        return skeleton(config, family, trust=trust)
    except Exception as error:  # each architecture fails in its own way on values that do not fit together
        raise BadInput(
            f"no model can be built of {name}'s config.json: {told(error)}", "the values in it contradict each other"
        ) from error


def _family(config: Any, name: str) -> Family:
    """By what the configuration says of itself, else by which of transformers' heads exist for its type."""
    from transformers.models.auto import modeling_auto as known

    kind = str(config.model_type)
    said = [str(one) for one in config.architectures or ()]
    if any(one.endswith("EncoderModel") for one in said):
        return "encoder"
    if config.is_encoder_decoder:
        return "seq2seq"
    if any(one.endswith(("ForCausalLM", "LMHeadModel")) for one in said):
        return "decoder"
    if kind in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "encoder"
    if kind in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {}):
        return "decoder"
    raise BadInput(f"{name} is a {kind}, which is not a language model", "give a decoder, an encoder or an encoder-decoder of text")


def _count(model: Any, text: Any) -> tuple[int, int]:
    """Parameters in all, and those that one token meets: of a mixture's experts only as many as the router picks.

    Tied weights count once. The router's counts go by several names among architectures.
    """
    parameters = sum(weight.numel() for weight in model.parameters())
    experts = sum(weight.numel() for name, weight in model.named_parameters() if ".experts." in name)
    if not experts:
        return parameters, parameters
    of = _first(text, ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"))
    picked = _first(text, ("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk"))
    return parameters, parameters - experts + (experts * int(picked) // int(of) if of and picked else experts)


def _first(config: Any, names: Iterable[str]) -> Any:
    """The first of the names that the configuration gives a value; architectures call one thing by several."""
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if value is not None), None)


def _context(text: Any, folder: Path, family: Family, model: Any) -> int:
    """Tokens that can be read at once. Position tables may hold rows that are not for tokens, as RoBERTa's do up to that of its
    padding, and relative positions have no table: there the tokenizer says."""
    tables = [module for name, module in model.named_modules() if name.endswith("position_embeddings")]
    aside = max((1 + table.padding_idx for table in tables if getattr(table, "padding_idx", None) is not None), default=0)
    most = int(_first(text, ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length")) or 2048)
    most -= aside
    path = folder / "tokenizer_config.json"
    if family != "decoder" and path.is_file():
        said = json.loads(path.read_text("utf-8")).get("model_max_length")
        return min(most, int(said)) if said else most
    return most


def _has_sentinels(folder: Path) -> bool:
    """Whether the tokenizer has the tokens that span corruption puts for what it takes out, by the names that T5 gave them."""
    files = [folder / name for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")]
    return any(SENTINEL.format(0) in path.read_text("utf-8") for path in files if path.is_file())


def _licence(folder: Path) -> str:
    """The README's front matter, else what the licence file begins with; "" where neither says."""
    import yaml

    readme = folder / "README.md"
    front = re.match(r"---\s*\n(.*?)\n---", readme.read_text("utf-8", "replace"), re.DOTALL) if readme.is_file() else None
    if front:
        try:
            facts = yaml.safe_load(front[1])
        except yaml.YAMLError:
            facts = None
        said = facts.get("license_name") or facts.get("license") if isinstance(facts, dict) else None
        if said:
            return str(said[0] if isinstance(said, list) else said)
    for path in sorted([*folder.glob("LICENSE*"), *folder.glob("LICENCE*")]):
        start = path.read_text("utf-8", "replace")[:2000]
        return next((name for phrase, name in LICENCES.items() if phrase in start), path.name)
    return ""
