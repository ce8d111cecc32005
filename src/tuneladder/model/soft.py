"""Soft prompts: vectors that stand before everything a model reads, learned while the model stays as it is.

Each has a number of its own, above those of the vocabulary, and what is read begins with these numbers. So rows are cut, packed,
cached and shared by the code that knows tokens and nothing else: only the table of embeddings knows better, and of a prefix the
linear layers that make keys and values. On disk both are PEFT's, where PEFT has a form for them.

Shapes: B rows, T tokens, P vectors, D the model's width, W that of a layer's keys.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from tuneladder.model import recurrent
from tuneladder.model.attach import (
    Attached,
    Opened,
    adapter_kind,
    head_weights,
    kind_of,
    learning,
    let_learn,
    makers,
    put_head,
    saved_by_peft,
)

PREFIX = "prefix.safetensors"  # beside PEFT's own file: keys and values as the layers make them, before they are turned
OURS = "TUNELADDER_PREFIX"  # what PEFT has no form for


class Soft(torch.nn.Module):
    """A table of embeddings, and the vectors (P, D) of the numbers from `first` on. Each thread remembers where in its last pass
    they stood."""

    def __init__(self, table: Any, vectors: torch.Tensor, first: int) -> None:
        super().__init__()
        self.table, self.vectors, self.first = table, vectors, first
        self._seen = threading.local()

    @property
    def weight(self) -> torch.Tensor:
        return self.table.weight  # type: ignore[no-any-return]

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(B, T) -> (B, T, D)."""
        places = (ids >= self.first).flatten().nonzero().flatten()
        numbers = ids.flatten().index_select(0, places) - self.first
        self._seen.last = (ids.numel(), places, numbers)
        if not len(places):
            return self.table(ids)  # type: ignore[no-any-return]
        found = self.table(ids.clamp(max=self.first - 1))
        return self.put(found, self.vectors)

    def put(self, found: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """(..., W) of the last pass, with those of `vectors` (P, W) where the soft tokens stand."""
        size, places, numbers = self._seen.last
        if not len(places):
            return found
        assert found.shape[:-1].numel() == size
        rows = functional.embedding(numbers, vectors).to(found.dtype)
        return found.flatten(0, -2).index_copy(0, places, rows).view_as(found)


class Made(torch.nn.Module):
    """A linear layer that makes keys, values or both, and what it is to make of the soft tokens: `vectors` (P, W), which are its
    last columns where it makes more than that (queries)."""

    def __init__(self, linear: Any, vectors: torch.Tensor, soft: Soft) -> None:
        super().__init__()
        self.linear, self.vectors = linear, vectors
        self._soft = [soft]  # in a list: it is no child of this layer

    @property
    def weight(self) -> torch.Tensor:  # T5 looks at its precision
        return self.linear.weight  # type: ignore[no-any-return]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.linear(x)
        aside = made.shape[-1] - self.vectors.shape[1]
        (soft,) = self._soft
        if not aside:
            return soft.put(made, self.vectors)
        return torch.cat([made[..., :aside], soft.put(made[..., aside:], self.vectors)], dim=-1)


def attach_prompt(model: Any, ids: Sequence[int], *, seed: int, head: Sequence[str] = (), tags: bool = False) -> Attached:
    """Prompt tuning (arXiv:2104.08691): a vector for each of `ids`, the embedding of that token at first."""
    from peft import PromptTuningConfig, get_peft_model

    torch.manual_seed(seed)
    table = model.get_input_embeddings()
    start = table(torch.tensor([list(ids)], device=model.device))[0].detach().float()
    settings: dict[str, Any] = {"num_virtual_tokens": len(ids), "token_dim": start.shape[1], "num_transformer_submodules": 1}
    if not recurrent.attends(model):
        settings["num_attention_heads"] = 1  # which PEFT asks for, and a prompt has no use for
    if head:
        settings["modules_to_save"] = list(head)
    tuned = get_peft_model(model, PromptTuningConfig(task_type=kind_of(model, head, tags), **settings))
    tuned.prompt_encoder["default"].embedding.weight.data = start
    learning(tuned)
    return _with_prompt(tuned)


def open_prompt(model: Any, folder: str) -> Opened:
    """The model with a saved soft prompt before all that it reads, frozen."""
    from peft import PeftModel

    made = _with_prompt(PeftModel.from_pretrained(model, folder, is_trainable=False))
    return made.model, made.soft


def _with_prompt(tuned: Any) -> Attached:
    model, vectors = tuned.base_model, tuned.prompt_encoder["default"].embedding.weight
    soft = _softened(model, vectors)
    return Attached(model, saved_by_peft(tuned).save, _numbers(soft))


def _softened(model: Any, vectors: torch.Tensor) -> Soft:
    """Give the model, or of a seq2seq its encoder, a table with soft tokens."""
    reader = model.get_encoder() if model.config.is_encoder_decoder else model
    table = reader.get_input_embeddings()
    soft = Soft(table, vectors, table.weight.shape[0])
    reader.set_input_embeddings(soft)
    return soft


def _numbers(soft: Soft) -> tuple[int, ...]:
    return tuple(range(soft.first, soft.first + len(soft.vectors)))


def attach_prefix(model: Any, ids: Sequence[int], *, head: Sequence[str] = ()) -> Attached:
    """Prefix tuning (arXiv:2101.00190, equation 3): keys and values of P tokens in every layer; at first those that the model
    itself makes of `ids`, as its section 7.4 recommends. Of a seq2seq the encoder's layers have them.

    Raises Refused where a layer's keys and values are not found.
    """
    core = reader_of(model)
    reading = torch.tensor([list(ids)], device=model.device)
    vectors = core.get_input_embeddings()(reading)[0].detach().float()
    started: dict[str, torch.Tensor] = {}
    layers = makers(core, "prefix_tuning")
    hooks = [
        module.register_forward_hook(lambda own, given, made, name=name: started.update({name: made[0].detach().float()}))
        for name, module, _ in layers
    ]
    try:
        with torch.no_grad():
            core(input_ids=reading)
    finally:
        for hook in hooks:
            hook.remove()
    made = {name: started[name][:, -width:].contiguous() for name, _, width in layers}
    return _with_prefix(model, vectors, made, head=head, learn=True)


def prefix_parameters(model: Any, tokens: int) -> int:
    """Parameters of a prefix of so many tokens: keys and values of each layer that reads the prompt. Raises Refused
    as `makers` does."""
    return tokens * sum(width for _, _, width in makers(reader_of(model), "prefix_tuning"))


def open_prefix(model: Any, folder: str) -> Opened:
    """The model with a saved prefix, frozen."""
    from safetensors.torch import load_file

    kept = load_file(Path(folder) / PREFIX)
    vectors = kept.pop("embeddings")
    made = _with_prefix(model, vectors, put_head(model, kept), head=(), learn=False)
    return made.model, made.soft


def _with_prefix(model: Any, vectors: torch.Tensor, made: dict[str, torch.Tensor], *, head: Sequence[str], learn: bool) -> Attached:
    core = reader_of(model)
    soft = _softened(model, torch.nn.Parameter(vectors.to(model.device), requires_grad=False))
    own = {name: torch.nn.Parameter(value.to(model.device), requires_grad=learn) for name, value in made.items()}
    for name, module, _ in makers(core, "prefix_tuning"):
        parent, _, last = name.rpartition(".")
        setattr(core.get_submodule(parent), last, Made(module, own[name], soft))
    let_learn(model, head)

    def save(folder: Path, base: str) -> None:
        from safetensors.torch import save_file

        kept = {name: weight.detach().contiguous() for name, weight in own.items()}
        save_file({"embeddings": vectors.contiguous(), **kept, **head_weights(model, head)}, str(folder / PREFIX))
        _save_as_peft(model, _numbers(soft), folder, base)

    return Attached(model, save, _numbers(soft))


def reader_of(model: Any) -> Any:
    """What reads the prompt: of a seq2seq the encoder."""
    return model.get_encoder() if model.config.is_encoder_decoder else model


@torch.no_grad()
def _save_as_peft(model: Any, soft: Sequence[int], folder: Path, base: str) -> None:
    """Of a decoder a prefix that PEFT opens, which is what the cache holds after the soft tokens: keys already turned. Of others a
    config that says whose it is."""
    from peft import PrefixTuningConfig
    from safetensors.torch import save_file

    if type(model).__name__.endswith(("ForCausalLM", "LMHeadModel")) and not model.config.is_encoder_decoder:
        training = model.training
        model.set_attn_implementation("eager")  # training may have set one that takes no cache
        layers = model.eval()(input_ids=torch.tensor([list(soft)], device=model.device), use_cache=True).past_key_values.layers
        model.train(training)
        heads, width = layers[0].keys.shape[1], layers[0].keys.shape[3]
        both = [kept[0].transpose(0, 1).flatten(1) for layer in layers for kept in (layer.keys, layer.values)]
        save_file({"prompt_embeddings": torch.cat(both, 1).float().contiguous()}, str(folder / "adapter_model.safetensors"))
        config = PrefixTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=len(soft),
            token_dim=heads * width,
            num_transformer_submodules=1,
            num_attention_heads=heads,
            num_layers=len(layers),
            base_model_name_or_path=base,
            inference_mode=True,
        )
        config.save_pretrained(str(folder))
        return
    adapter_kind(folder, OURS, base=base, num_virtual_tokens=len(soft))
