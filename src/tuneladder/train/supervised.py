"""Learning answers by example: what every step that trains on a task's rows shares."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from tuneladder.errors import BadInput, Refused
from tuneladder.model import masked, memory, precision, routing
from tuneladder.model.ask import turns_of_all
from tuneladder.model.attach import Attached, draw_head, head_modules, merged
from tuneladder.model.attention import attention_for, packs, pad_attention
from tuneladder.model.batching import TILE, tiled
from tuneladder.model.frozen import States, divisible, going_on, reached, rounded, stack_of
from tuneladder.model.hardware import computed_in, device
from tuneladder.model.lanes import Lanes, dealt, in_half, lanes_for
from tuneladder.model.rows import bare_head
from tuneladder.model.shelf import Live
from tuneladder.model.trunk import fuse
from tuneladder.store import digest, resident
from tuneladder.task.encode import Encoded, Tally, encode_all, reader_of
from tuneladder.task.multi_label import labels_of as names_of
from tuneladder.task.pairs import Paired, encode_pairs
from tuneladder.task.passages import said
from tuneladder.task.tagging import words_of
from tuneladder.train.batches import (
    COMMON,
    OVERHEAD,
    WHOLE_OVERHEAD,
    Cut,
    Labelled,
    Micro,
    Pad,
    Rows,
    bundle,
    packed,
    pad,
    pad_labelled,
    pad_pairs,
    padded_size,
    side_by_side,
    with_states,
)
from tuneladder.train.corrupting import times_of
from tuneladder.train.loop import Course, Loss, few_rows, learn, save_weights, tidy, with_weights
from tuneladder.train.losses import (
    answer_logits,
    answer_token,
    label_logits,
    label_of,
    labels_of,
    next_token,
    next_token_evenly,
    token_logits,
)
from tuneladder.train.probing import POINTS, PROBE, Rate, probe_steps, probed
from tuneladder.train.refining import Branches, heat_of, refined
from tuneladder.types import Base, Cost, Example, Family, Head, Kit, Pace, Prompt, Task, Tick, Turns, Variant

DEV_TOKENS = 2048  # of a pass without gradients; wider ones are no faster
LEAST_LENGTH = 8  # tokens of a row below which there is nothing to learn from: some are marks, some the answer
MOST_RATE = 10.0  # a rate above it is a slip of the pen: soft prompts learn at up to 0.3 (arXiv:2104.08691)
APART = "two recipes: one of `kind: text` pretrains, and the folder that it makes in runs/.store is the `base` of one with rows"
HEADLESS = "take one saved with it, as ...ForMaskedLM; full and linear_probe, of rows, need none"
UNMERGED = ("prompt_tuning", "prefix_tuning", "adapter")  # what no sum of weights can say
T5_TIMES = 5  # the rate of other models: its authors tuned at twenty times what BERT's did (arXiv:1910.10683, section 3.1.2)
MOVED = 5e-9  # seconds that a CPU takes in a step for each weight of the base that learns: gradients, moments and weights moved
PASS_TOKENS = 1024  # of a lane's pass on a CPU; wider ones are no faster, and keep more


class Lessons(Protocol):
    """What a step that learns from examples has among its settings: `batch_size` counts rows, `max_length` 0 is the context,
    `learning_rate` 0 the step's own."""

    @property
    def epochs(self) -> float: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def max_length(self) -> int: ...

    @property
    def learning_rate(self) -> Rate: ...


def check(settings: Any, step: str, *, above: Sequence[str], at_least: Sequence[str], shares: Sequence[str]) -> None:
    """Raises BadInput for the first of a step's settings that is not above 0, not at least 0, or not a share from 0 to 1."""
    meant = dict.fromkeys(above, "above 0") | dict.fromkeys(at_least, "0 or more") | dict.fromkeys(shares, "a share from 0 to 1")
    for name, wanted in meant.items():
        value = getattr(settings, name)
        if name == "learning_rate" and isinstance(value, str):
            if value != PROBE:
                raise BadInput(f"{step} cannot use learning_rate {value!r}", f"a number, 0 for the step's own, or {PROBE}")
            continue
        if value < 0 or (value == 0 and name in above) or (value > 1 and name in shares) or value != value:
            raise BadInput(f"{step} cannot use {name} {value}", f"{name} is {wanted}")
        if name == "learning_rate" and value > MOST_RATE:
            raise BadInput(f"{step} cannot use {name} {value}", f"rates are of 1e-5 to 0.3, and none is above {MOST_RATE:g}")


