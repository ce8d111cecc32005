import pytest

from tuneladder.errors import BadInput
from tuneladder.model.inspect import from_shape
from tuneladder.task.tokenizer import train_tokenizer
from tuneladder.types import Document

DOCUMENTS = (Document("The Cat sat. THE CAT SAT. the cat sat on the mat, " * 20),)
SHAPE = {"family": "encoder", "layers": 1, "width": 32, "heads": 2, "vocabulary": 300}


def test_an_encoder_may_read_every_letter_as_a_small_one():
    def ids(text, lowercase):
        made = train_tokenizer(DOCUMENTS, vocabulary=300, context=64, mixture={}, seed=0, family="encoder", lowercase=lowercase)
        return made(text)["input_ids"]

    assert ids("The CAT", True) == ids("the cat", True)
    assert ids("The CAT", False) != ids("the cat", False)


def test_a_vocabulary_that_cannot_hold_every_byte_is_refused():
    with pytest.raises(BadInput, match="a vocabulary of 100"):
        train_tokenizer(DOCUMENTS, vocabulary=100, context=64, mixture={}, seed=0)


def test_lowercase_is_yes_or_no_and_not_for_what_writes():
    with pytest.raises(BadInput, match="lowercase of the shape of own is 'yes'"):
        from_shape("own", {**SHAPE, "lowercase": "yes"})
    with pytest.raises(BadInput, match="in lower case, and could write nothing else"):
        from_shape("own", {**SHAPE, "family": "decoder", "lowercase": True})
    assert from_shape("own", {**SHAPE, "lowercase": True}).settings["lowercase"]
