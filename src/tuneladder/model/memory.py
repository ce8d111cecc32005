"""How much memory a base takes: to hold, to train, to answer. Arithmetic; nothing is run.

What backward keeps for each layer of a Llama was counted tensor by tensor in transformers 5.23 (saved_tensors_hooks), and the
sums were set against measured peaks; tests/train/test_foretold.py measures two of them anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from tuneladder.errors import Refused
from tuneladder.model import recurrent
from tuneladder.types import Base

Method = Literal["full", "part", "adapter"]
Attention = Literal["sdpa", "eager"]

PACKED_BELOW = 512  # up to this length rows are packed on a CPU: what attention keeps of longer ones is more than all else
STRETCH = 64  # queries that packed attention looks at together

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
BLOCK = 64  # weights in nf4 that share a constant, the largest of them (absmax)

# What a process that trains on a CPU holds beside tensors: interpreter, torch, transformers and PEFT, and the kernels with which a
# base's pace was measured (490 to 530 MB); and what its first step makes: kernels, and what the allocator keeps for each lane. On a
# GPU the allocator's own peak counts, and these are no part of it.
PROCESS = 500_000_000
FIRST = 50_000_000

# What the process of a climb holds beside that when it examines: scikit-learn and what comes with it (110 MB), rows with their
# answers, and what the heap keeps between batches of many lengths. 130 to 300 MB were measured with a thousand rows.
CLIMBING = 200_000_000

# What tensors that come and go with every step take of the machine, over their bytes alive at once. The C allocator keeps freed
# ones in a heap whose holes the next do not fit: on Linux half as much again where a base is frozen and each layer one function,
# three quarters where layers make many small ones; a third where all of it learns, for gradients fit into holes of weights' shapes,
# and nine tenths where that is done by a decoder's or a seq2seq's own layers. What a pass leaves the next of a step does not fit
# either, where rows are padded to unlike lengths, as an encoder's and a seq2seq's are: AGAIN so much. Fitted to 95 measured peaks,
# of which 77 are met within 15 %, and 72 more, of which 65 are. CUDA's allocator rounds to blocks.
HOLES = 1.5
LOOSE = 1.75
LEARNING = 1.3
OWN = 1.9
BLOCKS = 1.1
AGAIN = 1.2

FREED = 0.25  # of what a process took in training beside the weights, what it has to give when it saves

# widths of a token that adapters within a layer keep beside the MLP's, in sixteen bits, to which much is rounded on the way
READ = {"decoder": 6, "encoder": 8, "seq2seq": 8}

# bases of whose layers a CPU's training makes one function each (model/trunk.py, model/sublayers.py)
WRITTEN = ("llama", "mistral", "qwen2", "t5", "umt5", "mt5")


@dataclass(frozen=True)
class Memory:
    """Bytes by what holds them. `total` is the model's work, `process` what the process takes beside it, `peak` both."""

    weights: int
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    logits: int = 0
    cache: int = 0
    process: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.logits + self.cache

    @property
    def peak(self) -> int:
        return self.total + self.process


def hold(parameters: int, bits: float = 32) -> int:
    """Bytes that weights of so many bits take: 1B in fp32 is 4 GB. Quantised ones have a part of a bit for their constants."""
    return math.ceil(parameters * bits / 8)


def rule_of_thumb(parameters: int) -> int:
    """The lectures' rule for training with Adam in fp32: 24 bytes a parameter. `training` is the real estimate."""
    return 24 * parameters


def low_rank(rows: int, columns: int, r: int) -> int:
    """Parameters of a LoRA of rank r on a matrix (rows, columns): A is (r, columns), B is (rows, r). arXiv:2106.09685."""
    return r * (rows + columns)


def skeleton_of(base: Base) -> Any:
    """The base's modules without their numbers."""
    from tuneladder.model.inspect import config_of, skeleton

    return skeleton(config_of(base), base.family, trust=bool(base.settings.get("trust_remote_code")))