def foretell(
    lessons: Lessons,
    variant: Variant,
    task: Task,
    pace: Pace,
    *,
    step: str,
    trainable: int,
    method: memory.Method,
    soft: int = 0,
    top: int = 0,
    fusible: bool = True,
    beside: int = 0,
) -> Cost:
    """Seconds and bytes that training on the task's rows will take; `soft` tokens stand before each. Without `fusible` what learns
    keeps layers from being one function; `beside` are bytes that it takes however few rows a pass has.

    A frozen base costs 4 flops per parameter and token (forward, and backward through the activations), one that learns 6, one that
    is looked at 2, and every pass what it takes however narrow it is. Where only the `top` layers learn, those below cost 2, once
    where they can be asked once.
    """
    refuse_asking(variant, step)
    if task.kind == "text" or not task.examples.train:
        hint = APART if task.kind == "text" else "give train rows with an answer to learn"
        raise Refused(f"{step} learns from examples, and this task has none", hint)
    if variant.base.family == "encoder" and not task.labels:
        raise Refused(f"{step} teaches an encoder to classify, and a task of kind {task.kind} has no labels", "take a decoder")
    if variant.base.family == "encoder" and task.kind == "tag" and variant.prompt.template != Prompt.template:
        raise Refused(f"{step} teaches an encoder to tag every word that it reads, and the template adds others", "leave it out")
    base, count = variant.base, len(task.labels)
    if (own := base.settings.get("classes", count)) != count and base.family == "encoder" and not variant.weights:
        hint = "take the base that it was made of, or give as many labels"
        raise Refused(f"{base.name} brings a head of {own} classes, and the task has {count} labels", hint)
    if lessons.max_length > base.context:
        hint = "leave it out: longer rows are cut, and the report says how many"
        raise Refused(
            f"max_length {lessons.max_length} is more than the {base.context} tokens that {base.name} reads at once", hint
        )
    if 0 < lessons.max_length < LEAST_LENGTH:
        hint = f"{LEAST_LENGTH} or more; left out it is the base's context"
        raise Refused(f"max_length {lessons.max_length} leaves next to nothing of a row", hint)
    limit = lessons.max_length or base.context
    if soft and 2 * soft > limit:
        raise Refused(f"{step} with {soft} tokens leaves too little of {limit} for the rows", "take fewer, or a longer context")
    epoch = _epoch(task)
    mean, length, learned = lengths_of(variant, epoch, limit, soft)
    attention = attention_for(length, device(), family=variant.base.family)
    answer = learned if variant.base.family == "seq2seq" else 0
    dtype = computed_in(device())
    shape: dict[str, Any] = {
        "trainable": trainable,
        "length": tiled(max(TILE, length - answer)) if answer else max(TILE, length),
        "answer": tiled(answer) if answer else 0,
        "dtype": dtype,
        "method": method,
        "attention": attention,
        "device": device(),
        "held": held_in(variant, dtype),
        "fused": fusible and fuses(variant, length),
        "top": top,
        "soft": soft > 0,
    }
    wanted = shape["batch"] = min(lessons.batch_size, len(epoch))
    if lessons.learning_rate == PROBE:
        if not task.examples.dev:
            raise Refused(f"{step} probes its learning rate on dev rows, and this task has none", "set `learning_rate` to a number")
        beside += memory.hold(trainable)  # what learns, as it was
    most = lanes_for(device(), trainable=trainable)
    lanes, rows = in_hand(
        variant.base, most, allowed=max(1, pace.memory - beside) if pace.memory else None, wanted=wanted, learned=learned, **shape
    )
    lay: Callable[..., list[Any]] = partial(bundle, overhead=WHOLE_OVERHEAD if method == "full" and not top else OVERHEAD)
    packed_rows = variant.base.family == "decoder" and memory.packs(length=length, device=device())
    if packed_rows or (variant.base.family == "encoder" and not soft):
        lay = partial(side_by_side, tight=packed_rows)
    # of packed rows each pass computes what all begin with once, unless what lies below its layers is kept by the row
    once = min(_beginning(variant, epoch, soft), shape["length"] - 1) if packed_rows and not top else 0
    passes = _passes(lay, wanted, rows, lanes, length=shape["length"], answer=answer, packed=packed_rows, once=once)
    wide = lanes * min(DEV_TOKENS, max(1, rows // lanes) * (shape["length"] + shape["answer"]))  # tokens of a look's passes at once
    rows = sum(sorted(passes)[-lanes:])  # at once
    steps = max(1, round(lessons.epochs * len(epoch) / wanted))
    tokens = wanted * mean - max(0, wanted - len(passes)) * min(once, mean)  # of a step
    dev = task.examples.dev
    read = len(dev) * lengths_of(variant, dev, limit, soft)[0] if dev else 0.0
    looks, work, kept = min(Course.looks, steps), 6.0 if method == "full" else 4.0, 0.0
    if method == "adapter" and not soft:  # what learns within the layers is read by every token
        work += 6 * trainable / base.parameters
    runs = 1
    if lessons.learning_rate == PROBE:
        runs += len(POINTS)
        steps, looks = steps + len(POINTS) * probe_steps(steps), looks + len(POINTS)
    if top:
        learns = min(1.0, trainable / base.active)
        kept = _asked_once(base, learns)
        work = 6 * learns + 2 * (1 - learns - kept)
    moved = steps * trainable * MOVED if method != "adapter" and shape["device"] == "cpu" else 0.0
    # lanes take the first step of a run one after another, and the first look
    in_turn = runs * (min(lanes, len(passes)) - 1)
    steps, looks = steps + in_turn, looks + in_turn
    once_asked = len(epoch) * mean + read
    flops = work * steps * tokens + 2 * (1 - kept) * looks * read + 2 * kept * once_asked
    waits = max(work, 2) / 4 * steps * math.ceil(len(passes) / lanes)
    waits += (1 - kept) / 2 * looks * math.ceil(read / wide) + kept / 2 * once_asked / wide
    seconds = pace.seconds(flops * base.active, waits) + moved
    shape["length"] -= once * max(0, rows - lanes) // rows  # on average
    need = memory.training(base, rows=rows, learned_rows=rows * learned, lanes=lanes, **shape)
    disk = 4 * trainable if method == "adapter" else memory.hold(base.parameters, 8 * memory.BYTES[dtype])
    disk += 4 * base.width * int(once_asked) if kept else 0
    return Cost(seconds, need.peak + beside, disk, len(task.examples.train) + len(dev))


def _passes(
    lay: Callable[..., list[Any]], count: int, rows: int, lanes: int, *, length: int, answer: int, packed: bool, once: int
) -> list[int]:
    """How many rows each pass of a step has, of `count` rows that are all as long: `rows` of them fit into all lanes at once, with
    the `once` tokens that all begin with in each. Of packed rows these are in a pass but once."""
    if rows >= count:
        return [(count + lane) // lanes for lane in range(lanes) if count + lane >= lanes]
    row = Paired([0] * length, [0] * answer) if answer else Encoded([0] * (length - once), [], 0)
    tokens = max(length, rows * length // lanes) - once if once else _room([row], rows, lanes, packed=packed)
    return lay([row] * count, tokens=tokens, lanes=lanes, pad=len)


def _room(every: Sequence[Any], rows: int, lanes: int, *, packed: bool) -> int:
    """Tokens of a pass: so many of the longest rows, padded unless they are packed, lie in all lanes at once as the memory estimate
    allows."""
    longest = max(len(row.ids) if packed else padded_size([row]) for row in every)
    return max(longest, rows * longest // lanes)


def _asked_once(base: Base, learns: float) -> float:
    """What share of the base's weights is asked once where its last layers learn, which are `learns` of it: all below them, if they
    can be a model of their own; of a seq2seq its encoder."""
    model = memory.skeleton_of(base)
    if base.family == "seq2seq":
        reader = model.get_encoder()
        table = reader.get_input_embeddings().weight.numel()  # which the decoder reads too
        return float(sum(weight.numel() for weight in reader.parameters()) - table) / base.active
    return 1 - learns if divisible(model) else 0.0


def _epoch(task: Task) -> Sequence[Example]:
    """The training rows that an epoch reads, as often as it does; of a set that it reads in part, the first."""
    return [
        example
        for name, own in _by_set(task, task.examples.train)
        for example in itertools.islice(itertools.cycle(own), _drawn(task, name, own))
    ]


def _by_set(task: Task, examples: Sequence[Example]) -> list[tuple[str, Sequence[Example]]]:
    """The examples of each set of the task's mixture, or all of them."""
    if not task.mixture:
        return [("", examples)]
    return [(name, [example for example in examples if example.set == name]) for name in task.mixture]


def _drawn(task: Task, name: str, own: Sequence[Any]) -> int:
    """How many rows of a set an epoch draws: as many as it has where nothing else is said."""
    return int(task.mixture.get(name, len(own)))


def in_hand(base: Base, lanes: int, *, allowed: int | None, wanted: int, **shape: Any) -> tuple[int, int]:
    """As many lanes, up to `lanes`, as have a row each within `allowed` bytes, and the rows of all together."""
    for count in range(min(lanes, wanted), 0, -1):
        row = shape["length"] + shape["answer"]
        most = wanted if shape["device"] != "cpu" else min(wanted, count * max(1, PASS_TOKENS // row))
        rows = memory.micro_batch(base, allowed=allowed, wanted=most, lanes=count, **shape)
        if rows >= count:
            break
    return count, rows


def fuses(variant: Variant, length: int) -> bool:
    """Whether each layer will be one function: quantised ones are not."""
    return variant.format not in precision.QUANTISED and memory.fuses(variant.base, length=length, device=device())


def held_in(variant: Variant, dtype: str) -> int | None:
    """Bytes of weights that are held in fewer bits, the rest of them in `dtype`."""
    found = [form for form in precision.QUANTISED if form == variant.format]
    if not found:
        return None
    return precision.held(variant.base, found[0], precision.linears(memory.skeleton_of(variant.base)), dtype=dtype)


def lengths_of(variant: Variant, examples: Sequence[Example], limit: int, soft: int) -> tuple[float, int, int]:
    """Mean tokens of a row, tokens of a long one (one in ten is longer), and how many of that are learned: guessed from
    characters, 4 a token, of at most 200 rows. A plan loads no tokenizer."""
    some = examples[:: max(1, len(examples) // 200)]
    read = variant.base.family == "encoder"  # and its answers are no tokens
    answers = [0.0 if read else len(row.references[0]) / 4 + 1 for row in some]
    sizes = [
        sum(len(turn.text) for turn in turns) / 4 + own + soft
        for turns, own in zip(turns_of_all(variant.prompt, some), answers, strict=True)
    ]
    sizes = [min(float(limit), max(8.0, size)) for size in sizes]
    place = 9 * len(some) // 10
    return sum(sizes) / len(sizes), int(sorted(sizes)[place]), min(limit, int(sorted(answers)[place]) + 1)


def _beginning(variant: Variant, examples: Sequence[Example], soft: int) -> int:
    """Tokens that all rows begin with, `soft` ones and text, whose tokens are guessed from characters as `lengths_of` does; 0 where
    they would not be computed once."""
    some = examples[:: max(1, len(examples) // 200)]
    texts = ["\n\n".join(turn.text for turn in turns) for turns in turns_of_all(variant.prompt, some)]
    least, most = min(texts), max(texts)  # what these begin with, all do
    same = next((at for at, (one, other) in enumerate(zip(least, most, strict=False)) if one != other), len(least))
    before = soft + same // 4
    return before if len(some) > 1 and before >= COMMON else 0


def refuse_over(variant: Variant, step: str) -> None:
    """Raises Refused where an adapter lies over the variant's weights already."""
    if variant.adapter:
        lasting = [own for own in variant.steps if own in UNMERGED]
        merged = "`full` after it adds the first into the weights"
        alone = f"{lasting[-1]} can be added into no weights" if lasting else merged
        raise Refused(f"{step} cannot lie over another adapter", f"train one adapter only; {alone}")


def refuse_unmerged(variant: Variant, step: str) -> None:
    """Raises Refused where an adapter that cannot be added into weights lies over the variant's."""
    if variant.adapter and (found := [own for own in variant.steps if own in UNMERGED]):
        raise Refused(f"{step} changes weights, and {found[-1]} cannot be merged into them", "lora and ia3 can")


def refuse_asking(variant: Variant, step: str) -> None:
    """Raises Refused where the prompt asks for more than the answer that a row teaches."""
    if variant.prompt.think:
        raise Refused(f"{step} learns answers, and the prompt asks for reasoning first", f"put {step} before chain_of_thought")
    if variant.prompt.why:
        raise Refused(f"{step} learns answers, and the prompt asks for a reason too", f"put {step} before explain")
    if variant.prompt.vote > 1:
        raise Refused(f"{step} learns one answer a row, and the prompt asks for {variant.prompt.vote}", f"put {step} first")


def text_of(task: Task, prompt: Prompt) -> str:
    """The task in its own words: what is asked, the labels, and some of its rows."""
    rows = [turn.text for example in task.examples.train[:16] for turn in example.turns if turn.role == "user"]
    return "\n".join([own for own in (prompt.instruction, ", ".join(task.labels)) if own] + rows)


def first_tokens(live: Live, text: str, count: int) -> list[int]:
    """The first `count` tokens of a text, over and over where it has fewer."""
    ids = reader_of(live.tokenizer).encode(text, add_special_tokens=False).ids
    if not ids:
        raise BadInput("the task's own text is empty", "give it an instruction, labels or rows")
    return (ids * -(-count // len(ids)))[:count]


def lent_head(variant: Variant, task: Task) -> Variant:
    """The variant as it is borrowed to be trained: an encoder with a head for the task's labels, unless it has one already."""
    if variant.base.family != "encoder" or variant.head:
        return variant
    if task.multi_label:
        return replace(variant, head=Head("multi_label", task.labels))
    return replace(variant, head=Head("tags" if task.kind == "tag" else "classes", task.labels))


def plan_adapter(
    lessons: Lessons,
    variant: Variant,
    task: Task,
    pace: Pace,
    *,
    step: str,
    trainable: int,
    soft: int = 0,
    fusible: bool = True,
    beside: int = 0,
) -> tuple[Variant, Cost]:
    """The variant with an adapter of `trainable` weights that is foretold, and what it costs. Raises Refused."""
    own: dict[str, Any] = {"soft": soft, "fusible": fusible, "beside": beside}
    cost = foretell(lessons, variant, task, pace, step=step, trainable=trainable, method="adapter", **own)
    return replace(lent_head(variant, task), steps=(*variant.steps, step), adapter="foretold"), cost


def learn_adapter(
    lessons: Lessons,
    variant: Variant,
    task: Task,
    kit: Kit,
    *,
    step: str,
    course: Course,
    attach: Callable[[Live, Sequence[str], bool], Attached],
) -> Variant:
    """The variant with an adapter that learned from the task's rows. `attach` puts it on a borrowed model: it is given the names of
    the modules of its classification head, which learn with the adapter, and whether that head tags words."""
    wanted = lent_head(variant, task)
    tags = wanted.head is not None and wanted.head.kind == "tags"
    with _borrowed(variant, wanted, kit, None) as live:
        made = attach(live, head_modules(live.model, live.fresh) if wanted.head else (), tags)
        lent = replace(live, model=made.model, soft=made.soft)
        ticks = fit(lessons, made.model, lent, variant, task, kit, course=course)
        made.save(kit.folder, variant.weights or variant.base.location)
        tidy(kit.folder, ticks)
    return replace(_calmed(wanted, ticks), steps=(*variant.steps, step), adapter=str(kit.folder), bytes=resident(kit.folder))


def plan_weights(
    lessons: Lessons, variant: Variant, task: Task, pace: Pace, *, step: str, trainable: int, method: memory.Method, top: int = 0
) -> tuple[Variant, Cost]:
    """The variant with new weights that are foretold, and what they cost; `top`: only those of so many last layers learn. Raises
    Refused."""
    cost = foretell(lessons, variant, task, pace, step=step, trainable=trainable, method=method, top=top)
    return with_weights(lent_head(variant, task), step, None), cost


def learn_weights(
    lessons: Lessons,
    variant: Variant,
    task: Task,
    kit: Kit,
    *,
    step: str,
    course: Course,
    choose: Callable[[Any, Sequence[str]], None],
    method: memory.Method,
    top: int = 0,
) -> Variant:
    """The variant with weights that learned from the task's rows, an adapter below merged first. `choose` says which learn: it is
    given the model, frozen, and the names of the modules of its classification head."""
    wanted = lent_head(variant, task)
    with _borrowed(variant, wanted, kit, torch.float32) as live:
        model = merged(live.model).requires_grad_(False)
        choose(model, head_modules(model, live.fresh) if wanted.head else ())
        if variant.base.family == "seq2seq" and (times := times_of(model)):  # rates that a T5's weights bear, as in its pretraining
            course = replace(course, times=times, learning_rate=T5_TIMES * course.learning_rate)
        ticks = fit(lessons, model, live, variant, task, kit, course=course, method=method, top=top)
        save_weights(model, live.tokenizer, kit, ticks)
    return with_weights(_calmed(wanted, ticks), step, kit.folder)


def _calmed(variant: Variant, ticks: Sequence[Tick]) -> Variant:
    """The variant as sure of its answers as dev says that it may be."""
    return replace(variant, prompt=replace(variant.prompt, heat=heat_of(ticks) if variant.prompt.ask == "score" else 1.0))


@contextlib.contextmanager
def _borrowed(variant: Variant, wanted: Variant, kit: Kit, dtype: torch.dtype | None) -> Iterator[Live]:
    """The model of `wanted`, which is the variant with a head if it needs one: a new head has numbers by the seed."""
    with kit.shelf.live(wanted, dtype=dtype) as live:
        if wanted != variant:
            draw_head(live.model, live.fresh, seed=kit.seed)
        yield live


def fit(
    lessons: Lessons,
    model: Any,
    live: Live,
    variant: Variant,
    task: Task,
    kit: Kit,
    *,
    course: Course,
    method: memory.Method = "adapter",
    top: int = 0,
) -> list[Tick]:
    """Train what of `model` requires a gradient on the train split; the best look at dev is kept. What was kept, cut and dropped
    stands in the step's `rows.json`, and of a mixture what its experts were sent in `routing.json`. `method` is how the
    memory estimate sees it. `top`: only so many of the last layers learn, and what is below them is computed once."""
    from transformers import PreTrainedModel

    limit = min(lessons.max_length or live.context, live.context)
    family, whole = variant.base.family, method == "full" and not top
    kinds: dict[Family, tuple[Any, Loss, Loss]] = {
        "decoder": (_encode, next_token, token_logits),
        "encoder": (_label, labels_of if task.multi_label else label_of, label_logits),
        "seq2seq": (_pair, answer_token, answer_logits),
    }
    encode, loss, logits = kinds[family]
    shown = {example.source for example in variant.prompt.shots.chosen} if variant.prompt.shots else set()
    # a row that the prompt shows with its answer has nothing left to teach
    learnable = [example for example in task.examples.train if example.source not in shown]
    made = [(name, *encode(live, variant, own, task, limit)) for name, own in _by_set(task, learnable)]
    rows = [row for _, own, _ in made for row in own]
    sets = [(len(own), _drawn(task, name, own)) for name, own, _ in made]
    kept = {count: sum(tally[count] for _, _, tally in made) for count in made[0][2]}
    dev, _ = encode(live, variant, task.examples.dev, task, limit) if task.examples.dev else ([], None)
    (kit.folder / "rows.json").write_text(json.dumps(kept))
    every = (*rows, *dev)
    longest = max(len(row.ids) for row in every)
    read, answer, learned = longest, 0, 1
    if family == "decoder":
        learned = max(sum(row.learn) for row in rows)
    if family == "seq2seq":
        learned = max(len(row.target) for row in every)
        read, answer = tiled(max(len(row.source) for row in every)), tiled(learned)
    attention = attention_for(longest, kit.device, family=family)
    core = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
    fused = pad_attention(core, longest, kit.device, family=family)
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    most_lanes = lanes_for(kit.device, trainable=trainable, model=core)  # a packed model cannot be tried on rows without a grid
    mixes = family == "decoder" and routing.mixes(core)
    if mixes and whole and (even := routing.evening(core)):  # a router that does not learn cannot be made even
        loss = partial(next_token_evenly, even=even, picks=int(core.config.get_text_config().num_experts_per_tok))
    elif family == "decoder" and bare_head(core):
        loss = partial(next_token, bare=True)
    side = family == "decoder" and packs(core, longest, kit.device)
    fused = fuse(core) if side else fused
    dtype = "float32" if live.model.dtype == torch.float32 and kit.shelf.autocast is None else "bfloat16"
    lanes, most = in_hand(
        variant.base,
        most_lanes,
        trainable=trainable,
        length=read,
        answer=answer,
        allowed=kit.memory,
        wanted=lessons.batch_size,
        learned=learned,
        dtype=dtype,
        method=method,
        attention=attention,
        device=kit.device,
        held=held_in(variant, dtype) if method == "adapter" else None,
        fused=fused,
        top=top,
        batch=lessons.batch_size,
    )
    tokens = _room(every, most, lanes, packed=side)
    with contextlib.ExitStack() as during:
        during.enter_context(few_rows(model))
        own: Pad = packed if side else _padding(family, live)
        lay: Callable[..., list[Micro]] = partial(bundle, overhead=WHOLE_OVERHEAD if whole else OVERHEAD)
        if side:
            # what the frozen layers said is kept by the row, and a mixture's routers are made even over all that they are sent
            lay = partial(side_by_side, once=not top and not (mixes and whole))
        if top:
            told = partial(lay, tokens=min(tokens, DEV_TOKENS), lanes=lanes)
            own, fed = during.enter_context(
                _from_states(core, variant, kit, every, own, told, loss, family=family, top=top, lanes=lanes)
            )
            loss, logits = fed(loss), fed(logits)
        if family == "encoder" and not live.soft and during.enter_context(masked.unpadded(core)):
            lay = partial(side_by_side, tight=False)
        # where only top layers learn, the head: what else is frozen was asked before, or is too much to hold twice
        during.enter_context(rounded([core.get_output_embeddings()] if top else core.modules(), kit.shelf.autocast))
        cut: Cut = partial(lay, pad=own)
        batches = Rows(
            rows, batch=lessons.batch_size, epochs=lessons.epochs, tokens=tokens, seed=kit.seed, lanes=lanes, cut=cut, sets=sets
        )
        looks = cut(dev, tokens=min(tokens, DEV_TOKENS), lanes=lanes) if dev else []
        course = course.eased(len(batches))
        decides = _deciding(task, family, every, logits) if looks else None
        run = partial(learn, model, batches, kit, loss=loss, dev=looks, lanes=lanes, refined=decides)
        if lessons.learning_rate == PROBE:
            rate = probed(model, batches, kit, loss=loss, course=course, dev=looks, lanes=lanes, refined=decides)
        else:
            rate = float(lessons.learning_rate or course.learning_rate)
        ticks = run(course=replace(course, learning_rate=rate))
    if mixes:
        routing.write_shares(routing.shares(model, core, [row.ids for row in dev or rows]), kit.folder)
    return ticks


@contextlib.contextmanager
def _from_states(
    core: Any,
    variant: Variant,
    kit: Kit,
    rows: Sequence[Any],
    pad: Pad,
    lay: Callable[..., list[Micro]],
    loss: Loss,
    *,
    family: Family,
    top: int,
    lanes: int,
) -> Iterator[tuple[Pad, Callable[[Loss], Loss]]]:
    """While open, the model goes on from what the layers below its last `top` (of a seq2seq its encoder) said of the rows, which
    they are asked once for all rungs that ask the same. How rows are padded then, and what a loss becomes."""
    if family != "seq2seq" and not divisible(core):
        yield pad, lambda own: own
        return
    sizes = [len(row.source) if isinstance(row, Paired) else len(row.ids) for row in rows]
    places = [Path(place).name for place in (variant.weights, variant.adapter) if place]
    key = digest(variant.base.content, places, [row.ids for row in rows], sizes, top, str(kit.shelf.autocast), kit.device)
    width, number = int(core.config.get_text_config().hidden_size), {id(row): at for at, row in enumerate(rows)}

    def make(folder: Path) -> Mapping[str, Any]:
        held = States(folder, sizes, width)
        laid: list[Sequence[Any]] = []

        def noting(own: Sequence[Any]) -> Micro:
            laid.append(own)
            return pad(own)

        layer = core.get_encoder() if family == "seq2seq" else getattr(*stack_of(core))[-top]
        micros = lay(rows, pad=noting)

        def ask(share: Sequence[int]) -> None:
            for micro, own in ((micros[index], laid[index]) for index in share):
                with (
                    torch.no_grad(),
                    in_half(kit.device, kit.shelf.autocast, alone=lanes == 1),
                    reached(layer, behind=family == "seq2seq") as found,
                ):
                    loss(core, micro.to(core.device))
                states = found[0].float().cpu()
                lengths = [len(row.ids) for row in own]
                apart = states if micro.grid is None else torch.split(states[0, : sum(lengths)], lengths)
                for row, said_TD in zip(own, apart, strict=True):
                    at = number[id(row)]
                    held.put(at, said_TD[: sizes[at]])

        with contextlib.closing(Lanes(lanes)) as side:
            side.map(ask, dealt([micro.size for micro in micros], lanes))
        return {"rows": len(rows), "tokens": sum(sizes)}

    held = States(kit.store.once(f"states-{key}", make), sizes, width)
    kept = with_states(pad, lambda row: held[number[id(row)]])
    if family == "seq2seq":
        yield kept, lambda own: own
        return
    with going_on(core, top) as feeding:

        def fed(own: Loss) -> Loss:
            def feed(model: Any, micro: Micro) -> torch.Tensor:
                with feeding(micro.states):
                    return own(model, micro)

            return feed

        yield kept, fed


def _deciding(task: Task, family: Family, rows: Sequence[Any], logits: Loss) -> Loss | None:
    """By what the weights to keep are told, where it is not the loss: a row has one label, or its words have one each, and where
    labels are written it can be told of each how it ends."""
    if task.multi_label or (family != "encoder" and task.kind != "classify"):
        return None
    branches = None if family == "encoder" else Branches.of(map(_learned, rows))
    return partial(refined, logits=logits, branches=branches) if branches or family == "encoder" else None


def _learned(row: Encoded | Paired) -> list[int]:
    """The tokens that are learned of a row."""
    return row.target if isinstance(row, Paired) else [token for token, learn in zip(row.ids, row.learn, strict=True) if learn]


def _padding(family: Family, live: Live) -> Pad:
    if family == "encoder":
        return partial(pad_labelled, divider=live.texts.divider)
    if family == "seq2seq":
        return partial(pad_pairs, start=live.pairs.start, most=live.context)
    return partial(pad, most=live.context)


def _weights(task: Task, examples: Sequence[Example]) -> list[float]:
    """How much each row counts in the loss: by its label."""
    return [task.weights.get(example.references[0], 1.0) for example in examples]


def _asked(variant: Variant, examples: Sequence[Example]) -> list[tuple[Turns, str]]:
    """What is asked of each example, with what is learned of it."""
    asks = turns_of_all(variant.prompt, examples)
    return [(turns, example.references[0]) for turns, example in zip(asks, examples, strict=True)]


def _encode(live: Live, variant: Variant, examples: Sequence[Example], task: Task, limit: int) -> tuple[list[Encoded], Any]:
    pairs = _asked(variant, examples)
    rows, tally = encode_all(live.coder, pairs, every=task.kind == "chat", limit=limit, weights=_weights(task, examples))
    return rows, asdict(tally)


def _pair(live: Live, variant: Variant, examples: Sequence[Example], task: Task, limit: int) -> tuple[list[Paired], Any]:
    """Prompts with their answers; of a conversation only the last answer is learned, the others are read."""
    pairs = _asked(variant, examples)
    rows, tally = encode_pairs(live.pairs, pairs, limit=limit, weights=_weights(task, examples))
    return rows, asdict(tally)


def _label(live: Live, variant: Variant, examples: Sequence[Example], task: Task, limit: int) -> tuple[list[Labelled], Any]:
    """Texts with the numbers of their labels. Rows are padded to whole tiles, which a position table must hold too."""
    limit = limit // TILE * TILE if limit > TILE else limit
    if task.kind == "tag":
        return _tags(live, variant, examples, task, limit)
    rows = live.texts.encode_many([said(turns) for turns in turns_of_all(variant.prompt, examples)], limit=limit)
    number = {label: at for at, label in enumerate(task.labels)}
    labelled = [
        Labelled(row.ids, _targets(task, example, number), weight=weight)
        for row, example, weight in zip(rows, examples, _weights(task, examples), strict=True)
    ]
    read = sum(len(row.ids) for row in rows)
    return labelled, asdict(Tally(len(rows), sum(row.cut > 0 for row in rows), 0, 0, read))


def _targets(task: Task, example: Example, number: Mapping[str, int]) -> list[int]:
    """The number of the row's label, or of each label whether the row has it."""
    if not task.multi_label:
        return [number[example.references[0]]]
    has = names_of(example.references[0], task.labels)
    return [int(label in has) for label in task.labels]


def _tags(live: Live, variant: Variant, examples: Sequence[Example], task: Task, limit: int) -> tuple[list[Labelled], Any]:
    """Texts with the numbers of their words' tags, a long one in several windows, each word in one of them."""
    number = {label: at for at, label in enumerate(task.labels)}
    windows = live.texts.encode_words([said(turns) for turns in turns_of_all(variant.prompt, examples)], limit=limit)
    labelled = []
    for own, example in zip(windows, examples, strict=True):
        tags = words_of(example.references[0])
        labelled += [Labelled(each.ids, [number[tags[word]] for word in each.words], each.places) for each in own]
    learned = sum(len(row.labels) for row in labelled)
    empty = sum(not own for own in windows)
    tally = Tally(len(examples) - empty, 0, empty, learned, sum(len(row.ids) for row in labelled) - learned)
    return labelled, asdict(tally)
