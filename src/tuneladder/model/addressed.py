"""A model behind an OpenAI-compatible endpoint, and bases as a step's settings name another than its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tuneladder.errors import BadInput, shown, unknown
from tuneladder.model.inspect import inspect
from tuneladder.numbers import is_number, is_whole
from tuneladder.store import digest
from tuneladder.types import Base

KEYS = ("url", "model", "key_env", "concurrency", "timeout", "prices")
PRICES = "money for a million tokens: {input: 0.15, output: 0.6}"

Named = str | dict[str, Any]  # a base's name, "https://host/v1 MODEL", or an endpoint by the keys of a recipe's base


def remote(wanted: Mapping[str, Any]) -> Base:
    """A model behind an endpoint, by the keys of a recipe: nothing is known of it but its name. Raises BadInput."""
    for key in wanted:
        if key not in KEYS:
            raise unknown("key of a remote base", str(key), KEYS)
    url, model = wanted.get("url"), wanted.get("model")
    if not isinstance(url, str) or not is_address(url):
        raise BadInput(f"the url of the base is {url!r}", "it begins with http:// or https://, and often ends in /v1")
    if re.search(r"[@?#]", url):  # it may hold a secret, and is not repeated
        raise BadInput("the url of the base holds a name, a password or a query", "a key comes from the environment: see `key_env`")
    if not isinstance(model, str) or not model:
        raise BadInput(f"the base at {url} names no model", "base: {url: ..., model: NAME}")
    if not re.fullmatch(r"[A-Za-z_]\w*", str(wanted.get("key_env", "OPENAI_API_KEY")), re.ASCII):
        # it may be the key itself, which is not repeated
        raise BadInput("key_env is no name of an environment variable", "the variable holds the key; key_env: MY_KEY names it")
    lanes = wanted.get("concurrency", 1)
    if not is_whole(lanes) or lanes < 1:
        raise BadInput(f"concurrency is {shown(lanes)}", "how many requests are under way at once: a whole number, 1 or more")
    seconds = wanted.get("timeout", 1)
    if not is_number(seconds) or seconds <= 0:
        raise BadInput(f"timeout is {shown(seconds)}", "the seconds after which a request is given up: a number above 0")
    settings = {key: value for key, value in wanted.items() if key != "url"}  # how it is called changes no answer
    if "prices" in wanted:
        settings["prices"] = _prices(wanted["prices"])
    name = re.sub(r"[^\w.-]+", "-", model)
    return Base(name, "url", url, "decoder", 0, 0, 0, 0, 0, 0, content=digest("url", url, model), settings=settings)


def named(said: Named) -> Base:
    """A base as a step's settings name another than its own. Raises BadInput."""
    if isinstance(said, dict):
        return remote(said)
    url, _, model = said.partition(" ")
    return remote({"url": url, "model": model.strip()}) if is_address(url) else inspect(said)


def is_address(said: str) -> bool:
    """Whether this is an endpoint's, and no name or folder of a base."""
    return said.startswith(("http://", "https://"))


def placed(given: Any, found: Callable[[str], str]) -> Any:
    """A file, or a base, as a step's settings name it, by where it is found."""
    return found(given) if isinstance(given, str) else given


def content_of(said: Named) -> str:
    """What a base that a step's settings name is, for its key: another one under the same name is another. Nothing where there is
    none."""
    try:
        return named(said).content if said else ""
    except BadInput:
        return ""


def _prices(wanted: Any) -> dict[str, float]:
    if not isinstance(wanted, dict):
        raise BadInput(f"prices is {shown(wanted)}", PRICES)
    for key in wanted:
        if key not in ("input", "output"):
            raise unknown("price", str(key), ("input", "output"))
    for key in ("input", "output"):
        if key not in wanted:
            raise BadInput(f"the prices name no {key}", PRICES)
        if not is_number(wanted[key]) or wanted[key] < 0:
            raise BadInput(f"prices: {key} is {shown(wanted[key])}", "money for a million tokens: a number, 0 or more")
    return {key: float(wanted[key]) for key in ("input", "output")}