def lora_parameters(base: Base, *, r: int, targets: str | Sequence[str] = "auto", dora: bool = False, model: Any = None) -> int:
    """Parameters of a LoRA on the base's linear modules that `attach.linear_targets` finds, in its skeleton `model` where there is
    one already. Raises Refused where none fits, and for a rank above the width of one."""
    from tuneladder.model.attach import body_targets, expert_targets, experts_of, is_target, linear_targets, linears_of, out_of

    model = model or skeleton_of(base)
    chosen = (body_targets if base.family == "encoder" else linear_targets)(model, targets)
    found = [module for name, module in linears_of(model) if is_target(name, chosen)]
    fused = [weight.shape for name, weight in experts_of(model) if is_target(name, expert_targets(model, targets))]
    narrow = min(min(shape[-2:]) for shape in (*fused, *(module.weight.shape for module in found)))
    if r > narrow:
        raise Refused(f"rank {r} is above the width of a matrix of {base.name}, which is {narrow}", f"take at most r: {narrow}")
    plain = sum(low_rank(module.weight.shape[0], module.weight.shape[1], r) + out_of(module) * int(dora) for module in found)
    return plain + sum(count * low_rank(rows, columns, r) for count, rows, columns in fused)


def expert_copies(base: Base, *, targets: str | Sequence[str], dtype: str) -> int:
    """Bytes of the experts' matrices that a LoRA on them lies over: PEFT adds it to a copy of all of them in every pass, which
    the way back reads again."""
    from tuneladder.model.attach import expert_targets, experts_of, is_target

    model = skeleton_of(base)
    chosen = expert_targets(model, targets)
    return sum(hold(weight.numel(), 8 * BYTES[dtype]) for name, weight in experts_of(model) if is_target(name, chosen))


def training(
    base: Base,
    *,
    trainable: int,
    rows: int,
    length: int,
    learned_rows: int,
    optimizer: Literal["adamw", "sgd"] = "adamw",
    dtype: str = "float32",
    method: Method | None = None,
    attention: Attention = "sdpa",
    device: str = "cpu",
    lanes: int = 1,
    answer: int = 0,
    held: int | None = None,
    fused: bool = False,
    top: int = 0,
    batch: int = 0,
    soft: bool = False,
) -> Memory:
    """The peak of training on micro-batches of `rows` rows of `length` tokens, of which `learned_rows` reach the head; a
    seq2seq's rows have `answer` tokens besides, which its decoder reads.

    With several `lanes`, `rows` are those of all together. Each has its own sums of the gradients, and those of its last pass,
    unless it has but one: a step of `batch` rows, where they are no more.

    `method` is full where every weight learns, part where some of the base's do, adapter where the base is frozen; by default full
    or adapter, as `trainable` says. Weights that learn, their gradients and AdamW's two moments are fp32; frozen weights are
    `dtype`, or take `held` bytes where they are quantised and `dtype` is what is computed in. With bfloat16, weights that learn
    within the base run under autocast, which keeps a bfloat16 copy of them besides; `fused` layers make theirs as they need them.
    `top`: only so many of the last layers learn, and nothing is kept of those below; a copy of the head in bfloat16 is, and in the
    end the whole is saved from one. `soft`: what learns stands before the rows,
    not in the layers.
    """
    method = method or ("full" if trainable >= base.parameters else "adapter")
    size = BYTES[dtype]
    if method != "adapter":
        head = base.vocabulary * base.width if top and base.family != "encoder" else 0
        copied = head if top else base.parameters if method == "part" or not fused else 0
        weights = hold(base.parameters) + (hold(copied, 16) if size == 2 else 0)
    else:
        weights = (hold(base.parameters, 8 * size) if held is None else held) + hold(trainable)
    layer = partial(_fused if fused else _layer, base, rows, size=size, method=method)
    if base.family == "seq2seq":
        # its bias of relative positions is added to a grid of weights, whichever attention computes it
        decoder = layer(answer, attention="eager") + _cross(base, rows, length, answer, size, method)
        below = 0 if top else base.layers * layer(length, attention="eager")
        kept = below + (top or _decoder_layers(base)) * decoder
    else:
        kept = (top or base.layers) * layer(length, attention=attention)
    if method == "adapter" and not soft and not fused:  # what learns within the layers keeps what it reads and what it made of that
        widths = READ[base.family] if size == 2 else 2
        kept += base.layers * rows * length * size * (widths * base.width + _sizes(base)[3])
    # logits in dtype and fp32, their log-softmax and its gradient in fp32
    logits = learned_rows * base.vocabulary * (12 if size == 4 else 14)
    # a table that is only looked up has in the lanes a gradient of the rows that were read, and a whole one for all; of one that
    # the head reads too each makes its own
    table = base.vocabulary * base.width if method == "full" and not top else 0
    table *= 1 if base.family != "encoder" and base.settings.get("tie", True) else -1
    once = lanes == 1 or 0 < batch <= rows
    again = batch > rows and device == "cpu" and base.family != "decoder"
    made = Memory(
        weights=weights,
        gradients=hold(trainable + min(0, table)) * (lanes if once else 2 * lanes) + hold(max(0, table) * lanes - min(0, table)),
        optimizer=2 * hold(trainable) if optimizer == "adamw" else 0,
        activations=int(kept * _holes(device, base, method, fused) * (AGAIN if again else 1)),
        logits=logits,
        process=_process(device),
    )
    if not top or size != 2:
        return made
    # the whole is saved from a copy in sixteen bits, for which a part of what training took is free again
    learning = made.total - hold(base.parameters)
    return replace(made, weights=weights + max(0, hold(base.parameters, 16) - int(FREED * learning)))


