"""The documentation says what the code does: the reference is fresh, every room has its page, every link leads somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])


def build_cli() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_cli", DOCS / "build_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_of_the_commands_is_fresh() -> None:
    assert (DOCS / "reference" / "cli.md").read_text("utf-8") == build_cli().render(), "run `make docs`"


def test_the_bill_of_a_model_in_the_docs_is_what_the_command_says() -> None:
    command = [sys.executable, "-m", "tuneladder", "plan", "--base", "llama-2-7b"]
    wide = {**os.environ, "COLUMNS": "100"}  # with what of it are weights
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=wide).stdout.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (DOCS / "concepts" / "model.md").read_text().splitlines()]
    told = {cells[0]: cells[1:] for cells in rows if len(cells) == 5 and any("GB" in cell for cell in cells)}
    assert {"to hold", "full", "lora", "qlora"} <= set(told)
    for name, cells in told.items():
        (line,) = [line for line in said if re.match(rf"{name}  +[\d–]", line)]
        assert re.findall(r"[\d.]+(?= GB)", line) == re.findall(r"[\d.]+(?= GB)|(?<=\()[\d.]+", " ".join(cells)), name


def test_the_tables_of_the_lectures_are_what_was_measured() -> None:
    done = subprocess.run([sys.executable, str(DOCS / "build_lectures.py"), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_room_has_its_page_and_no_page_a_room_that_is_not_there() -> None:
    source = ROOT / "src" / "tuneladder"
    rooms = {path.name for path in source.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert {page.stem for page in (DOCS / "concepts").glob("*.md")} == rooms | {"store"}


def test_every_step_is_named_on_its_rooms_page() -> None:
    for room in ("prompt", "tune"):
        page = (DOCS / "concepts" / f"{room}.md").read_text("utf-8")
        steps = {path.stem for path in (ROOT / "src" / "tuneladder" / room).glob("*.py") if path.stem != "__init__"}
        assert steps
        assert {step for step in steps if f"**{step}**" not in page} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))
    local = [link for link in links if not link.startswith(("http:", "https:", "mailto:"))]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_every_page_is_reached_from_the_index() -> None:
    index = (DOCS / "index.md").read_text("utf-8")
    reached = {(DOCS / link).resolve() for link in re.findall(r"\]\(([^)#\s]+\.md)", index)}
    assert {page for page in DOCS.rglob("*.md") if page.resolve() not in reached} == {DOCS / "index.md"}


def test_commands_named_in_the_docs_exist() -> None:
    known = set(re.findall(r"^## tuneladder (\w+)", build_cli().render(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"^ {4}tuneladder (\w+)", page.read_text("utf-8"), re.MULTILINE))
        assert named <= known, page
