"""The shelf alone owns weights. Steps and examinations borrow inside a `with`; leaving restores the base exactly.

PEFT replaces modules in place, patches methods and leaves `requires_grad` behind; a training loop changes modes. So the shelf
takes a snapshot of the module tree before it lends (every module's own attributes, child modules, hooks, flags, the config) and
puts it back afterwards. Weights that were written to in place, which a snapshot cannot see, are found by a checksum (the version
counters miss fused optimizers and what goes through `.data`, as PEFT's merging does); such a base is dropped and read from disk
anew at its next borrowing.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from safetensors import SafetensorError

from tuneladder.errors import BadInput, Failed, told
from tuneladder.model.adapters import open_adapter
from tuneladder.model.attach import with_body_of
from tuneladder.model.encoding import EncoderEngine, MaskedEngine
from tuneladder.model.hardware import computed_in, release, resident
from tuneladder.model.local import MEMORY, LocalEngine
from tuneladder.model.mixing import MixedEngine, worn_over
from tuneladder.model.probe import ProbedEngine, open_probe
from tuneladder.model.purse import Purse
from tuneladder.model.quantized import WHOLE, held_as, settle
from tuneladder.model.remote import RemoteEngine
from tuneladder.model.rewarding import ReadingRewardEngine, RewardEngine
from tuneladder.model.seq2seq import Seq2seqEngine, SpanEngine
from tuneladder.store import Store
from tuneladder.task.encode import Coder
from tuneladder.task.pairs import PairCoder
from tuneladder.task.passages import TextCoder
from tuneladder.types import Base, Engine, Head, Variant

MULTI_LABEL = "multi_label_classification"  # as transformers calls a head whose labels are each for themselves


@dataclass(frozen=True)
class Live:
    """A borrowed model with what is needed to feed it: a `coder` for a decoder, `texts` for an encoder, `pairs` for a seq2seq;
    `fresh` are the names of the weights that no file holds, `soft` the tokens that stand before all that it reads."""

    model: Any
    tokenizer: Any
    fresh: tuple[str, ...]
    context: int
    soft: tuple[int, ...] = ()

    @cached_property
    def coder(self) -> Coder:
        return Coder(self.tokenizer, self.context, soft=self.soft)

    @cached_property
    def texts(self) -> TextCoder:
        kinds = int(getattr(self.model.config, "type_vocab_size", 0) or 0)
        return TextCoder(self.tokenizer, self.context, kinds=kinds, soft=self.soft)

    @cached_property
    def pairs(self) -> PairCoder:
        config = self.model.config
        start = config.decoder_start_token_id
        start = int(config.pad_token_id if start is None else start)
        return PairCoder(self.tokenizer, self.context, start=start, soft=self.soft)


class Snapshot:
    """Everything about a module tree that Python can see, by reference, and a checksum of its numbers; `restore` puts it back."""

    def __init__(self, model: Any) -> None:
        self.classes = {module: type(module) for module in model.modules()}
        self.attributes = {module: {name: _copy(value) for name, value in vars(module).items()} for module in self.classes}
        self.weights = {weight: (weight.requires_grad, _state(weight)) for weight in [*model.parameters(), *model.buffers()]}
        # parts of a model may hold configs of their own; the generation config is one of the first module's attributes
        configs = [
            value for kept in self.attributes.values() for name, value in kept.items() if name in ("config", "generation_config")
        ]
        self.configs = {id(config): (config, copy.deepcopy(vars(config))) for config in configs if config is not None}

    def restore(self) -> bool:
        """Put everything back. False where weights were written to: then the tree is whole, and its numbers are not."""
        for module, kept in self.attributes.items():
            module.__class__ = self.classes[module]
            own = vars(module)
            for name in [name for name in own if name not in kept]:
                del own[name]
            for name, value in kept.items():
                # torch holds references to a module's hook and child dicts: their contents go back, not the dicts
                if isinstance(value, dict) and isinstance(own.get(name), dict):
                    own[name].clear()
                    own[name].update(value)
                else:
                    own[name] = value
        for weight, (requires_grad, _) in self.weights.items():
            weight.grad = None
            weight.requires_grad_(requires_grad)
        for config, settings in self.configs.values():
            vars(config).clear()
            vars(config).update(settings)
        return all(_state(weight) == before for weight, (_, before) in self.weights.items())


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, dict | set | list) else value


def _state(weight: torch.Tensor) -> tuple[int, int, int]:
    """Where a tensor's numbers lie, how often autograd saw them written, and their checksum: one pass over memory."""
    weight = weight.detach()
    return weight.data_ptr(), weight._version, int(torch.hash_tensor(weight.cpu() if weight.is_mps else weight).view(torch.int64))


