"""Code of the user's own, named `my_module:thing`: the one place that imports it."""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path
from typing import Any

from tuneladder.errors import BadInput, unknown


def own_code(name: str, what: str) -> Any:
    """The thing of that name. Raises BadInput, which calls it `what`, where it cannot be imported or does not exist."""
    module_name, _, wanted = name.partition(":")
    here = str(Path.cwd())
    # The user's file lies where the command is given, where an installed entry point does not look; child processes look there too.
    if here not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # the user's code: whatever it raises, and a script that ends itself
        raise BadInput(
            f"{what} {name}: cannot import {module_name!r}: {type(error).__name__}: {error}",
            f"{module_name}.py must be importable from the folder the command runs in ({here})",
        ) from error
    public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    if wanted not in public:
        raise unknown(f"{what} in {module_name}", wanted, public)
    return vars(module)[wanted]


def own_content(name: str, what: str) -> str:
    """The digest of the source that the thing of that name stands in: change it, and what it made is made anew."""
    own_code(name, what)
    file = sys.modules[name.partition(":")[0]].__file__
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
