"""Adapters on a borrowed model, in PEFT's own format, so that `PeftModel.from_pretrained` opens what we save."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tuneladder.errors import Refused
from tuneladder.model import recurrent
from tuneladder.model.written import asleep

Opened = tuple[Any, tuple[int, ...]]  # a model with a saved adapter, and the tokens that stand before all that it reads


class Attached(NamedTuple):
    """A model with an adapter: what is called and trained, how the adapter is saved (into a folder, over the base of that name),
    and the tokens that stand before all that the model reads."""

    model: Any
    save: Callable[[Path, str], None]
    soft: tuple[int, ...] = ()


def attach_lora(
    model: Any,
    *,
    r: int,
    alpha: float,
    dropout: float,
    targets: Sequence[str],
    seed: int,
    experts: Sequence[str] = (),
    dora: bool = False,
    rslora: bool = False,
    head: Sequence[str] = (),
    tags: bool = False,
) -> Any:
    """LoRA (arXiv:2106.09685, equation 3) on the named linear modules; B is zero, so that the start is the base exactly. `dora`
    learns each matrix's magnitude apart from its direction (arXiv:2402.09353), `rslora` divides alpha by the root of the rank
    (arXiv:2312.03732). `experts` are matrices of all experts in one, each of which has a LoRA of its own.

    Returns a PeftModel whose only trainable weights are the adapter's, in float32 whatever the base is held in. `head` names the
    modules of a classification head, which learn whole and are saved with the adapter; with `tags` it labels words.
    """
    from peft import LoraConfig
    from peft.tuners.lora import Linear

    settings: dict[str, Any] = {"r": r, "lora_alpha": alpha, "lora_dropout": dropout, "target_modules": list(targets)}
    settings |= {"target_parameters": list(experts)} if experts else {}
    # PEFT asks to be told of GPT-2's transposed matrices
    settings |= {"fan_in_fan_out": True} if all_transposed(model, targets) else {}
    tuned = _attached(model, LoraConfig, head, tags, seed=seed, use_dora=dora, use_rslora=rslora, **settings)
    for module in tuned.modules():
        if isinstance(module, Linear) and not dropout and not dora:
            module.forward = _lean(module)
    return tuned


def attach_ia3(
    model: Any, *, scaled: Sequence[str], fed: Sequence[str], seed: int, head: Sequence[str] = (), tags: bool = False
) -> Any:
    """(IA)^3 (arXiv:2205.05638, section 3.3): a vector that multiplies what the modules in `scaled` make (keys and values), and
    what those in `fed` read (the last layer of an MLP); ones at first. Returns a PeftModel, as `attach_lora` does."""
    from peft import IA3Config

    targets = [*scaled, *fed]
    settings: dict[str, Any] = {"target_modules": targets, "feedforward_modules": list(fed)}
    settings |= {"fan_in_fan_out": True} if all_transposed(model, targets) else {}
    return _attached(model, IA3Config, head, tags, seed=seed, **settings)


def ia3_parameters(model: Any) -> int:
    """Parameters of an (IA)^3: a number for all that makes of keys and values, and for all that an MLP's last layer reads. Raises
    Refused as `makers` does."""
    made = sum(out_of(module) for _, module, _ in makers(model, "ia3"))
    return made + sum(int(module.weight.numel()) // out_of(module) for _, module in mlp_ends(model))


def _attached(model: Any, config: Any, head: Sequence[str], tags: bool, *, seed: int, **settings: Any) -> Any:
    from peft import get_peft_model

    torch.manual_seed(seed)
    if head:
        settings["modules_to_save"] = list(head)
    return learning(get_peft_model(model, config(**settings, task_type=kind_of(model, head, tags))))


def kind_of(model: Any, head: Sequence[str], tags: bool) -> str:
    """What PEFT calls the task of a model, with a classification head or without."""
    head_kind = "TOKEN_CLS" if tags else "SEQ_CLS"
    return head_kind if head else "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"


def learning(tuned: Any) -> Any:
    """What learns of it is made float32: PEFT copies a head in the precision that the base is held in."""
    for weight in tuned.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return tuned


def _lean(layer: Any) -> Any:
    """A LoRA layer's forward pass, the same to the bit as PEFT's, without PEFT's copy of the input in the adapter's float32, which
    autocast would make bfloat16 again."""
    base, down, up, scale = layer.base_layer, layer.lora_A["default"], layer.lora_B["default"], layer.scaling["default"]
    own = type(layer).forward

    def forward(x: torch.Tensor) -> torch.Tensor:
        if asleep([(base, layer, scale)]):
            return own(layer, x)  # type: ignore[no-any-return]
        y = base(x)
        low = torch.nn.functional.linear(x, down.weight.to(x.dtype))
        return y + (torch.nn.functional.linear(low, up.weight.to(x.dtype)) * scale).to(y.dtype)  # type: ignore[no-any-return]

    return forward


def draw_head(model: Any, fresh: Sequence[str], *, seed: int) -> None:
    """Numbers for the weights of a classification head that no file holds: matrices normal with the base's own spread, biases 0,
    what scales 1."""
    draw = torch.Generator().manual_seed(seed)
    spread = float(getattr(model.config, "initializer_range", 0.02))
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name in fresh:
            weight = weights[name]
            if weight.dim() >= 2:
                weight.copy_(torch.normal(0.0, spread, weight.shape, generator=draw))
            else:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)


def head_modules(model: Any, fresh: Sequence[str]) -> list[str]:
    """Names of the modules that make up a classification head: what stands outside the encoder's body, and what in it is fresh."""
    body = model.base_model_prefix
    outside = [name for name, module in model.named_children() if name != body and any(True for _ in module.parameters())]
    inside = {name.rpartition(".")[0] for name in fresh if name.startswith(f"{body}.")}
    return [*outside, *sorted(inside)]