class Shelf:
    """One model in memory at a time, lent to one borrower at a time.

    `dtype` is what frozen weights are held in: bfloat16 where the hardware multiplies it, else float32. `memory` is the most
    bytes that this process may take while an engine writes: with less to spare, its batches are smaller. What endpoints answer
    is kept in `store`, where there is one, and paid for out of `purse`.
    """

    def __init__(
        self,
        device: str = "cpu",
        *,
        dtype: torch.dtype | None = None,
        memory: int | None = None,
        store: Store | None = None,
        purse: Purse | None = None,
    ) -> None:
        self.device, self.memory, self.store, self.purse = device, memory, store, purse or Purse()
        self.dtype: torch.dtype = dtype or getattr(torch, computed_in(device))
        self._held: tuple[tuple[str, str, str, Head | None, str, torch.dtype], Any, Any, tuple[str, ...]] | None = None
        self._lent = False

    @property
    def autocast(self) -> torch.dtype | None:
        """The dtype for mixed precision in training, None where it would not help."""
        return torch.bfloat16 if self.dtype == torch.bfloat16 else None

    @contextmanager
    def live(self, variant: Variant, *, dtype: torch.dtype | None = None, beside: Any = None) -> Iterator[Live]:
        """The variant's model, frozen and in eval mode, to train or look into; `dtype` float32 for weights that will learn, which
        are never held in fewer bits. Weights that a model `beside` it holds too are in memory once."""
        if self._lent:
            raise AssertionError("the shelf lends one model at a time")
        model, tokenizer, fresh = self._open(replace(variant, format=WHOLE) if dtype else variant, dtype or self.dtype)
        snapshot = Snapshot(model)
        self._lent = True
        try:
            lent, soft = open_adapter(model, variant.adapter) if variant.adapter else (model, ())
            if beside is not None:
                hold_once(lent, beside)
            yield Live(lent, tokenizer, fresh, variant.base.context, soft)
        finally:
            self._lent = False
            lent = None
            if not snapshot.restore():
                self._held = None
            gc.collect()

    @contextmanager
    def engine(self, variant: Variant, *, beside: Any = None) -> Iterator[Engine]:
        """An engine that answers as the variant does. The prompt is not the engine's: it is passed with each call. `beside` as in
        `live`."""
        if variant.base.source == "url":
            yield RemoteEngine.of(variant.base, store=self.store, purse=self.purse)
            return
        with self.live(variant, beside=beside) as live:
            engine = self._engine(variant, live)
            yield ProbedEngine(engine, open_probe(variant.probe)) if variant.probe else engine

    @contextmanager
    def mixed(self, variants: Mapping[str, Variant]) -> Iterator[MixedEngine]:
        """An engine that answers as any of these variants, decoders of one base whose LoRAs differ, in one batch. Raises BadInput
        for variants that one base cannot carry at once."""
        first = next(iter(variants.values()))
        bare = replace(first, adapter=None)
        for name, variant in variants.items():
            if variant.base.family != "decoder" or variant.base.source == "url" or variant.head or variant.probe:
                raise BadInput(f"{name} is not a decoder that answers here in its own words", "ask that variant by itself")
            if (variant.base, variant.weights, variant.format) != (bare.base, bare.weights, bare.format):
                raise BadInput(f"{name} does not stand on the weights of {next(iter(variants))}", "only adapters may differ")
        with self.live(bare) as live:
            model, names = worn_over(live.model, variants)
            engine = self._engine(bare, replace(live, model=model))
            assert isinstance(engine, LocalEngine)
            yield MixedEngine(engine, model, names)

    def _engine(self, variant: Variant, live: Live) -> LocalEngine | EncoderEngine | Seq2seqEngine | RewardEngine:
        name = f"local {self.dtype}".replace("torch.", "")
        spare = MEMORY
        if self.memory is not None and self.device == "cpu":
            spare = max(1, min(MEMORY, self.memory - resident()))
        if variant.head and variant.head.kind == "reward":
            return self._rewarding(variant, live, name, spare)
        if variant.base.family == "decoder":
            return LocalEngine(live.model, live.coder, name=name, memory=spare)
        if variant.base.family == "seq2seq":
            kind = SpanEngine if live.pairs.sentinels else Seq2seqEngine
            return kind(live.model, live.pairs, name=name, memory=spare)
        heads = {variant.head.kind: variant.head.labels} if variant.head else {}
        answers: dict[str, Any] = {"labels": heads.get("classes"), "sets": heads.get("multi_label"), "tags": heads.get("tags")}
        if not variant.base.settings.get("masked"):
            return EncoderEngine(live.model, live.texts, name=name, **answers)

        return MaskedEngine(live.model, live.texts, name=name, masked=lambda: self._pretrained(variant, live), **answers)

    def _rewarding(self, variant: Variant, live: Live, name: str, spare: int) -> RewardEngine:
        """An engine that rewards, and reads where the base came with the head of its pretraining."""
        if variant.base.family == "decoder":

            def decoder() -> LocalEngine:
                return LocalEngine(self._pretrained(variant, live), live.coder, name=name, memory=spare)

            return ReadingRewardEngine(live.model, live.coder, name=name, reader=decoder)
        if not variant.base.settings.get("masked"):
            return RewardEngine(live.model, live.texts, name=name)

        def encoder() -> MaskedEngine:
            return MaskedEngine(live.model, live.texts, name=name, masked=lambda: self._pretrained(variant, live))

        return ReadingRewardEngine(live.model, live.texts, name=name, reader=encoder)

    def _pretrained(self, variant: Variant, live: Live) -> Any:
        """The model with the head of its pretraining: with another one it is no longer a language model, and the base's own head
        is put on its body."""
        if variant.head is None:
            return live.model
        bare = replace(variant, format=WHOLE, weights=None, adapter=None, head=None)
        return with_body_of(live.model, _load(bare, self.dtype, self.device)[0].to(self.device).eval())

    def close(self) -> None:
        """Let go of the model, and hand its memory back: the next one would else stand beside what the first left free."""
        self._held = None
        release()

    def _open(self, variant: Variant, dtype: torch.dtype) -> tuple[Any, Any, tuple[str, ...]]:
        folder = variant.weights or variant.base.location
        key = (folder, variant.base.revision, variant.base.content, variant.head, variant.format, dtype)
        if self._held and self._held[0] == key:
            return self._held[1:]
        self.close()
        try:
            model, fresh = _load(variant, dtype, self.device)
            tokenizer = open_tokenizer(variant.base, variant.weights)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            hint = "its weights do not go with its config.json, or are broken: save or fetch them again"
            raise Failed(f"{variant.base.name} cannot be opened from {folder}: {told(error)}", hint) from error
        if variant.format == WHOLE:
            model.to(self.device)
        model.requires_grad_(False)
        model.eval()
        self._held = (key, model, tokenizer, fresh)
        return self._held[1:]


