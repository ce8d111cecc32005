"""A base made of a shape: random weights and a tokenizer trained on the task's own text, kept as a folder like any other base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tuneladder.errors import BadInput
from tuneladder.model.hardware import hardware
from tuneladder.model.inspect import config_of, inspect
from tuneladder.store import Store, digest
from tuneladder.task.tokenizer import train_tokenizer
from tuneladder.types import Base, Document, Task

VERSION = 2  # of how a root is drawn


def root_base(base: Base, task: Task, store: Store, *, seed: int) -> Base:
    """The base itself, or for a shape the folder that was made of it. Weights are drawn by `seed`, in float32. Raises BadInput for
    a shape whose weights the machine cannot hold."""
    if base.source != "shape":
        return base
    if (weights := 4 * base.parameters) > (room := hardware().memory):
        takes = f"{base.parameters:,} parameters, {weights / 1e9:,.0f} GB, and this machine has {room / 1e9:,.0f} GB of memory"
        raise BadInput(f"the shape of {base.name} makes {takes}", "a narrower one with fewer layers")
    documents = task.text.train or tuple(
        Document("\n".join(turn.text for turn in example.turns) + "\n" + example.references[0]) for example in task.examples.train
    )
    if not documents:
        raise BadInput(f"{base.name} is a shape, and the task has no text to train its tokenizer on", "give the task training rows")

    def make(folder: Path) -> Mapping[str, Any]:
        from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

        family = base.family
        tokenizer = train_tokenizer(
            documents,
            vocabulary=base.vocabulary,
            context=base.context,
            mixture=task.mixture,
            seed=seed,
            family=family,
            lowercase=base.settings["lowercase"],
        )
        config = config_of(base)
        config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
        if family == "seq2seq":
            config.decoder_start_token_id = tokenizer.pad_token_id
        else:
            config.bos_token_id = tokenizer.eos_token_id
        if family == "encoder":
            config.cls_token_id = config.sep_token_id = tokenizer.eos_token_id
        kinds: dict[str, Any] = {"encoder": AutoModelForMaskedLM, "seq2seq": AutoModelForSeq2SeqLM}
        torch.manual_seed(seed)
        model = kinds.get(family, AutoModelForCausalLM).from_config(config)
        if family == "seq2seq":
            narrow(model)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {"tokens": len(tokenizer)}

    folder = store.once(f"root-{digest(VERSION, base.settings, documents, task.mixture, seed)}", make)
    return replace(inspect(str(folder)), name=base.name, licence=base.licence)


def narrow(model: Any) -> None:
    """Make the table of a T5 as wide as its other matrices. Its authors drew them as wide as 1 (arXiv:1910.10683 had Adafactor,
    whose rates follow the weights' own size): under one rate for all the head would stay behind, and in the decoder what a token is
    would drown what the layers say of it. The last norm gives back what the logits lose, for the head reads the same table."""
    root = model.config.d_model**0.5
    with torch.no_grad():
        model.shared.weight.div_(root)
        model.decoder.final_layer_norm.weight.mul_(root)
