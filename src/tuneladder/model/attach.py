"""Adapters on a borrowed model, in PEFT's own format, so that `PeftModel.from_pretrained` opens what we save."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from tuneladder.errors import Refused
from tuneladder.model.written import asleep


def attach_lora(
    model: Any,
    *,
    r: int,
    alpha: float,
    dropout: float,
    targets: Sequence[str],
    seed: int,
    head: Sequence[str] = (),
    tags: bool = False,
) -> Any:
    """LoRA (arXiv:2106.09685, equation 3) on the named linear modules; B is zero, so that the start is the base exactly.

    Returns a PeftModel whose only trainable weights are the adapter's, in float32 whatever the base is held in. `head` names the
    modules of a classification head, which learn whole and are saved with the adapter; with `tags` it labels words.
    """
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import Linear

    torch.manual_seed(seed)
    settings: dict[str, Any] = {"r": r, "lora_alpha": alpha, "lora_dropout": dropout, "target_modules": list(targets)}
    if head:
        settings["modules_to_save"] = list(head)
    head_kind = "TOKEN_CLS" if tags else "SEQ_CLS"
    kind = head_kind if head else "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
    tuned = get_peft_model(model, LoraConfig(**settings, task_type=kind))
    for weight in tuned.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()  # PEFT copies a head in the precision that the base is held in
    for module in tuned.modules():
        if isinstance(module, Linear) and not dropout:
            module.forward = _lean(module)
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


def open_adapter(model: Any, folder: str) -> Any:
    """The model with a saved adapter over it, frozen."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder, is_trainable=False)


def merged(model: Any) -> Any:
    """The model with its adapter, if it has one, added into its weights: what follows learns from there. Its weights should be
    float32, for a small update is lost in fewer bits."""
    from peft import PeftModel

    return model.merge_and_unload() if isinstance(model, PeftModel) else model


def save_adapter(model: Any, folder: Path, *, base: str) -> None:
    """adapter_model.safetensors and adapter_config.json, naming `base` as what the adapter lies over."""
    config = model.peft_config["default"]
    config.base_model_name_or_path = base
    config.target_modules = sorted(config.target_modules)  # PEFT holds a set, whose order differs between processes
    model.save_pretrained(str(folder), safe_serialization=True)


def body_targets(model: Any, targets: str | Sequence[str]) -> list[str]:
    """As `linear_targets`, whole names within an encoder's body: what stands on it belongs to a head, and learns whole."""
    endings = linear_targets(model, targets)
    # a model without any head is its own body
    body = f"{model.base_model_prefix}." if model.base_model is not model else ""
    linears = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and name.startswith(body)]
    return [name for name in linears if name.rpartition(".")[2] in endings and "pooler" not in name.split(".")]


def linear_targets(model: Any, targets: str | Sequence[str]) -> list[str]:
    """Endings of the names of the linear modules that LoRA goes on, in as many parts as tell them from the others: GPT-2 has a
    `c_proj` in its attention and another in its MLP.

    `attention` is the layers' attention projections, `all` every linear layer but the head, a list is taken by name. Found by
    looking at the model, not at its name. Raises Refused where nothing fits.
    """
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    linears = [
        name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    ]
    endings = sorted({name.rpartition(".")[2] for name in linears})
    if targets in ("attention", "all"):
        wanted = [name for name in linears if targets == "all" or "attn" in name.lower() or "attention" in name.lower()]
        others = set(linears) - set(wanted)
        chosen = {_ending(name, others) for name in wanted}
    else:
        chosen = {targets} if isinstance(targets, str) else set(targets)
        for name in sorted(chosen):
            if not any(is_target(own, [name]) for own in linears):
                raise Refused(f"no linear module is called '{name}' in {type(model).__name__}", f"it has: {', '.join(endings)}")
    if not chosen:
        raise Refused(f"{type(model).__name__} has no linear modules for '{targets}'", f"it has: {', '.join(endings) or 'none'}")
    return sorted(chosen)


def is_target(name: str, targets: Sequence[str]) -> bool:
    """Whether a module of this whole name is one of the targets, by PEFT's rule: a name ends in whole parts."""
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _ending(name: str, others: Collection[str]) -> str:
    """The last parts of a name, as few as no other name ends in."""
    parts = name.split(".")
    endings = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
    return next(ending for ending in endings if not any(is_target(other, [ending]) for other in others))
