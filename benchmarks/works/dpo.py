"""DPO of a LoRA r=8 on all linear layers of the Llama of `lora`, prompts of 28 to 88 words and two answers of 16 to 64 to each,
beside TRL's DPOTrainer with PEFT. An example is a pair. What the reference says is asked once before the steps by ours, by TRL
before them or in each, as is faster: what comes before the steps is timed on neither side, and counts in both peaks."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from pairs import load_saved

from works import PLAIN_TRAINER, SEED, Figures, Settings, Work, run_step, run_trainer, useful_flops
from works.lora import HEADS, KV_HEADS, LAYERS, MLP, VOCABULARY, WIDTH, build

BATCH = 16
PROMPT, ANSWER = (28, 88), (16, 64)  # the fewest and most words
LEARNING_RATE, BETA, RANK = 2e-4, 0.1, 8


def rows(count: int) -> list[dict[str, str]]:
    """Pairs of answers of random words to prompts of random words; a word is a token, and the end of a text one more."""
    draw = random.Random(SEED)

    def words(fewest: int, most: int) -> str:
        return " ".join(f"w{draw.randrange(VOCABULARY - 2)}" for _ in range(draw.randint(fewest, most)))

    return [{"prompt": words(*PROMPT), "chosen": " " + words(*ANSWER), "rejected": " " + words(*ANSWER)} for _ in range(count)]


def flops(steps: int) -> float:
    """Of all steps: the prompt of a pair need be computed once, and what the reference says is known."""
    body = LAYERS * WIDTH * (2 * WIDTH + 2 * WIDTH * KV_HEADS // HEADS + 3 * MLP)
    shape = {"body": body, "head": VOCABULARY * WIDTH, "width": WIDTH, "layers": LAYERS, "frozen": True, "causal": True}
    total = 0.0
    for row in rows(steps * BATCH):
        prompt, one, other = (len(text.split()) for text in row.values())
        total += useful_flops(**shape, lengths=[prompt + one], learned=one) + useful_flops(**shape, lengths=[other], learned=other)
        total += 12 * WIDTH * LAYERS * prompt * other  # the second answer reads the prompt, too
    return total


def trl_trainer(folder: Path, steps: int, own: Settings, callbacks: list[Any]) -> Any:
    """TRL as its documentation sets it up, on the tokens that our step reads."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    from tuneladder.ladder.card import PLAIN
    from tuneladder.task.encode import Coder
    from tuneladder.types import Turn

    model, tokenizer = load_saved(folder, own["dtype"], own["attention"])
    pairs = rows(steps * BATCH)
    settings = DPOConfig(
        output_dir=str(folder / "trl"),
        max_length=512,
        per_device_train_batch_size=BATCH,
        max_steps=steps,
        learning_rate=LEARNING_RATE,
        beta=BETA,
        precompute_ref_log_probs=own["precompute"],
        bf16=own["dtype"] == "bfloat16",
        gradient_checkpointing=own.get("checkpointing", False),
        **PLAIN_TRAINER,
    )
    trainer = DPOTrainer(
        model=model,
        args=settings,
        # a base without a chat template is asked in plain words
        train_dataset=Dataset.from_list([{**row, "prompt": PLAIN["user"].format(row["prompt"])} for row in pairs]),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            task_type="CAUSAL_LM", r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules="all-linear", bias="none"
        ),
        callbacks=callbacks,
    )
    coder = Coder(tokenizer, 512)
    for row, read in zip(pairs[:BATCH], trainer.train_dataset, strict=False):
        for side in ("chosen", "rejected"):
            ids = coder.encode((Turn("user", row["prompt"]),), row[side]).ids
            assert read["prompt_ids"] + read[f"{side}_ids"] == ids, "the two sides do not train on the same tokens"
    return trainer


def theirs(folder: Path, steps: int, own: Settings) -> Figures:
    return run_trainer(lambda callbacks: trl_trainer(folder, steps, own, callbacks))


def ours(folder: Path, steps: int) -> Figures:
    """The dpo step, which chooses its precision, its attention, its passes and its lanes itself."""
    from tuneladder.model.hardware import computed_in
    from tuneladder.model.inspect import inspect
    from tuneladder.tune.dpo import Dpo
    from tuneladder.types import Comparison, Split, Task, Turn

    base = inspect(str(folder / computed_in("cpu")))
    pairs = tuple(
        Comparison(f"row {at}", (Turn("user", row["prompt"]),), row["chosen"], row["rejected"], source=f"row {at}")
        for at, row in enumerate(rows(steps * BATCH))
    )
    task = Task("words", "prefer", comparisons=Split(pairs), metric="preference")
    step = Dpo(beta=BETA, r=RANK, learning_rate=LEARNING_RATE, epochs=1, batch_size=BATCH)
    return run_step(step, base, task, folder)


WORKS = {
    "dpo": Work(
        unit="examples",
        units=BATCH,
        steps=8,
        warm=2,
        build=build,
        ours=ours,
        flops=flops,
        rival="TRL's DPOTrainer with PEFT",
        grid=[
            {"dtype": dtype, "attention": attention, "precompute": True, "checkpointing": False}
            for dtype in ("bfloat16", "float32")
            for attention in ("sdpa", "eager")
        ],
        grid_steps=3,
        last=({"precompute": False}, {"checkpointing": True}),
        theirs=theirs,
        packages=("peft", "trl", "accelerate"),
        speed=3.0,
        memory=0.5,
    )
}