def inference(
    base: Base,
    *,
    rows: int,
    length: int,
    dtype: str = "float32",
    read_rows: int | None = None,
    attention: Attention = "sdpa",
    device: str = "cpu",
    held: int | None = None,
) -> Memory:
    """The peak of answering `rows` prompts of `length` tokens (answer included) at once, where `read_rows` positions reach the
    head: by default one of each prompt. Quantised weights take `held` bytes."""
    size = BYTES[dtype]
    read = rows if read_rows is None else read_rows
    one_layer = _layer(base, rows, length, size=size, method="adapter", attention=attention)
    return Memory(
        weights=hold(base.parameters, 8 * size) if held is None else held,
        activations=int(one_layer * _holes(device, base, "adapter")),  # a layer's are gone before the next begins
        logits=read * base.vocabulary * (4 + size),
        cache=kv_cache(base, rows=rows, length=length, dtype=dtype),
        process=_process(device),
    )


def kv_cache(base: Base, *, rows: int, length: int, dtype: str = "float32") -> int:
    """Bytes of the keys and values of every layer (grouped-query attention: arXiv:2305.13245), or of the states that stand in their
    place, which do not grow with what was read."""
    if state := base.settings.get("state"):
        return base.layers * int(base.settings["inner"]) * (int(state) + int(base.settings["steps"])) * rows * BYTES[dtype]
    _, kv_heads, head_width, _ = _sizes(base)
    # a seq2seq's decoder keeps what it wrote and what the encoder read: together as many tokens
    layers = _decoder_layers(base) if base.family == "seq2seq" else base.layers
    return 2 * layers * kv_heads * head_width * rows * length * BYTES[dtype]


def micro_batch(
    base: Base,
    *,
    trainable: int,
    length: int,
    allowed: int | None,
    wanted: int,
    learned: int | None = None,
    dtype: str = "float32",
    method: Method | None = None,
    attention: Attention = "sdpa",
    device: str = "cpu",
    lanes: int = 1,
    answer: int = 0,
    held: int | None = None,
    fused: bool = False,
    top: int = 0,
    batch: int = 0,
    soft: bool = False,
) -> int:
    """The most rows, up to `wanted`, whose peak stays within `allowed` bytes; at least 1, for whether one row fits is the plan's
    to say. `learned` positions of a row reach the head, by default all."""
    if allowed is None:
        return wanted
    each = length if learned is None else learned
    for rows in range(wanted, 1, -1):
        need = training(
            base,
            trainable=trainable,
            rows=rows,
            length=length,
            learned_rows=rows * each,
            dtype=dtype,
            method=method,
            attention=attention,
            device=device,
            lanes=lanes,
            answer=answer,
            held=held,
            fused=fused,
            top=top,
            batch=batch,
            soft=soft,
        )
        if need.peak <= allowed:
            return rows
    return 1


def packs(*, length: int, device: str) -> bool:
    """Whether rows of this length are laid side by side, where a model takes them so. Padding costs a GPU little."""
    return device == "cpu" and length <= PACKED_BELOW


def fuses(base: Base, *, length: int, device: str) -> bool:
    """Whether training makes one function of each layer, as it most likely does: it tries."""
    return packs(length=length, device=device) and base.settings.get("architecture") in WRITTEN


