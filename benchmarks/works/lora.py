"""LoRA r=8 on q and v of a Llama of 135M parameters (30 layers, width 576, 9 heads, 3 key-value heads, vocabulary 49152, random
weights), beside TRL's SFTTrainer with PEFT: short answers (a label) to prompts that have nothing in common, and to prompts that
begin with the same instruction; long answers; and rows that fill a context of 512."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pairs import llama, load_saved, save_in_both

from works import PLAIN_TRAINER, SEED, Figures, Settings, Work, run_step, run_trainer, useful_flops

BATCH = 16
VOCABULARY = 49152
WIDTH, LAYERS, MLP, HEADS, KV_HEADS = 576, 30, 1536, 9, 3
LEARNING_RATE = 2e-4
TARGETS = ["q_proj", "v_proj"]
END, UNKNOWN = "<|end|>", "<|unknown|>"

Lengths = tuple[int, int, int, int]  # the fewest and most words of a prompt, the learned tokens, the words all prompts begin with

SHORT: Lengths = (28, 88, 2, 0)
ASKED: Lengths = (28, 88, 2, 24)
LONG: Lengths = (64, 64, 192, 0)
FULL: Lengths = (384, 384, 128, 0)


def rows(count: int, lengths: Lengths) -> list[dict[str, str]]:
    """Prompts and completions of random words; a word is a token, and the end of a text one more."""
    fewest, most, learned, common = lengths
    draw = random.Random(SEED)

    def words(n: int) -> str:
        return " ".join(f"w{draw.randrange(VOCABULARY - 2)}" for _ in range(n))

    begin = [words(common)] if common else []
    return [
        {"prompt": " ".join([*begin, words(draw.randint(fewest, most) - common)]), "completion": " " + words(learned - 1)}
        for _ in range(count)
    ]


def flops(steps: int, *, lengths: Lengths) -> float:
    """Of all steps; what all prompts begin with need be computed once in each."""
    *_, answer, common = lengths
    sizes = [len(row["prompt"].split()) - common + answer for row in rows(steps * BATCH, lengths)]
    body = LAYERS * WIDTH * (2 * WIDTH + 2 * WIDTH * KV_HEADS // HEADS + 3 * MLP)
    learned = len(sizes) * answer
    shape = {"body": body, "head": VOCABULARY * WIDTH, "width": WIDTH, "layers": LAYERS}
    return useful_flops(**shape, lengths=[*sizes, *[common] * steps], learned=learned, frozen=True, causal=True)


def build(folder: Path) -> None:
    """Save the model in fp32 and in bf16, with a tokenizer of one token a word, and a LoRA whose B is not zero."""
    import torch
    from peft import get_peft_model

    model, fast = llama([UNKNOWN, END, *(f"w{i}" for i in range(VOCABULARY - 2))], context=512, seed=SEED)
    tuned = get_peft_model(model, lora_config())
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    tuned.save_pretrained(folder / "adapter")
    model = tuned.unload()
    save_in_both(model, fast, folder)


def lora_config() -> Any:
    from peft import LoraConfig

    return LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, lora_dropout=0.0, target_modules=TARGETS, bias="none")


def trl_trainer(folder: Path, model: Any, tokenizer: Any, lengths: Lengths, steps: int, own: Settings, callbacks: list[Any]) -> Any:
    """TRL as its documentation sets it up; `model` may already be a PEFT model."""
    from datasets import Dataset
    from peft import PeftModel
    from trl import SFTConfig, SFTTrainer

    from tuneladder.ladder.card import PLAIN

    # the very text that the step reads: a base without a chat template is asked in plain words
    asked = [{**row, "prompt": PLAIN["user"].format(row["prompt"])} for row in rows(steps * BATCH, lengths)]
    settings = SFTConfig(
        output_dir=str(folder / "trl"),
        completion_only_loss=True,
        max_length=512,
        per_device_train_batch_size=BATCH,
        max_steps=steps,
        learning_rate=LEARNING_RATE,
        train_sampling_strategy="group_by_length" if own.get("grouped") else "random",
        bf16=own["dtype"] == "bfloat16",
        gradient_checkpointing=own.get("checkpointing", False),
        **PLAIN_TRAINER,
    )
    return SFTTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list(asked),
        processing_class=tokenizer,
        peft_config=None if isinstance(model, PeftModel) else lora_config(),
        callbacks=callbacks,
    )


def theirs(folder: Path, steps: int, own: Settings, *, lengths: Lengths) -> Figures:
    model, tokenizer = load_saved(folder, own["dtype"], own["attention"])
    return run_trainer(lambda callbacks: trl_trainer(folder, model, tokenizer, lengths, steps, own, callbacks))


def ours(folder: Path, steps: int, *, lengths: Lengths) -> Figures:
    """The lora step, which chooses its precision, its attention, its passes and its lanes itself."""
    from tuneladder.model.hardware import computed_in
    from tuneladder.model.inspect import inspect
    from tuneladder.tune.lora import Lora
    from tuneladder.types import Example, Split, Task, Turn

    base = inspect(str(folder / computed_in("cpu")))
    examples = tuple(
        Example(f"row {at}", (Turn("user", row["prompt"]),), (row["completion"],), source=f"row {at}")
        for at, row in enumerate(rows(steps * BATCH, lengths))
    )
    task = Task("words", "generate", examples=Split(examples))
    step = Lora(r=8, alpha=16, targets=tuple(TARGETS), learning_rate=LEARNING_RATE, epochs=1, batch_size=BATCH)
    return run_step(step, base, task, folder)


def encoded(tokenizer: Any, texts: Sequence[dict[str, str]]) -> list[Any]:
    """The tokens that the step makes of the rows."""
    from tuneladder.task.encode import Coder
    from tuneladder.types import Turn

    coder = Coder(tokenizer, 512)
    return coder.encode_many([((Turn("user", row["prompt"]),), row["completion"]) for row in texts])


def losses(folder: Path, dtype: str, *, lengths: Lengths) -> Figures:
    """Mean loss over the learned tokens of one batch, by our loss and by TRL's, on the same model and adapter."""
    import torch
    from peft import PeftModel

    from tuneladder.train.batches import pad
    from tuneladder.train.losses import next_token

    model, tokenizer = load_saved(folder, dtype, "eager")
    model = PeftModel.from_pretrained(model, folder / "adapter", is_trainable=True)
    model.train()
    own = encoded(tokenizer, rows(BATCH, lengths))
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")
    with torch.no_grad(), autocast:
        micro = pad(own)
        mine = float(next_token(model, micro)) / micro.learned
    # TRL's trainer patches the model it is given, so it comes second
    trainer = trl_trainer(folder, model, tokenizer, lengths, 1, {"dtype": dtype}, [])
    their_rows = [trainer.train_dataset[at] for at in range(BATCH)]
    assert [row["input_ids"] for row in their_rows] == [row.ids for row in own], "the two sides do not train on the same tokens"
    with torch.no_grad(), autocast:
        other = float(trainer.compute_loss(trainer.model, trainer.data_collator(their_rows)))
    return {"theirs": other, "ours": mine}


