"""Everything that Tuneladder raises on purpose.

    TuneladderError
    ├── BadInput      the command, recipe or data is wrong              exit code 2
    │   └── Refused   a step cannot be done on this variant and task    (in a plan; the rung stands in the table with the reason)
    └── Failed        a rung or the machine failed                      exit code 3
        ├── CannotScore   an engine gives no log-probabilities of texts that it did not write
        └── NoRoom    the disk is full: no other rung would fare better, so the climb ends

Every message says what happened to which value; the hint, on a line of its own, says what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

TAKEN = {  # what pydantic missed, by how its name for that begins
    "int_": "a whole number",
    "finite_": "a finite number",
    "float_": "a number",
    "bool_": "true or false",
    "string_": "a text; numbers and yes or no stand in quotes",
    "tuple_": "a list",
    "list_": "a list",
    "dict_": "keys with values",
    "missing": "it has to be given",
}


class TuneladderError(Exception):
    exit_code = 3

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class BadInput(TuneladderError):
    exit_code = 2


class Refused(BadInput):
    pass


class Failed(TuneladderError):
    exit_code = 3


class CannotScore(Failed):
    pass


class NoRoom(Failed):
    pass


def shown(value: object) -> str:
    """A value as an error repeats it: what is longer than a line is cut."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def taken(error: Mapping[str, Any]) -> str:
    """What a setting takes, of one of the errors that pydantic finds: in our words where there are some."""
    if error["type"] == "literal_error":
        return str(error["ctx"]["expected"]).replace("'', ", "").replace("'", "")  # an empty word is the setting left out
    if error["type"] == "greater_than_equal":
        return f"{error['ctx']['ge']:g} or more"
    return next((said for kind, said in TAKEN.items() if error["type"].startswith(kind)), error["msg"].lower())


def told(error: BaseException) -> str:
    """What an error of somebody else's says, as part of a sentence: many say the half of it in their second line."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = text if " " in text else f"{type(error).__name__} {text}"
    return text if len(text) <= 200 else f"{text[:200]}..."


# what others call what is known here
ELSEWHERE = {
    "lr": "learning_rate",
    "rank": "r",
    "lora_r": "r",
    "lora_rank": "r",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "lora_target": "targets",
    "target_modules": "targets",
    "lora_target_modules": "targets",
    "use_dora": "dora",
    "use_rslora": "rslora",
    "num_train_epochs": "epochs",
    "num_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "micro_batch_size": "batch_size",
    "max_seq_length": "max_length",
    "max_seq_len": "max_length",
    "sequence_len": "max_length",
    "cutoff_len": "max_length",
    "num_virtual_tokens": "tokens",
    "warmup_ratio": "warmup",
}


def unknown(what: str, name: str, known: Iterable[str], hint: str = "") -> BadInput:
    """`no step 'few_shots': did you mean 'few_shot'?`, with what is known as the hint."""
    names = sorted(known)
    folded = {each.casefold(): each for each in names}
    meant = ELSEWHERE.get(str(name).casefold(), "")
    found = [meant] if meant in names else difflib.get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.6)
    close = [folded.get(each, each) for each in found]
    end = f": did you mean '{close[0]}'?" if close else ""
    return BadInput(f"no {what} '{name}'{end}", hint or f"known: {', '.join(names)}")