def _holes(device: str, base: Base, method: Method, fused: bool = False) -> float:
    """What tensors that come and go take, over their bytes."""
    if device != "cpu":
        return BLOCKS
    if method == "adapter":
        return HOLES if fused else LOOSE
    return LEARNING if fused or base.family == "encoder" else OWN


def _fused(base: Base, rows: int, length: int, *, size: int, method: Method, attention: Attention) -> int:
    """Bytes that a layer keeps which is one function: what comes in and stands between its halves, in fp32 where weights learn; the
    gated MLP's three; keys, values and queries, the weights of attention, which a decoder's packed rows compute in stretches of
    what each sees, and where weights learn its output."""
    tokens = rows * length
    heads, kv_heads, head_width, mlp = _sizes(base)
    q, kv = heads * head_width, kv_heads * head_width
    full = method == "full"
    scores = rows * heads * length * length
    if base.family == "decoder" and length > STRETCH:
        scores = scores * (length + STRETCH) // (2 * length)
    return (
        tokens * (2 * base.width * (size if method == "adapter" else 4) + size * (3 * mlp + q * (2 if full else 1) + 2 * kv))
        + size * scores
    )


def _layer(base: Base, rows: int, length: int, *, size: int, method: Method, attention: Attention) -> int:
    """Bytes that one layer keeps for its backward pass, `size` bytes a number.

    The two norms keep their input, in fp32 but for an encoder's that is frozen, and where weights learn what they scaled; the
    projections keep what they read only where a weight learns from it (under autocast a copy each); attention keeps q, k, v, its
    output or its weights; the gated MLP keeps gate, its activation and up, and where weights learn their product. What carries a
    state is scanned in float32.
    """
    tokens = rows * length
    if base.settings.get("state"):
        return 4 * rows * recurrent.scanned(base.settings, length, learning=method == "full")
    heads, kv_heads, head_width, mlp = _sizes(base)
    d, q, kv, m = (tokens * width for width in (base.width, heads * head_width, kv_heads * head_width, mlp))
    full = method == "full"
    gated = 6 if base.family == "seq2seq" else 3  # T5's activation is put together of four operations
    kept = size * m * (gated + full)
    if full:
        kept += 16 * d + size * d * (6 if size == 2 else 2)
    else:
        kept += (size if base.family == "encoder" else 4) * 2 * d
    if attention == "sdpa":
        return kept + 2 * size * (q + kv) + 4 * tokens * heads
    return kept + size * q * (4 if full else 3) + size * tokens * heads * length


def _cross(base: Base, rows: int, length: int, answer: int, size: int, method: Method) -> int:
    """Bytes that a decoder layer's attention to the source keeps: its norm's input, queries, the source's keys and values, the
    weights, and where weights learn what the projections read."""
    heads, kv_heads, head_width, _ = _sizes(base)
    d, q, kv = rows * answer * base.width, rows * answer * heads * head_width, rows * length * kv_heads * head_width
    scores = rows * heads * answer * length
    full = method == "full"
    read = size * (2 * d + rows * length * base.width) * (3 if size == 2 else 1) if full else 0
    return 4 * d * (2 if full else 1) + 2 * size * (q + kv) + size * scores + read


def _decoder_layers(base: Base) -> int:
    return int(base.settings.get("decoder_layers") or base.layers)


def _sizes(base: Base) -> tuple[int, int, int, int]:
    """heads, kv_heads, head width, MLP width; of a base that does not say, the usual proportions.

    Of a mixture of experts a token passes through several: the width that the active parameters are worth.
    """
    heads = int(base.settings.get("heads") or max(1, base.width // 64))
    kv_heads = int(base.settings.get("kv_heads") or heads)
    head_width = int(base.settings.get("head_width") or base.width // heads)
    mlp = int(base.settings.get("mlp") or 4 * base.width)
    if base.active < base.parameters:
        embeddings = base.vocabulary * base.width * (1 if base.settings.get("tie") else 2)
        attention = 2 * base.width * head_width * (heads + kv_heads)
        mlp = max(mlp, math.ceil(((base.active - embeddings) / base.layers - attention) / (3 * base.width)))
    return heads, kv_heads, head_width, mlp


def climbing(device: str) -> int:
    """Bytes that the process of a climb holds beside what any process does that trains or answers."""
    return CLIMBING if device == "cpu" else 0


def _process(device: str) -> int:
    return PROCESS + FIRST if device == "cpu" else 0