def hold_once(model: Any, beside: Any) -> None:
    """Let go of the frozen weights of `model` that another model holds under the same name, number for number: it reads those."""

    def named(of: Any) -> dict[str, Any]:
        return {name.replace("base_model.model.", "").replace("base_layer.", ""): weight for name, weight in of.named_parameters()}

    there = {name: weight for name, weight in named(beside).items() if not weight.requires_grad}
    for name, weight in named(model).items():
        other = there.get(name)
        if (
            other is None
            or weight.requires_grad
            or (other.shape, other.dtype, other.device) != (weight.shape, weight.dtype, weight.device)
        ):
            continue
        if torch.equal(weight, other):
            weight.data = other.data


def _load(variant: Variant, dtype: torch.dtype, device: str) -> tuple[Any, tuple[str, ...]]:
    """The model in the class that its family, head and checkpoint ask for, and the names of the weights that no file holds."""
    import transformers

    base = variant.base
    options: dict[str, Any] = {"revision": base.revision} if base.source == "hub" and base.revision else {}
    kind: Any = transformers.AutoModelForCausalLM
    if base.family == "seq2seq":
        kind = transformers.AutoModelForSeq2SeqLM
    if base.family == "encoder":
        kind = transformers.AutoModelForMaskedLM if base.settings.get("masked") else transformers.AutoModel
    if variant.head:
        heads = {"tags": transformers.AutoModelForTokenClassification}
        kind = heads.get(variant.head.kind, transformers.AutoModelForSequenceClassification)
        options |= {
            "id2label": dict(enumerate(variant.head.labels)),
            "label2id": {own: k for k, own in enumerate(variant.head.labels)},
        }
        options |= {"problem_type": MULTI_LABEL} if variant.head.kind == "multi_label" else {}
    options["trust_remote_code"] = bool(base.settings.get("trust_remote_code", False))
    location = variant.weights or base.location
    held = held_as(variant.format, kind, location, dtype=dtype, device=device, **options) if variant.format != WHOLE else {}
    model, found = kind.from_pretrained(location, dtype=dtype, use_safetensors=True, output_loading_info=True, **options, **held)
    if held:
        settle(model)
    return model, tuple(sorted(found["missing_keys"]))


def open_tokenizer(base: Base, weights: str | None = None) -> Any:
    """The tokenizer of a base, or of the folder of weights that a step made of it. Raises BadInput where it cannot be opened."""
    from transformers import AutoTokenizer

    revision = {"revision": base.revision} if base.source == "hub" and base.revision and not weights else {}
    trust = bool(base.settings.get("trust_remote_code", False))
    try:
        return AutoTokenizer.from_pretrained(weights or base.location, trust_remote_code=trust, **revision)
    except Exception as error:  # a KeyError of a broken file as much as an OSError of one that is not there
        hint = "tokenizer.json, or the files it is made of, lie beside config.json: save or fetch them again"
        raise BadInput(f"the tokenizer of {base.name} cannot be opened: {told(error)}", hint) from error
