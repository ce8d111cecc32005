"""Decoding, setting by setting: what a person types becomes a value that makes sense, or is refused with what would."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tuneladder.errors import BadInput, unknown
from tuneladder.types import Decoding


@dataclass(frozen=True)
class Setting:
    """How a setting is read, which values make sense, and what it does in a line."""

    read: Callable[[str], Any]
    sound: Callable[[Any], bool]
    wanted: str
    does: str


def stop(text: str) -> str:
    """A stop string as it was typed: \\n, \\t and \\s are a line's end, a tab and a blank. Raises BadInput for an empty one."""
    if not text:
        raise BadInput("a stop string is empty", r"a text that ends an answer, as \n\n")
    for written, meant in (("\\n", "\n"), ("\\t", "\t"), ("\\s", " ")):
        text = text.replace(written, meant)
    return text


SETTINGS: Mapping[str, Setting] = {
    "max_new_tokens": Setting(int, lambda own: own >= 1, "a whole number, 1 or more", "the most tokens of an answer"),
    "temperature": Setting(
        float, lambda own: 0 <= own < math.inf, "a number, 0 or more", "0 takes the likeliest token; above 1 flattens odds"
    ),
    "top_k": Setting(int, lambda own: own >= 0, "a whole number; 0 is off", "only the k likeliest tokens are drawn from"),
    "top_p": Setting(
        float, lambda own: 0 < own <= 1, "above 0, at most 1; 1 is off", "only the fewest tokens that reach p together"
    ),
    "repetition": Setting(
        float, lambda own: 0 < own < math.inf, "a number above 0; 1 is off", "above 1, what was said becomes less likely"
    ),
    "stop": Setting(
        lambda text: tuple(stop(word) for word in text.split()),
        bool,
        "texts with blanks between, as \\n\\n END",
        "texts that end an answer",
    ),
    "seed": Setting(int, lambda own: own >= 0, "a whole number, 0 or more", "the same seed draws the same answer"),
}


def read(name: str, text: str) -> Any:
    """The value of a setting as it was typed. Raises BadInput."""
    if name not in SETTINGS:
        raise unknown("setting", name, SETTINGS)
    setting = SETTINGS[name]
    try:
        value = setting.read(text)
    except ValueError:
        value = None
    if value is None or not setting.sound(value):
        raise BadInput(f"{name} is {text!r}", setting.wanted)
    return value


def changed(decoding: Decoding, name: str, text: str, *, own: Decoding) -> Decoding:
    """The decoding with one setting as it was typed; `default` is that of `own`, and `-` takes the stops away. Raises BadInput."""
    value: Any = ()
    if name in SETTINGS and text == "default":
        value = getattr(own, name)
    elif (name, text) != ("stop", "-"):
        value = read(name, text)
    changes: dict[str, Any] = {name: value}
    return replace(decoding, **changes)


def shown(decoding: Decoding, name: str) -> str:
    """A setting's value as it is typed."""
    value = getattr(decoding, name)
    if name != "stop":
        return f"{value:g}" if isinstance(value, float) else str(value)
    marks = str.maketrans({"\n": "\\n", "\t": "\\t", " ": "\\s"})
    return " ".join(text.translate(marks) for text in value) or "-"
