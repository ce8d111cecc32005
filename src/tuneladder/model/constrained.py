"""Writing nothing but what fits a JSON schema: a mask over the vocabulary for every token, made by llguidance (extra `apps`)."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tuneladder.errors import BadInput, Failed

if TYPE_CHECKING:
    import torch

    from tuneladder.task.encode import Coder

HINT = "pip install 'tuneladder[apps]', or constrain: false: answers are then parsed, and repaired once"
# as Python's json writes what is learned; blanks of its own a weak model would write without end
_LAID_OUT = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}


def can_constrain() -> bool:
    """Whether the package that makes the masks is here."""
    return importlib.util.find_spec("llguidance") is not None


class Grammars:
    """What texts of a coder's tokens may be written under a schema."""

    def __init__(self, coder: Coder) -> None:
        self._coder = coder

    def of(self, schema: str) -> Callable[[], SchemaGuide] | None:
        """Makes a guide for one text; None without a schema. Raises BadInput where llguidance is not installed, or cannot hold
        anything to the schema."""
        if not schema:
            return None
        if not can_constrain():
            raise BadInput("answers are to be written under a JSON schema, and llguidance is not installed", HINT)
        from llguidance import LLMatcher

        shape = json.dumps({"x-guidance": _LAID_OUT, **json.loads(schema)}, ensure_ascii=False)
        # what the template puts before an answer was learned with it
        lead = f"{json.dumps(self._coder.template.lead)}? " if self._coder.template.lead else ""
        grammar = LLMatcher.grammar_from_lark(f"start: {lead}record\nrecord: %json {shape}")
        if wrong := LLMatcher.validate_grammar(grammar, self._tokens):
            raise BadInput(f"no answer can be held to this schema: {wrong.splitlines()[0]}", "see constrain: false")
        return lambda: SchemaGuide(LLMatcher(self._tokens, grammar, log_level=0))

    @cached_property
    def _tokens(self) -> Any:
        from llguidance.hf import from_tokenizer

        return from_tokenizer(self._coder.tokenizer)


class SchemaGuide:
    """Implements `writing.Guide` for one text."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def allowed(self) -> torch.Tensor:
        import torch

        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        return torch.from_numpy(np.unpackbits(bits, bitorder="little").astype(bool))

    def take(self, token: int) -> bool:
        self._matcher.consume_token(token)
        self._check()
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise Failed(f"the schema's grammar broke off: {self._matcher.get_error()}", "constrain: false writes without it")