CONFIG = "adapter_config.json"
HEAD = "head:"  # before the names of a head's weights in an adapter's file of our own


def let_learn(model: Any, head: Sequence[str]) -> None:
    """The modules that `head` names learn, in float32."""
    for name in head:
        learning(model.get_submodule(name).requires_grad_(True))


def head_weights(model: Any, head: Sequence[str]) -> dict[str, torch.Tensor]:
    """The weights of the modules that `head` names, as an adapter's file of our own has them."""
    return {
        f"{HEAD}{name}.{one}": weight.detach().contiguous()
        for name in head
        for one, weight in model.get_submodule(name).named_parameters()
    }


def put_head(model: Any, kept: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give the model the head's weights of an adapter's file; what else the file has."""
    weights = dict(model.named_parameters())
    for name, value in kept.items():
        if name.startswith(HEAD):
            own = weights[name.removeprefix(HEAD)]
            own.data = value.to(own)
    return {name: value for name, value in kept.items() if not name.startswith(HEAD)}


def with_body_of(model: Any, masked: Any) -> Any:
    """`masked`, the base as a masked language model, with the body of `model` (PEFT's layers in it) in place of its own. Where
    the base ties its output to its embedding, it stays tied."""
    from transformers import PreTrainedModel

    core = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
    setattr(masked, masked.base_model_prefix, core.base_model)
    if masked.config.tie_word_embeddings:
        masked.get_output_embeddings().weight = masked.get_input_embeddings().weight
    return masked.requires_grad_(False)


class PairHead(torch.nn.Module):
    """Whether the second segment of a row follows the first, (B, T, D) -> (B, 2): a linear layer on the base's own pooler, or where
    it has none on the mean over the tokens, which is what its embedding is."""

    def __init__(self, pooler: torch.nn.Module | None, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.pooler, self.linear = pooler, linear

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        read_BD = hidden_BTD.mean(1) if self.pooler is None else self.pooler(hidden_BTD)
        return self.linear(read_BD)  # type: ignore[no-any-return]


PAIRS = "cls.seq_relationship"  # where BERT and its kin keep theirs


def pair_head(folder: str, model: Any, *, seed: int, trust: bool) -> PairHead:
    """The head for pairs that the checkpoint in `folder` holds, for a BERT saved with all that it was pretrained with; else a new
    one, drawn by the seed with the base's own spread. Its weights are float32."""
    from transformers import AutoConfig, AutoModelForPreTraining

    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    if any(str(one).endswith("ForPreTraining") for one in config.architectures or ()):
        options: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True, "trust_remote_code": trust}
        whole = AutoModelForPreTraining.from_pretrained(folder, **options)
        own = dict(whole.named_modules()).get(PAIRS)
        if isinstance(own, torch.nn.Linear):
            return PairHead(whole.base_model.pooler, own).requires_grad_(True)
    linear = torch.nn.Linear(model.config.hidden_size, 2)
    spread = float(getattr(model.config, "initializer_range", 0.02))
    torch.nn.init.normal_(linear.weight, std=spread, generator=torch.Generator().manual_seed(seed))
    torch.nn.init.zeros_(linear.bias)
    return PairHead(None, linear)


def with_pair_head(model: Any, head: PairHead) -> Any:
    """What is to be saved: the model alone where the head was new, else the class that the base came in, with its own head."""
    from transformers import AutoModelForPreTraining

    if head.pooler is None:
        return model
    with torch.device("meta"):
        whole = AutoModelForPreTraining.from_config(model.config)
    model.base_model.pooler = head.pooler
    setattr(whole, whole.base_model_prefix, model.base_model)
    whole.cls.predictions = model.cls.predictions
    whole.cls.seq_relationship = head.linear
    return whole


def adapter_kind(folder: Path, kind: str, *, base: str, **settings: Any) -> None:
    """Write the adapter_config.json of an adapter that PEFT has no form for; PEFT says so when it meets its `kind`."""
    kept = {"peft_type": kind, "base_model_name_or_path": base, **settings}
    (folder / CONFIG).write_text(json.dumps(kept, indent=2), encoding="utf-8")


def merged(model: Any) -> Any:
    """The model with its adapter, if it has one, added into its weights: what follows learns from there. Its weights should be
    float32, for a small update is lost in fewer bits."""
    from peft import PeftModel

    return model.merge_and_unload() if isinstance(model, PeftModel) else model


def save_adapter(model: Any, folder: Path, *, base: str) -> None:
    """adapter_model.safetensors and adapter_config.json, naming `base` as what the adapter lies over."""
    config = model.peft_config["default"]
    config.base_model_name_or_path = base
    # PEFT holds sets, whose order differs between processes
    for name in ("target_modules", "feedforward_modules", "target_parameters"):
        if getattr(config, name, None):
            setattr(config, name, sorted(getattr(config, name)))
    model.save_pretrained(str(folder), safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's template, of which nothing is filled in


def linears_of(model: Any) -> list[tuple[str, Any]]:
    """The linear modules of a model by their whole names, GPT-2's transposed ones among them, without its head and without those
    that nothing can be laid beside (see `recurrent.closed`)."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    shut = set(recurrent.closed(model))
    every = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear | Conv1D)]
    return [(name, module) for name, module in every if module is not head and name not in shut]


def experts_of(model: Any) -> list[tuple[str, torch.nn.Parameter]]:
    """The matrices of a mixture's experts by their whole names, those of a layer's experts in one: (experts, rows, columns)."""
    every = model.named_parameters()
    return [(name, weight) for name, weight in every if weight.dim() == 3 and name.split(".")[-2:-1] == ["experts"]]


def all_transposed(model: Any, targets: Sequence[str]) -> bool:
    """Whether the linear modules that are targets are all transposed, as GPT-2's are."""
    chosen = [module for name, module in linears_of(model) if is_target(name, targets)]
    return bool(chosen) and not any(isinstance(module, torch.nn.Linear) for module in chosen)


def out_of(module: Any) -> int:
    """How many numbers a linear module makes of a token."""
    return int(module.out_features if isinstance(module, torch.nn.Linear) else module.nf)


def in_to(module: Any) -> int:
    """How many numbers of a token a linear module reads."""
    return int(module.in_features if isinstance(module, torch.nn.Linear) else module.nx)


def in_attention(name: str) -> bool:
    """Whether a module of this whole name is part of attention."""
    return "attn" in name.lower() or "attention" in name.lower()


KINDS = ("auto", "attention", "all")  # of targets, beside lists of names
ROUTERS = ("gate", "router", "shared_expert_gate")


def in_blocks(name: str) -> bool:
    """Whether a module of this whole name is part of one of a stack's layers, which have numbers, and of no router."""
    parts = name.split(".")
    return any(part.isdigit() for part in parts) and not any(part in ROUTERS for part in parts)


KEYS = ("k_proj", "key", "k", "k_lin", "key_proj")
VALUES = ("v_proj", "value", "v", "v_lin", "value_proj")
FUSED = ("c_attn", "Wqkv", "qkv_proj")  # queries first, then keys, then values, each in one piece


def makers(model: Any, step: str) -> list[tuple[str, Any, int]]:
    """The linear layers that make attention's keys and values: the name, the layer, and how many of its last columns are theirs.

    Found by their names, for their shapes are alike; raises Refused where no name is known.
    """
    config = model.config.get_text_config()
    if not recurrent.attends(model):
        raise Refused(f"{step} needs attention, and {type(model).__name__} has none", "lora goes on its linear layers")
    heads = int(config.num_attention_heads)
    queries = heads * int(getattr(config, "head_dim", None) or getattr(config, "d_kv", None) or config.hidden_size // heads)
    found = []
    for name, module in linears_of(model):
        last = name.rpartition(".")[2]
        if in_attention(name) and last in (*KEYS, *VALUES, *FUSED):
            found.append((name, module, out_of(module) - (queries if last in FUSED else 0)))
    if not found:
        names = sorted({name.rpartition(".")[2] for name, _ in linears_of(model) if in_attention(name)})
        known = ", ".join((*KEYS[:3], *FUSED))
        hint = f"its attention has {', '.join(names) or 'no linear layers'}; known are {known} and their like"
        raise Refused(f"{step} finds no keys and values in {type(model).__name__}", hint)
    return found


def mlp_ends(model: Any) -> list[tuple[str, Any]]:
    """The last linear layer of each MLP: in a layer but outside of its attention, to the model's width from another. What widens
    narrow embeddings stands before the layers, and is none."""
    width = int(model.config.get_text_config().hidden_size)
    return [
        (name, module)
        for name, module in linears_of(model)
        if in_blocks(name) and not in_attention(name) and out_of(module) == width and module.weight.numel() != width * width
    ]


def saved_by_peft(tuned: Any) -> Attached:
    """A PeftModel as what learns and is saved."""
    return Attached(tuned, lambda folder, base: save_adapter(tuned, folder, base=base))


def body_targets(model: Any, targets: str | Sequence[str]) -> list[str]:
    """As `linear_targets`, whole names within an encoder's body: what stands on it belongs to a head, and learns whole. Raises
    Refused where nothing else is a target."""
    endings = linear_targets(model, targets)
    # a model without any head is its own body
    body = f"{model.base_model_prefix}." if model.base_model is not model else ""
    linears = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and name.startswith(body)]
    linears = [name for name in linears if "pooler" not in name.split(".")]
    found = [name for name in linears if is_target(name, endings)]
    if not found and not expert_targets(model, targets):
        asked = targets if isinstance(targets, str) else ", ".join(targets)
        has = ", ".join(sorted({name.rpartition(".")[2] for name in linears}))
        raise Refused(f"LoRA cannot go on '{asked}' of {type(model).__name__}: a head learns whole", f"its body has: {has}")
    return found


def linear_targets(model: Any, targets: str | Sequence[str]) -> list[str]:
    """Endings of the names of the linear modules that LoRA goes on, in as many parts as tell them from the others: GPT-2 has a
    `c_proj` in its attention and another in its MLP.

    `auto` is every linear layer of the blocks but routers (arXiv:2305.14314, section 4), `attention` the layers' attention
    projections, `all` every linear layer but the head, a list is taken by name. Found by looking at the model, not at its name; the
    experts' matrices are `expert_targets`. Raises Refused where neither fits.
    """
    linears, experts = [name for name, _ in linears_of(model)], [name for name, _ in experts_of(model)]
    endings = ", ".join(sorted({name.rpartition(".")[2] for name in (*linears, *experts)})) or "none"
    if targets in KINDS:
        asks: dict[str, Callable[[str], bool]] = {"auto": in_blocks, "attention": in_attention, "all": bool}
        wanted = [name for name in linears if asks[str(targets)](name)]
        others = {*linears, *recurrent.closed(model)} - set(wanted)
        chosen = {_ending(name, others) for name in wanted}
    else:
        named = {targets} if isinstance(targets, str) else set(targets)
        for name in sorted(named):
            if any(is_target(own, [name]) for own in recurrent.closed(model)):
                reads = "its mixers read the weights of that one by themselves, and pass by what is laid beside it"
                raise Refused(f"LoRA cannot go on '{name}' of {type(model).__name__}: {reads}", f"take from: {endings}")
            if not any(is_target(own, [name]) for own in (*linears, *experts)):
                raise Refused(f"no linear module is called '{name}' in {type(model).__name__}", f"it has: {endings}")
        chosen = {name for name in named if any(is_target(own, [name]) for own in linears)}
    if not chosen and not expert_targets(model, targets):
        raise Refused(f"{type(model).__name__} has no linear modules for '{targets}'", f"it has: {endings}")
    return sorted(chosen)


def expert_targets(model: Any, targets: str | Sequence[str]) -> list[str]:
    """Endings of the names of the experts' matrices that LoRA goes on: all of them where targets is `auto` or `all`, those that a
    list names."""
    named = () if targets in KINDS else (targets,) if isinstance(targets, str) else targets
    every = [name for name, _ in experts_of(model) if targets in ("auto", "all") or is_target(name, named)]
    return sorted({".".join(name.split(".")[-2:]) for name in every})


def is_target(name: str, targets: Sequence[str]) -> bool:
    """Whether a module of this whole name is one of the targets, by PEFT's rule: a name ends in whole parts."""
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _ending(name: str, others: Collection[str]) -> str:
    """The last parts of a name, as few as no other name ends in."""
    parts = name.split(".")
    endings = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
    return next(ending for ending in endings if not any(is_target(other, [ending]) for other in others))
