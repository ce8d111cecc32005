"""Pretraining of a Llama of 10M parameters (8 layers of 288, 8192 pieces) on packed text, blocks of 512 tokens, beside
transformers' Trainer."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from works import PLAIN_TRAINER, SEED, Figures, Settings, Work, run_step, run_trainer, useful_flops

LENGTH, BATCH = 512, 16
SHAPE = {"layers": 8, "width": 288, "heads": 9, "kv_heads": 3, "mlp": 768, "vocabulary": 8192, "context": LENGTH}
LEARNING_RATE = 1e-3
END = "<|end|>"


def flops(steps: int) -> float:
    """Of all steps."""
    width, layers = SHAPE["width"], SHAPE["layers"]
    body = layers * width * (2 * width + 2 * width * SHAPE["kv_heads"] // SHAPE["heads"] + 3 * SHAPE["mlp"])
    shape = {"body": body, "head": SHAPE["vocabulary"] * width, "width": width, "layers": layers}
    blocks = steps * BATCH
    return useful_flops(**shape, lengths=[LENGTH] * blocks, learned=LENGTH * blocks, frozen=False, causal=True)


def text(blocks: int) -> list[str]:
    """Documents of some hundred words, the n-th most frequent drawn as 1/n (Zipf's law): together more than `blocks` blocks."""
    draw = random.Random(SEED)
    words = [f"w{at}" for at in range(SHAPE["vocabulary"] - 1)]
    weights = [1 / (at + 1) for at in range(len(words))]
    return [" ".join(draw.choices(words, weights, k=draw.randint(200, 600))) for _ in range(blocks * LENGTH // 300)]


def build(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    names = [END, *(f"w{at}" for at in range(SHAPE["vocabulary"] - 1))]
    tokenizer = Tokenizer(models.WordLevel({name: at for at, name in enumerate(names)}, unk_token=END))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END).save_pretrained(folder / "base")
    torch.manual_seed(SEED)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=SHAPE["vocabulary"],
            hidden_size=SHAPE["width"],
            intermediate_size=SHAPE["mlp"],
            num_hidden_layers=SHAPE["layers"],
            num_attention_heads=SHAPE["heads"],
            num_key_value_heads=SHAPE["kv_heads"],
            max_position_embeddings=LENGTH,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=0,
        )
    ).save_pretrained(folder / "base")


def theirs(folder: Path, steps: int, own: Settings) -> Figures:
    """transformers' Trainer with its usual collator, on blocks that are cut beforehand."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments, default_data_collator

    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    stream: list[int] = []
    for document in text(steps * BATCH):
        stream += [*tokenizer(document)["input_ids"], tokenizer.eos_token_id]
    count = steps * BATCH  # of the same tokens a step, in batches of another size
    blocks = [stream[at * LENGTH : (at + 1) * LENGTH] for at in range(count)]

    def trainer(callbacks: list[Any]) -> Any:
        settings = TrainingArguments(
            output_dir=str(folder / "trainer"),
            per_device_train_batch_size=own["batch"],
            gradient_accumulation_steps=BATCH // own["batch"],
            max_steps=steps,
            learning_rate=LEARNING_RATE,
            weight_decay=0.1,
            bf16=own["bf16"],
            torch_compile=own["compile"],
            **PLAIN_TRAINER,
        )
        return Trainer(
            model=AutoModelForCausalLM.from_pretrained(folder / "base", attn_implementation=own["attention"]),
            args=settings,
            train_dataset=Dataset.from_dict({"input_ids": blocks, "labels": blocks}),
            data_collator=default_data_collator,
            callbacks=callbacks,
        )

    return run_trainer(trainer)


def ours(folder: Path, steps: int) -> Figures:
    from tuneladder.model.inspect import inspect
    from tuneladder.tune.pretrain import Pretrain
    from tuneladder.types import Document, Split, Task

    documents = tuple(Document(own, "words") for own in text(steps * BATCH))
    task = Task("words", "text", text=Split(documents))
    step = Pretrain(tokens=steps * BATCH * LENGTH, batch_size=BATCH, learning_rate=LEARNING_RATE)
    return run_step(step, inspect(str(folder / "base")), task, folder)


WORKS = {
    "pretrain": Work(
        unit="tokens",
        units=BATCH * LENGTH,
        steps=6,
        warm=2,
        build=build,
        ours=ours,
        flops=flops,
        rival="transformers' Trainer",
        grid=[
            {"bf16": True, "attention": attention, "compile": compiled, "batch": batch}
            for compiled in (False, True)
            for attention in ("sdpa", "eager")
            for batch in (4, 16)
        ],
        last=({"bf16": False},),
        theirs=theirs,
        speed=2.0,
        memory=1.0,
    )
}
