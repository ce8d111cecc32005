"""Tokens as people read them, of each kind of vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tuneladder.model.pieces import pieces_of


def test_byte_level_pieces_join_to_the_text_but_for_cut_characters(tiny_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    text = "The team won\n by two"
    assert "".join(piece.text for piece in pieces_of(tokenizer, tokenizer(text)["input_ids"])) == text
    ids = tokenizer("漢")["input_ids"]
    assert [piece.text for piece in pieces_of(tokenizer, ids)] == ["\\xe6", "\\xbc", "\\xa2"]
    assert [piece.id for piece in pieces_of(tokenizer, ids)] == ids
    assert pieces_of(tokenizer, [tokenizer.eos_token_id])[0].text == "<|end|>"


@pytest.mark.parametrize(("name", "shown"), [("▁the", " the"), ("##ing", "##ing"), ("<0xE6>", "<0xE6>")])
def test_other_vocabularies_show_their_own_marks(name: str, shown: str) -> None:
    core = Tokenizer(models.WordLevel({name: 0, "?": 1}, unk_token="?"))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    assert pieces_of(PreTrainedTokenizerFast(tokenizer_object=core), [0])[0].text == shown
