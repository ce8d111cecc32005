"""Whole runs beside TRL's: a small Llama learns from the same pairs by our `dpo` and by its DPOTrainer, and from the same answers
one by one by our `kto` and by its KTOTrainer; the losses of all steps.

    python benchmarks/curves.py [--steps 20] [--out FILE]

Both begin with the same LoRA and read the same rows in the same order, in fp32, without dropout, by AdamW with the same rates. TRL
asks how far the policy has gone of each batch's answers shifted by one; here it is given the answers to other prompts that we ask,
or the two would measure different things. Raw figures go to benchmarks/results/curves.json.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pairs import Figures, llama, machine, write
from works import PLAIN_TRAINER

RESULTS = Path(__file__).resolve().parent / "results" / "curves.json"
SEED, BATCH, ROWS, RANK = 0, 4, 40, 4
RATE, WARMUP, BETA = 5e-3, 0.1, 0.3
WORDS = 150
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.1,
}
END, UNKNOWN = "<|end|>", "<|unknown|>"


def build(folder: Path) -> None:
    """A Llama of two layers with random weights, whose tokenizer has a token for each word."""
    model, tokenizer = llama([UNKNOWN, END, "Answer:", *(f"w{at}" for at in range(WORDS))], context=128, shape=SHAPE, seed=SEED)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def comparisons(*, pairs: bool) -> list[Any]:
    """Answers of random words to prompts of random words: pairs, or one by one, every other one wanted."""
    from tuneladder.types import Comparison, Turn

    draw = random.Random(SEED)

    def words(fewest: int, most: int) -> str:
        return " ".join(f"w{draw.randrange(WORDS)}" for _ in range(draw.randint(fewest, most)))

    found = []
    for at in range(ROWS):
        turns, one, other = (Turn("user", words(5, 16)),), words(2, 9), words(2, 9)
        sides = (one, other) if pairs else (one, "") if at % 2 else ("", one)
        found.append(Comparison(str(at), turns, *sides, source=str(at)))
    return found


def run_ours(step: Any, rows: Sequence[Any], folder: Path, work: Path) -> list[float]:
    """The losses of our step, and beside them in `work` the LoRA that it began with."""
    import torch

    from tuneladder.ladder.tree import root_of
    from tuneladder.model.inspect import inspect
    from tuneladder.model.shelf import Shelf
    from tuneladder.store import Store
    from tuneladder.train.loop import read_log
    from tuneladder.train.preference import learner
    from tuneladder.types import Kit, Prompt, Split, Task

    (work / "step").mkdir(parents=True)
    task = Task("rows", "prefer", comparisons=Split(tuple(rows)), prompt=Prompt(), metric="preference")
    kit = Kit(work / "step", Store(work / "store"), SEED, "cpu", None, None, Shelf("cpu", dtype=torch.float32))
    root = root_of(inspect(str(folder)), task)
    with kit.shelf.live(root) as live:
        (work / "first").mkdir()
        learner(RANK, live, root, kit).save(work / "first", str(folder))
    step.apply(root, task, kit)
    return [tick.loss for tick in read_log(kit.folder)]


def order(steps: int) -> list[int]:
    """The numbers of the rows as our steps read them, one after the other."""
    from tuneladder.train.batches import Rows

    def as_they_are(rows: Sequence[Any], *, tokens: int, lanes: int = 1) -> list[Any]:
        return list(rows)

    numbers: Any = range(ROWS)
    found: Any = Rows(numbers, batch=BATCH, epochs=steps * BATCH / ROWS, tokens=1, seed=SEED, cut=as_they_are)
    assert len(found) == steps
    return [row for step in range(steps) for row in found[step]]


def texts(rows: Sequence[Any], folder: Path) -> list[dict[str, str]]:
    """The rows as TRL is given them: prompts as our template writes them, and answers with their end, of the same tokens."""
    from transformers import AutoTokenizer

    from tuneladder.model.ask import turns_of_all
    from tuneladder.task.comparing import asked
    from tuneladder.task.encode import Coder
    from tuneladder.types import Prompt

    tokenizer = AutoTokenizer.from_pretrained(folder)
    coder = Coder(tokenizer, 128)
    found = []
    for row, turns in zip(rows, turns_of_all(Prompt(), [asked(row) for row in rows]), strict=True):
        prompt = coder.render(turns)
        answers = {name: text for name in ("chosen", "rejected") if (text := getattr(row, name))}
        ends = {name: coder.render(turns, text)[len(prompt) :] for name, text in answers.items()}
        for name, text in answers.items():
            if tokenizer(prompt + ends[name])["input_ids"] != coder.encode(turns, text).ids:
                raise SystemExit(f"row {row.id} has other tokens in TRL")
        found.append({"prompt": prompt, **ends})
    return found


def settings(kind: Any, work: Path) -> Any:
    """TRL's, with nothing that ours does not do."""
    return kind(
        output_dir=str(work / "trl"),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        learning_rate=RATE,
        max_grad_norm=1.0,
        beta=BETA,
        bf16=False,
        gradient_checkpointing=False,
        **PLAIN_TRAINER,
    )


