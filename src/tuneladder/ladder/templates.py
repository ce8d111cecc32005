"""The templates of pages, read from beside the code that fills them."""

from __future__ import annotations

import re
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup, escape


def template(name: str) -> Template:
    """A page of this folder, `<name>.html.jinja`."""
    return templates("tuneladder.ladder").get_template(f"{name}.html.jinja")


def templates(room: str) -> Environment:
    """The templates beside a room's code; all that is put into them is escaped, and nothing may be missing."""
    here = resources.files(room)
    environment = Environment(
        loader=FunctionLoader(lambda file: here.joinpath(file).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breaks"] = _breaks
    return environment


def _breaks(name: str) -> Markup:
    """A rung's name, with leave to break the line where a setting begins."""
    return Markup(re.sub(r"(?<=[+(,/_=])(?=.)", "<wbr>", str(escape(name))))