def work(lengths: Lengths, **aims: Any) -> Work:
    """Rows of one length leave nothing to group."""
    own = {"lengths": lengths}
    grouped = (False, True) if lengths[0] < lengths[1] else (False,)
    return Work(
        unit="examples",
        units=BATCH,
        build=build,
        ours=partial(ours, **own),
        flops=partial(flops, **own),
        rival="TRL's SFTTrainer with PEFT",
        grid=[
            {"dtype": dtype, "attention": attention, "grouped": group, "checkpointing": False}
            for dtype in ("float32", "bfloat16")
            for attention in ("sdpa", "eager")
            for group in grouped
        ],
        last=({"checkpointing": True},),
        theirs=partial(theirs, **own),
        losses=partial(losses, **own),
        packages=("peft", "trl", "accelerate"),
        **aims,
    )


WORKS = {
    "lora_short": work(SHORT, steps=8, warm=2, speed=8.0, memory=0.55),
    "lora_asked": work(ASKED, steps=8, warm=2, speed=8.0, memory=0.55),
    "lora_long": work(LONG, steps=5, warm=2, grid_steps=3, speed=2.5, memory=0.7),
    "lora_512": Work(
        unit="examples",
        units=BATCH,
        steps=3,
        warm=1,
        build=build,
        ours=partial(ours, lengths=FULL),
        flops=partial(flops, lengths=FULL),
        most=3_000_000_000,
    ),
}
