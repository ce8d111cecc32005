"""LoRA r=8 on q and v of a T5 of 130M parameters (12 and 12 layers, width 576, 9 heads, gated MLP, random weights), prompts of 128
tokens and answers of 32, beside transformers' Seq2SeqTrainer with PEFT."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from pairs import load_saved, save_in_both

from works import PLAIN_TRAINER, SEED, Figures, Settings, Work, run_step, run_trainer, useful_flops

BATCH = 16
VOCABULARY, WIDTH, LAYERS, MLP, HEADS = 32128, 576, 12, 1536, 9
PROMPT, ANSWER = 128, 32  # tokens, the end being one of each, and of a prompt the word that asks for an answer
LEARNING_RATE = 2e-4
TARGETS = ["q", "v"]
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"


def rows(count: int) -> list[tuple[str, str]]:
    """Prompts and answers of random words; a word is a token."""
    draw = random.Random(SEED)

    def words(n: int) -> str:
        return " ".join(f"w{draw.randrange(VOCABULARY - 3)}" for _ in range(n))

    return [(words(PROMPT - 2), words(ANSWER - 1)) for _ in range(count)]


def flops(steps: int) -> float:
    """Of all steps: the encoder's layers on prompts, the decoder's on answers, which read the prompts in two more matrices."""
    square, gated = WIDTH * WIDTH, 3 * WIDTH * MLP
    own = {"head": 0, "width": WIDTH, "layers": LAYERS, "frozen": True}
    read = useful_flops(body=LAYERS * (4 * square + gated), lengths=[PROMPT], learned=0, causal=False, **own)
    written = useful_flops(body=LAYERS * (6 * square + gated), lengths=[ANSWER], learned=0, causal=True, **own)
    crossed = 4 * LAYERS * 2 * square * PROMPT + 12 * PROMPT * ANSWER * WIDTH * LAYERS
    return steps * BATCH * (read + written + crossed + 4 * VOCABULARY * WIDTH * ANSWER)


def build(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    names = [PAD, END, UNKNOWN, *(f"w{at}" for at in range(VOCABULARY - 3))]
    tokenizer = Tokenizer(models.WordLevel({name: at for at, name in enumerate(names)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN)
    torch.manual_seed(SEED)
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        d_kv=WIDTH // HEADS,
        d_ff=MLP,
        num_layers=LAYERS,
        num_heads=HEADS,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    save_in_both(T5ForConditionalGeneration(config), fast, folder)


def lora_config() -> Any:
    from peft import LoraConfig

    return LoraConfig(task_type="SEQ_2_SEQ_LM", r=8, lora_alpha=16, lora_dropout=0.0, target_modules=TARGETS, bias="none")


def trainer_of(folder: Path, model: Any, tokenizer: Any, steps: int, own: Settings, callbacks: list[Any]) -> Any:
    """transformers' Seq2SeqTrainer as its documentation sets it up; `model` is a PEFT model."""
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

    from tuneladder.ladder.card import PLAIN

    prompts, answers = zip(*rows(steps * BATCH), strict=True)
    # the very text that the step reads: a base without a chat template is asked in plain words
    asked = [PLAIN["user"].format(prompt) for prompt in prompts]
    ids = {"input_ids": tokenizer(asked)["input_ids"], "labels": tokenizer(text_target=list(answers))["input_ids"]}
    settings = Seq2SeqTrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=BATCH,
        max_steps=steps,
        learning_rate=LEARNING_RATE,
        bf16=own["dtype"] == "bfloat16",
        gradient_checkpointing=own.get("checkpointing", False),
        **PLAIN_TRAINER,
    )
    return Seq2SeqTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_dict(ids),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        callbacks=callbacks,
    )


def theirs(folder: Path, steps: int, own: Settings) -> Figures:
    from peft import get_peft_model

    model, tokenizer = load_saved(folder, own["dtype"], own["attention"])
    model = get_peft_model(model, lora_config())
    return run_trainer(lambda callbacks: trainer_of(folder, model, tokenizer, steps, own, callbacks))


def losses(folder: Path, dtype: str) -> Figures:
    """Mean loss over the learned tokens of one batch, by our loss and by Seq2SeqTrainer's, on the same model and adapter."""
    import torch
    from peft import get_peft_model

    from tuneladder.task.pairs import PairCoder
    from tuneladder.train.batches import pad_pairs
    from tuneladder.train.losses import answer_token
    from tuneladder.types import Turn

    model, tokenizer = load_saved(folder, dtype, "eager")
    torch.manual_seed(SEED)
    model = get_peft_model(model, lora_config())
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    coder = PairCoder(tokenizer, 512, start=0)
    own = [row for row in coder.encode_many([((Turn("user", prompt),), answer) for prompt, answer in rows(BATCH)]) if row]
    trainer = trainer_of(folder, model, tokenizer, 1, {"dtype": dtype}, [])
    their_rows = [trainer.train_dataset[at] for at in range(BATCH)]
    assert [(row["input_ids"], row["labels"]) for row in their_rows] == [(row.source, row.target) for row in own], (
        "the two sides do not train on the same tokens"
    )
    model.eval()  # nothing is dropped
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        micro = pad_pairs(own, start=0)
        mine = float(answer_token(model, micro)) / micro.learned
        other = float(trainer.compute_loss(model, trainer.data_collator(their_rows)))
    return {"theirs": other, "ours": mine}


def ours(folder: Path, steps: int) -> Figures:
    """The lora step, which chooses its precision, its attention, its passes and its lanes itself."""
    from tuneladder.model.hardware import computed_in
    from tuneladder.model.inspect import inspect
    from tuneladder.tune.lora import Lora
    from tuneladder.types import Example, Split, Task, Turn

    base = inspect(str(folder / computed_in("cpu")))
    examples = tuple(
        Example(f"row {at}", (Turn("user", prompt),), (answer,), source=f"row {at}")
        for at, (prompt, answer) in enumerate(rows(steps * BATCH))
    )
    step = Lora(r=8, alpha=16, targets=tuple(TARGETS), learning_rate=LEARNING_RATE, epochs=1, batch_size=BATCH)
    return run_step(step, base, Task("words", "generate", examples=Split(examples)), folder)


WORKS = {
    "seq2seq": Work(
        unit="examples",
        units=BATCH,
        steps=8,
        warm=2,
        build=build,
        ours=ours,
        flops=flops,
        rival="transformers' Seq2SeqTrainer with PEFT",
        grid=[
            {"dtype": dtype, "attention": attention, "checkpointing": False}
            for dtype in ("float32", "bfloat16")
            for attention in ("sdpa", "eager")
        ],
        last=({"checkpointing": True},),
        theirs=theirs,
        losses=losses,
        speed=2.0,
        memory=0.7,
        packages=("peft", "accelerate"),
    )
}
