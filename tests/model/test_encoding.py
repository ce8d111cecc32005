"""The encoders' engines: what padding must not change, what a base without its pretraining's head cannot do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from tuneladder.errors import BadInput, Refused
from tuneladder.evaluate.text import Reader
from tuneladder.ladder.tree import root_of
from tuneladder.model import encoding
from tuneladder.model.attach import body_targets, head_modules
from tuneladder.model.inspect import inspect
from tuneladder.model.memory import lora_parameters
from tuneladder.model.shelf import Shelf
from tuneladder.train.batches import Labelled, pad_labelled
from tuneladder.types import Decoding, Embedder, Head, Turn

TEXTS = (
    "My parcel is late",
    "Hi",
    "The river runs past the mill and under the stone bridge. A heron stands in the shallows and waits.",
)
ASKS = [(Turn("system", "Which desk?"), Turn("user", text)) for text in TEXTS]


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf("cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def root(tiny_encoder, tiny_task):
    return root_of(tiny_encoder, tiny_task)


@pytest.fixture(scope="module")
def bare(root, tmp_path_factory):
    """The same encoder saved without the head of its pretraining."""
    folder = tmp_path_factory.mktemp("bare")
    AutoModel.from_pretrained(root.base.location).save_pretrained(folder)
    AutoTokenizer.from_pretrained(root.base.location).save_pretrained(folder)
    return replace(root, base=inspect(str(folder)))


def test_the_embedding_is_the_mean_that_plain_transformers_gives(shelf, root):
    model, tokenizer = AutoModel.from_pretrained(root.base.location).eval(), AutoTokenizer.from_pretrained(root.base.location)
    with shelf.engine(root) as engine:
        found = engine.embed(ASKS)
    assert found.dtype == np.float32
    for row, text in zip(found, TEXTS, strict=True):
        with torch.no_grad():
            own = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        assert np.allclose(row, own.numpy(), atol=1e-5)


@pytest.mark.parametrize("head", [None, Head("classes", ("a", "b"))], ids=["root", "head"])
def test_padding_does_not_change_an_answer(shelf, root, head):
    with shelf.engine(replace(root, head=head)) as engine:
        together = engine.score(ASKS, [("a", "b")] * 3)
        alone = [engine.score([ask], [("a", "b")])[0] for ask in ASKS]
        read = engine.read(TEXTS)
        assert read == pytest.approx([engine.read([text])[0] for text in TEXTS], rel=1e-4)
    assert np.allclose(together, alone, atol=1e-4)
    assert np.allclose(np.exp(together).sum(1), 1, atol=1e-5)


def test_a_pair_has_the_token_types_that_its_own_tokenizer_gives(shelf, root, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = {
        word: at
        for at, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *["the", "river", "runs", "mill", "a", "heron"]))
    }
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = BertTokenizerFast(tokenizer_object=made)
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": len(words)}
    model = BertModel(BertConfig(**small, initializer_range=1.0)).eval()
    model.save_pretrained(tmp_path)
    bert = replace(root, base=inspect(str(tmp_path)))
    pairs = (("the river runs", "a heron"), ("a mill", "the heron runs"))
    with shelf.engine(bert) as engine:
        found = engine.embed([(Turn("user", "\n\n".join(pair)),) for pair in pairs])
    for row, (first, second) in zip(found, pairs, strict=True):
        inputs = tokenizer(first, second, return_tensors="pt")
        assert inputs["token_type_ids"].sum() > 0
        with torch.no_grad():
            own = model(**inputs).last_hidden_state[0].mean(0)
        assert np.allclose(row, own.numpy(), atol=1e-4)
    with shelf.live(replace(bert, head=Head("classes", ("a", "b")))) as live:
        rows = [Labelled(row.ids, [0]) for row in live.texts.encode_many(["\n\n".join(pair) for pair in pairs])]
        assert pad_labelled(rows, divider=live.texts.divider).segments[0, : len(rows[0].ids)].tolist() == [0] * 5 + [1] * 3


def test_a_short_text_is_read_with_each_token_hidden_once(shelf, root):
    model, tokenizer = (
        AutoModelForMaskedLM.from_pretrained(root.base.location).eval(),
        AutoTokenizer.from_pretrained(root.base.location),
    )
    ids = tokenizer("Hi")["input_ids"]
    total = 0.0
    for place in range(1, len(ids) - 1):  # fewer tokens than hands: one hidden at a time
        hidden = torch.tensor([ids])
        hidden[0, place] = tokenizer.mask_token_id
        with torch.no_grad():
            total += float(torch.log_softmax(model(hidden).logits[0, place], -1)[ids[place]])
    with shelf.engine(root) as engine:
        assert engine.read(["Hi", ""]) == pytest.approx([total, 0.0], rel=1e-4)
        assert engine.lengths(["Hi", ""]) == [len(ids) - 2, 0]


def test_a_long_text_counts_as_all_of_its_tokens(shelf, root, monkeypatch):
    text = " ".join(TEXTS) * 4
    with shelf.engine(root) as engine:
        (sampled,) = engine.read([text])
        monkeypatch.setattr(encoding, "SHORT", 10**6)
        (whole,) = engine.read([text])
    assert sampled == pytest.approx(whole, rel=0.1)


def test_a_classifier_reads_with_the_base_own_head(shelf, root):
    with shelf.engine(root) as engine:
        before = engine.read(TEXTS)
    with shelf.engine(replace(root, head=Head("classes", ("a", "b")))) as engine:
        assert isinstance(engine, Reader)
        assert engine.read(TEXTS) == pytest.approx(before, rel=1e-5)  # nothing in the body was changed


def test_without_the_head_of_its_pretraining_it_cannot_read(shelf, bare):
    with shelf.engine(bare) as engine:
        assert not isinstance(engine, Reader)
        assert isinstance(engine, Embedder)
        assert len(engine.score(ASKS, [("parcels", "money")] * 3)) == 3


def test_what_an_encoder_cannot_do(shelf, root):
    with shelf.engine(replace(root, head=Head("classes", ("a", "b")))) as engine:
        with pytest.raises(Refused, match="writes no text"):
            engine.generate(ASKS, Decoding())
        with pytest.raises(BadInput, match="no label 'c'"):
            engine.score(ASKS[:1], [("a", "c")])


def test_lora_goes_on_the_body_alone(shelf, root, bare):
    with shelf.live(replace(root, head=Head("classes", ("a", "b")))) as live:
        names = body_targets(live.model, "all")
        assert names
        assert all(name.startswith("model.layers.") for name in names)
        assert head_modules(live.model, live.fresh) == ["head", "classifier"]
    with shelf.live(bare) as live:
        assert [f"model.{name}" for name in body_targets(live.model, "all")] == names
    assert lora_parameters(bare.base, r=2) == lora_parameters(root.base, r=2) > 0
