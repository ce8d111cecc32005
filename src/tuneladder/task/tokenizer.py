"""A byte-level BPE tokenizer trained on a task's own text (arXiv:1508.07909; on bytes as in GPT-2)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuneladder.errors import BadInput
from tuneladder.task.corpus import by_source, sampled
from tuneladder.types import Document, Family

END = "<|end|>"
PAD, MASK = "<|pad|>", "<|mask|>"  # what an encoder's has besides
SENTINEL, SENTINELS = "<extra_id_{}>", 100  # what a seq2seq's has besides, by the names and in the number that T5 gave them


def train_tokenizer(
    documents: Sequence[Document],
    *,
    vocabulary: int,
    context: int,
    mixture: Mapping[str, float],
    seed: int,
    family: Family = "decoder",
    lowercase: bool = False,
    most: int = 24_000_000,
) -> Any:
    """A transformers tokenizer of `vocabulary` tokens; `<|end|>` opens a text (once) and closes it.

    An encoder's puts it around every text and between two, and has tokens to pad and to mask with, and with `lowercase` reads every
    letter as a small one; a seq2seq's closes every text with it, and has a token to pad and begin with and sentinels. Learns from
    at most `most` characters, drawn by the mixture's weights. Raises BadInput where not every byte, and every special token, can
    have its own.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    others = {"encoder": [PAD, MASK], "seq2seq": [PAD, *map(SENTINEL.format, range(SENTINELS))]}
    special = [END, *others.get(family, [])]
    if vocabulary < 256 + len(special):
        named = "the end token" if family == "decoder" else "the special tokens"
        what = f"a vocabulary of {vocabulary} cannot hold the 256 bytes and {named}"
        raise BadInput(what, f"ask for {256 + len(special)} or more")
    core = Tokenizer(models.BPE())
    if lowercase:
        core.normalizer = normalizers.Lowercase()
    split = Regex(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(split, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    core.train_from_iterator(_sample(documents, mixture, seed, most), trainer)
    end = (END, core.token_to_id(END))
    bos: dict[str, str] = {"bos_token": END}
    if family == "encoder":
        core.post_processor = processors.TemplateProcessing(
            single=f"{END} $A {END}", pair=f"{END} $A {END} $B {END}", special_tokens=[end]
        )
        marks = {"cls_token": END, "sep_token": END, "pad_token": PAD, "mask_token": MASK}
    elif family == "seq2seq":
        core.post_processor = processors.TemplateProcessing(single=f"$A {END}", pair=f"$A {END} $B {END}", special_tokens=[end])
        marks, bos = {"pad_token": PAD}, {}
    else:
        core.post_processor = processors.TemplateProcessing(single=f"{END} $A", pair=f"{END} $A $B", special_tokens=[end])
        marks = {"pad_token": END}
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END, model_max_length=context, **bos, **marks)


def _sample(documents: Sequence[Document], mixture: Mapping[str, float], seed: int, most: int) -> list[str]:
    parts = by_source(documents)
    total = sum(mixture.get(source, 1.0) for source in parts) or 1.0
    texts: list[str] = []
    for source, own in parts.items():
        share = int(most * mixture.get(source, 1.0) / total)
        order = sampled(own, characters=share, seed=f"{seed} {source} sample")
        random.Random(f"{seed} {source} tokenizer").shuffle(order)
        for text in order:
            if share <= 0:
                break
            texts.append(text[:share])
            share -= len(text)
    return texts


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    tokenizer.save_pretrained(folder)
