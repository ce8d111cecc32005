"""What holds a text to a form while it is written: the loop with a guide of our own, and llguidance where it is installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tuneladder.errors import BadInput
from tuneladder.model.constrained import can_constrain
from tuneladder.model.local import LocalEngine
from tuneladder.task.encode import Coder
from tuneladder.task.record import record_in
from tuneladder.task.schema import compact, misfit
from tuneladder.types import Decoding, Turn

ASKS = [
    (Turn("user", "The market fell."),),
    (Turn("user", "A heron stands in the shallows and waits. The river runs past the mill and under the stone bridge."),),
    (Turn("user", "?"),),
]
SAID = ["yes", "no, never", "perhaps"]
SCHEMA = {
    "type": "object",
    "properties": {"paid": {"type": "boolean"}, "how": {"enum": ["cash", "card"]}, "number": {"type": "integer", "maximum": 99}},
    "required": ["paid", "how", "number"],
    "additionalProperties": False,
}


class OneOf:
    """A `writing.Guide` that allows these texts, token by token, after the template's lead or not."""

    def __init__(self, coder: Coder) -> None:
        lead = coder.template.lead
        self.texts = [coder.tokenizer.encode(lead + text, add_special_tokens=False) for text in SAID]
        self.taken: list[int] = []

    def allowed(self) -> torch.Tensor:
        begun = len(self.taken)
        may = {text[begun] for text in self.texts if text[:begun] == self.taken and len(text) > begun}
        return torch.tensor([token in may for token in range(max(may) + 1)])

    def take(self, token: int) -> bool:
        assert self.allowed()[token]
        self.taken.append(token)
        return self.taken in self.texts


class Guided:
    """Stands for `Grammars`."""

    def __init__(self, coder: Coder) -> None:
        self.coder = coder

    def of(self, schema: str) -> Callable[[], OneOf]:
        assert schema == "{}"
        return lambda: OneOf(self.coder)


@pytest.fixture(scope="module")
def local(tiny_folder: Path) -> LocalEngine:
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval()
    return LocalEngine(model, Coder(AutoTokenizer.from_pretrained(tiny_folder), 512), name="tiny")


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(max_new_tokens=20, schema="{}"),
        Decoding(max_new_tokens=20, schema="{}", repetition=1.5),
        Decoding(max_new_tokens=20, schema="{}", temperature=1.5, samples=4),
        Decoding(max_new_tokens=20, schema="{}", temperature=1.5, top_k=3, top_p=0.5, samples=2),
    ],
)
def test_prompts_of_any_length_are_held_to_their_form(
    decoding: Decoding, local: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_grammars", Guided(local.coder))
    texts = local.generate(ASKS, decoding)
    assert {text for own in texts for text in own} <= set(SAID)
    assert [len(own) for own in texts] == [decoding.samples] * 3
    assert [local.generate([ask], decoding)[0] for ask in ASKS] == texts  # whatever stands beside them
    assert "".join(local.stream(ASKS[0], decoding)) == texts[0][0]
    if decoding.samples == 4:
        assert len({text for own in texts for text in own}) > 1


def test_nothing_is_held_where_nothing_is_asked(local: LocalEngine) -> None:
    assert not {own[0] for own in local.generate(ASKS, Decoding(max_new_tokens=5))} & set(SAID)


@pytest.mark.skipif(can_constrain(), reason="llguidance is installed")
def test_a_schema_without_the_extra_is_refused(local: LocalEngine) -> None:
    with pytest.raises(BadInput, match="llguidance is not installed") as caught:
        local.generate(ASKS, Decoding(schema=compact(SCHEMA)))
    assert "tuneladder[apps]" in caught.value.hint


@pytest.mark.parametrize("decoding", [Decoding(max_new_tokens=80), Decoding(max_new_tokens=80, temperature=1.5, samples=3)])
def test_what_llguidance_allows_always_parses_and_fits(decoding: Decoding, local: LocalEngine) -> None:
    pytest.importorskip("llguidance")
    from dataclasses import replace

    for own in local.generate(ASKS, replace(decoding, schema=compact(SCHEMA))):
        for text in own:
            record = record_in(text)
            assert record is not None
            assert not misfit(record, SCHEMA)
            assert text == json.dumps(record)  # laid out as it is learned