def run_theirs(kind: Any, args: Any, rows: list[dict[str, Any]], folder: Path, work: Path, steps: int, prepare: Any) -> list[float]:
    """The losses of a trainer of TRL's that begins with our LoRA, and moves it as our course does; `prepare` is shown it before."""
    import torch
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tuneladder.train.loop import Course

    losses: list[float] = []

    class Noting(kind):  # type: ignore[misc]
        """What it logs is rounded."""

        def training_step(self, *given: Any, **named: Any) -> Any:
            loss = super().training_step(*given, **named)
            losses.append(float(loss))
            return loss

    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, work / "first", is_trainable=True)
    course = Course(RATE, warmup=WARMUP)
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=RATE, betas=course.betas, weight_decay=course.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: course.rate(step, steps) / RATE)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    trainer = Noting(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        optimizers=(optimizer, schedule),
    )
    prepare(trainer)
    trainer.train()
    return losses


def dpo(folder: Path, work: Path, steps: int) -> tuple[list[float], list[float]]:
    from trl import DPOConfig, DPOTrainer

    from tuneladder.tune.dpo import Dpo

    rows = comparisons(pairs=True)
    epochs = steps * BATCH / ROWS
    ours = run_ours(Dpo(beta=BETA, r=RANK, learning_rate=RATE, warmup=WARMUP, epochs=epochs, batch_size=BATCH), rows, folder, work)
    shown = texts(rows, folder)
    given = [shown[at] for at in order(steps)]
    return ours, run_theirs(DPOTrainer, settings(DPOConfig, work), given, folder, work, steps, lambda trainer: None)


def kto(folder: Path, work: Path, steps: int) -> tuple[list[float], list[float]]:
    from trl import KTOConfig, KTOTrainer

    from tuneladder.train.unpaired import strangers
    from tuneladder.tune.kto import Kto

    rows = comparisons(pairs=False)
    epochs = steps * BATCH / ROWS
    ours = run_ours(Kto(beta=BETA, r=RANK, learning_rate=RATE, warmup=WARMUP, epochs=epochs, batch_size=BATCH), rows, folder, work)
    shown = [
        {"prompt": own["prompt"], "completion": own.get("chosen") or own["rejected"], "label": "chosen" in own}
        for own in texts(rows, folder)
    ]
    others = strangers([row.turns for row in rows], [str(at) for at in range(ROWS)])
    numbers = order(steps)

    def asking_ours(trainer: Any) -> None:
        told = dict(zip(numbers, trainer.train_dataset["completion_ids"], strict=True))
        ours = [told[int(others[at])] for at in numbers]
        trainer.train_dataset = trainer.train_dataset.remove_columns("KL_completion_ids").add_column("KL_completion_ids", ours)

    given = [shown[at] for at in numbers]
    return ours, run_theirs(KTOTrainer, settings(KTOConfig, work), given, folder, work, steps, asking_ours)


WORKS: dict[str, Callable[[Path, Path, int], tuple[list[float], list[float]]]] = {"dpo": dpo, "kto": kto}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    run = parser.parse_args()
    found: Figures = {"machine": machine("torch", "transformers", "trl", "peft")}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "base"
        build(folder)
        for name, work in WORKS.items():
            ours, theirs = work(folder, Path(temporary) / name, run.steps)
            apart = [abs(one - other) for one, other in zip(ours, theirs, strict=True)]
            found[name] = {"steps": len(apart), "largest_difference": max(apart), "ours": ours, "theirs": theirs}
    write(run.out, found)
    print(json.dumps({name: {"largest_difference": found[name]["largest_difference"]} for name in WORKS}, indent=1))


if __name__ == "__main__":
    main()
