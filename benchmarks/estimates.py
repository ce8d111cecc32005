"""What `plan` foretells beside what is then measured: peak memory over the loaded base, and seconds, of drawn configurations.

    python benchmarks/estimates.py --seed 17 [--count 24] [--out FILE] [--steps 8]

A configuration is a family, a step (full, lora, qlora, selective, prompt_tuning), a length, a batch size and a shape of 10M to
135M parameters with random weights; each is drawn once. A process of its own plans the step as a ladder does, pace and all, runs
it on rows of random words, so many that ten seconds are foretold or more (but at most 100 steps), and says what both came to. The
*increment* is the peak less what the process holds before it loads anything and less the base's weights as a step borrows them
(quantised, or in fp32): in it are gradients, optimizer, activations, and all that is kept beside them. Seconds are those of the
whole step, looks at dev rows and saving included, less those of loading the base. Raw figures go to
benchmarks/results/estimates.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pairs import Figures, contestant, machine, write

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results" / "estimates.json"
FAMILIES = ("decoder", "encoder", "seq2seq")
STEPS: dict[str, dict[str, Any]] = {"full": {}, "lora": {}, "qlora": {}, "selective": {"top": 2}, "prompt_tuning": {}}
LENGTHS = (64, 256)
BATCHES = (4, 16)
# by name: width, layers (of a seq2seq in each of its stacks), MLP, vocabulary
SHAPES = {"10M": (256, 8, 704, 8192), "40M": (448, 12, 1216, 16384), "135M": (576, 30, 1536, 49152)}
HEAD = 64
LABELS = ("w1", "w2", "w3", "w4")
WITHIN = {"memory": 0.15, "seconds": 0.30}
WANTED = 20  # of 24
LEAST_SECONDS, MOST_STEPS = 10.0, 100

Configuration = tuple[str, str, int, int, str]


def configurations(seed: int, count: int) -> list[Configuration]:
    every = list(itertools.product(FAMILIES, STEPS, LENGTHS, BATCHES, SHAPES))
    return random.Random(seed).sample(every, min(count, len(every)))


def build(folder: Path, family: str, shape: str) -> None:
    """Random weights of a shape, as the tool itself makes them, and a tokenizer of one token a word."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    from tuneladder.model.inspect import config_of, from_shape, skeleton

    width, layers, mlp, vocabulary = SHAPES[shape]
    own: dict[str, Any] = {"width": width, "heads": width // HEAD, "mlp": mlp, "vocabulary": vocabulary}
    each = layers // 2 if family == "seq2seq" else layers
    base = from_shape("drawn", {"family": family, "layers": each, "context": 512, **own})
    torch.manual_seed(0)
    config = config_of(base)
    config.pad_token_id, config.eos_token_id, config.decoder_start_token_id = 0, 1, 0
    model = skeleton(config, base.family).to_empty(device="cpu")
    model.tie_weights()  # which the empty tensors no longer are
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    names = ["<pad>", "</s>", "<unk>", *(f"w{at}" for at in range(vocabulary - 3))]
    tokenizer = Tokenizer(models.WordLevel({name: at for at, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if family != "decoder":
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    model.save_pretrained(folder)


def one(folder: Path, configuration: Sequence[Any], steps: int) -> Figures:
    """What a child process does: plan, run, measure."""
    import peft  # noqa: F401  # a plan counts it among what a process holds anyway

    from tuneladder.model import memory
    from tuneladder.model.hardware import device, peak_read, peak_reset
    from tuneladder.model.inspect import inspect
    from tuneladder.model.pace import measured_pace
    from tuneladder.model.shelf import Shelf
    from tuneladder.recipe import find_step
    from tuneladder.store import Store
    from tuneladder.train.loop import read_log
    from tuneladder.train.supervised import lent_head
    from tuneladder.types import Example, Kit, Split, Task, Turn, Variant

    family, name, length, batch, shape = configuration
    place = folder / f"{family}-{shape}"
    if not place.exists():
        build(place, family, shape)
    vocabulary = SHAPES[shape][3]

    def words(steps: int) -> Task:
        draw = random.Random(1)
        # three characters and a blank, as long as a token of text is taken to be by a plan
        count = batch * (steps + 1)  # a batch of them is looked at
        texts = [" ".join(f"w{draw.randrange(100, vocabulary - 3)}"[:3] for _ in range(length - 4)) for _ in range(count)]
        examples = tuple(
            Example(f"row {at}", (Turn("user", text),), (LABELS[at % len(LABELS)],), source=f"row {at}")
            for at, text in enumerate(texts)
        )
        return Task("words", "classify", examples=Split(examples[batch:], examples[:batch]), labels=LABELS)

    task = words(steps)
    shelf = Shelf(device())
    base = inspect(str(place))
    step = find_step(name)(epochs=1, batch_size=batch, **STEPS[name])
    pace = measured_pace(base, shelf)  # and with it all is imported that a step needs
    shelf.close()
    _, cost = step.plan(Variant(base, task.prompt), task, pace)
    if cost.seconds < LEAST_SECONDS:  # what begins a run, kernels and all, would else be most of it
        task = words(min(MOST_STEPS, math.ceil(steps * LEAST_SECONDS / cost.seconds)))
        _, cost = step.plan(Variant(base, task.prompt), task, pace)
    variant, dtype = borrowed(step, Variant(base, task.prompt), shelf.dtype)
    empty = peak_reset(shelf.device)
    # a file that is read counts while it is mapped, which is no part of training, and takes its time
    began = time.monotonic()
    with shelf.live(lent_head(variant, task), dtype=dtype if step.changes == "weights" else None):
        pass
    loading = time.monotonic() - began
    peak_reset(shelf.device)
    with tempfile.TemporaryDirectory(dir=folder) as own:
        kit = Kit(Path(own), Store(Path(own) / "store"), 0, device(), None, None, shelf)
        began = time.monotonic()
        step.apply(Variant(base, task.prompt), task, kit)
        taken = time.monotonic() - began - loading
        peak, ticks = peak_read(shelf.device), read_log(kit.folder)
    held = bytes_of(variant, dtype)
    assert peak > empty + held, "what a process took beside the base is more than nothing"
    return {
        "parameters": base.parameters,
        # of a run that ends early, as many of the seconds as it did steps
        "foretold": {"memory": cost.memory - memory.PROCESS - held, "seconds": cost.seconds * ticks[-1].step / ticks[-1].of},
        "measured": {"memory": peak - empty - held, "seconds": taken},
        "base_bytes": held,
        "empty_bytes": empty,
        "steps": ticks[-1].step,
        "of": ticks[-1].of,
        "tokens": ticks[-1].tokens,
    }


def borrowed(step: Any, variant: Any, dtype: Any) -> tuple[Any, Any]:
    """The variant as a step borrows it from a shelf of this dtype, and the dtype of its weights, or of what stays of them."""
    import torch

    from tuneladder.tune.qlora import Qlora

    own = replace(variant, format=step.form) if isinstance(step, Qlora) else variant
    return own, torch.float32 if step.changes == "weights" else dtype


def bytes_of(variant: Any, dtype: Any) -> int:
    """What the weights of a borrowed variant take."""
    from tuneladder.model import memory
    from tuneladder.train.supervised import held_in

    name = str(dtype).removeprefix("torch.")
    return held_in(variant, name) or memory.hold(variant.base.parameters, 8 * memory.BYTES[name])


def summary(rows: Sequence[Figures]) -> Figures:
    """How many lie within what is wanted, and how far each is off."""
    found: Figures = {"configurations": len(rows), "wanted": WANTED}
    for what, most in WITHIN.items():
        off = [row["foretold"][what] / row["measured"][what] - 1 for row in rows]
        found[what] = {"within": sum(abs(each) <= most for each in off), "of": most, "off": [round(each, 3) for each in off]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, default={}, help=argparse.SUPPRESS)
    run = parser.parse_args()
    if run.child:
        print(json.dumps(one(Path(run.settings["folder"]), run.settings["configuration"], run.settings["steps"])))
        return
    rows: list[Figures] = []
    with tempfile.TemporaryDirectory() as temporary:
        for configuration in configurations(run.seed, run.count):
            figures = contestant(HERE, "one", folder=temporary, configuration=configuration, steps=run.steps)
            names = ("family", "step", "length", "batch", "shape")
            rows.append({**dict(zip(names, configuration, strict=True)), **figures})
            off = {what: figures["foretold"][what] / figures["measured"][what] for what in WITHIN}
            print(configuration, {what: f"{each:.2f}" for what, each in off.items()}, file=sys.stderr, flush=True)
            results = {
                "summary": summary(rows),
                "seed": run.seed,
                "machine": machine("torch", "transformers", "peft"),
                "rows": rows,
            }
            write(run.out, results)
    print(json.dumps(results["summary"], indent=1))


if __name__ == "__main__":
    main()
