"""Frozen weights in fewer bits, by bitsandbytes: nf4 (arXiv:2305.14314, section 3) and int8 (arXiv:2208.07339).

Only the linear layers of the body are: embeddings, norms and heads keep the precision that the shelf holds weights in.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import torch

from tuneladder.errors import Refused
from tuneladder.model.attach import in_to, linears_of
from tuneladder.model.memory import BLOCK, skeleton_of
from tuneladder.types import Base

# PEFT imports bitsandbytes wherever it is installed: it says that it would like more kernels, and of every product in int8 that its
# input is rounded
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

WHOLE = "transformers"  # the format of a variant whose weights are held as they are


def refuse_quantized(step: str, form: str, base: Base, *, device: str) -> None:
    """Raises Refused where weights cannot be held in this form, or none of the base's would be."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise Refused(f"{step} holds weights in {form}, for which bitsandbytes is missing", "pip install 'tuneladder[quant]'")
    if device == "mps":
        raise Refused(f"{step} holds weights in {form}, which bitsandbytes cannot do on {device}", "take `lora`")
    model = skeleton_of(base)
    if not {name for name, _ in linears_of(model)} - {*untouched(model, form)}:
        raise Refused(f"no matrix of {base.name} has rows of whole blocks of {BLOCK} weights, as {form} needs", "form: int8")


def settings_of(form: str, kind: Any, location: str, *, dtype: torch.dtype | None = None, **named: Any) -> dict[str, Any]:
    """What BitsAndBytesConfig is told so that the linear layers of the body are held as `form`, and multiplied in `dtype`. `kind`
    is the class that is opened from `location`, and `named` says more of its config, as `kind.from_pretrained` is told."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(location, **named)
    with torch.device("meta"):
        skeleton = kind.from_config(config, trust_remote_code=named.get("trust_remote_code", False))
    bits: dict[str, Any] = {"load_in_8bit": True}
    if form == "nf4":
        bits = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
        if dtype:
            bits["bnb_4bit_compute_dtype"] = dtype
    return bits | {"llm_int8_skip_modules": untouched(skeleton, form)}


def held_as(form: str, kind: Any, location: str, *, dtype: torch.dtype, device: str, **named: Any) -> dict[str, Any]:
    """What `kind.from_pretrained` is told so that weights are made `form` as they are read: no whole model in more bits is ever in
    memory."""
    from transformers import BitsAndBytesConfig

    bits = settings_of(form, kind, location, dtype=dtype, **named)
    return {"quantization_config": BitsAndBytesConfig(**bits), "device_map": {"": device}}


def settle(model: Any) -> None:
    """Keep bitsandbytes from laying four-bit weights out anew while a CPU answers: its way back rounds their scales, and what is
    learned after a look at the dev rows would depend on the look."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def untouched(model: Any, form: str) -> list[str]:
    """The whole names of the linear modules that keep their precision: those of heads and poolers, those that transformers keeps,
    which of a T5 are the ends of its MLPs, and for nf4 those whose rows are no whole blocks, which bitsandbytes on a CPU writes
    wrongly."""
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.quantizers_utils import should_convert_module

    # a model without any head is its own body
    body = f"{model.base_model_prefix}." if model.base_model is not model else ""
    inside = {name for name, _ in linears_of(model) if name.startswith(body) and "pooler" not in name.split(".")}
    every = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear | Conv1D)]
    kept = list(model._keep_in_fp32_modules or ())
    inside = {name for name in inside if should_convert_module(name, kept)}
    return [name for name, module in every if name not in inside or (form == "nf4" and in_to(module) % BLOCK)]
