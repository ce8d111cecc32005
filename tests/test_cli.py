"""The door: whatever is handed in, there is a right answer or an exit code, a sentence and a hint; never a traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import tuneladder
from tuneladder import api, cli
from tuneladder.errors import Failed
from tuneladder.feedback.items import Item, gathered
from tuneladder.model import pocket
from tuneladder.model.inspect import SHAPE, from_shape
from tuneladder.types import Base, Ladder, Pace
from tuneladder.written import steps

WORDS = {
    "sport": ("match", "goal", "team", "final", "coach"),
    "sports news": ("paper", "column", "headline", "editor", "print"),
    "money": ("market", "shares", "bank", "profit", "tax"),
}
ROWS = [
    {"text": f"the {a} met the {b} on day {n}", "label": label}
    for label, words in WORDS.items()
    for n, (a, b) in enumerate((a, b) for a in words for b in words if a < b)
]


@dataclass
class Said:
    code: int
    out: str
    err: str


Door = Callable[..., Said]


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Door:
    """`door("check", "r.yaml")` as the installed command would run it."""

    def call(*words: Any) -> Said:
        monkeypatch.setattr(sys, "argv", ["tuneladder", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capsys.readouterr()
        code = left.value.code
        return Said(code if isinstance(code, int) else 0, out, err)

    return call


@pytest.fixture
def here(tmp_path: Path, tiny_folder: Path, tiny_encoder: Base, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, where the tiny base is called `base` and is the pocket decoder as well, beside an encoder."""
    (tmp_path / "base").symlink_to(tiny_folder)
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "pocket-decoder").symlink_to(tiny_folder)
    (tmp_path / "shelf" / "pocket-encoder").symlink_to(tiny_encoder.location)
    monkeypatch.setattr(pocket, "shelf", lambda: tmp_path / "shelf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, rows: list[dict[str, Any]] | None = None) -> None:
    rows = ROWS if rows is None else rows
    Path(name).write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")


def recipe(data: str = "rows.jsonl", name: str = "r.yaml", **changed: Any) -> str:
    task = {"kind": "classify", "data": data, "input": "text", "target": "label", **changed.pop("task", {})}
    base = {} if "bases" in changed else {"base": "base"}
    Path(name).write_text(yaml.safe_dump({"task": task, **base, "rungs": ["zero_shot"], **changed}))
    return name


def refused(said: Said, *words: str) -> None:
    """Exit code 2, and on stderr one sentence and one hint, which end it."""
    assert said.code == 2, said
    assert re.search(r"^error: .+(\n.+)*\n  hint: .+\n\Z", said.err, re.MULTILINE), said.err
    assert "Traceback" not in said.err
    assert "ours to fix" not in said.err
    assert said.out == ""
    for word in words:
        assert word in said.err


# ---- data ----

NOISE = bytes((n * 7919 + n * n * 31) % 256 for n in range(4096))
BAD_DATA: dict[str, tuple[str, bytes, str]] = {
    "empty": ("d.csv", b"", "is empty"),
    "blank": ("d.jsonl", b"\n \n\r\n", "is empty"),
    "header only": ("d.csv", b"text,label\n", "has no rows"),
    "broken JSON": ("d.jsonl", b'{"text": "a", "label": "b"}\n{"text": "a", "label": }\n', "broken JSON"),
    "cut JSON": ("d.json", b'[{"text": "a", "label": "b"', "broken JSON"),
    "rows that are no objects": ("d.json", b"[1, 2, 3]", "is not an object"),
    "noise as CSV": ("d.csv", NOISE, "not"),
    "noise as JSONL": ("d.jsonl", NOISE, "not"),
    "noise as Parquet": ("d.parquet", NOISE, "cannot be read as Parquet"),
    "noise as XLSX": ("d.xlsx", NOISE, "cannot be read as XLSX"),
    "noise as gzip": ("d.csv.gz", NOISE, "cannot read"),
    "unknown kind of file": ("d.bin", NOISE, ".bin"),
    "missing column": ("d.csv", b"text,topic\na b,x\nc d,y\n", "label"),
    "misspelt column": ("d.csv", b"text,labels\na b,x\nc d,y\n", "did you mean 'labels'?"),
    "one label": ("d.csv", b"text,label\n" + b"".join(b"row %d,x\n" % n for n in range(20)), "no row has another label than 'x'"),
    "one row": ("d.csv", b"text,label\nonly one,x\n", "label"),
    "a label a row": ("d.csv", b"text,label\n" + b"".join(b"row %d,x%d\n" % (n, n) for n in range(40)), "these are no labels"),
    "two rows": ("d.csv", b"text,label\none,x\nanother,y\n", "too few"),
    "one text over and over": ("d.csv", b"text,label\n" + b"same text,x\nsame text,y\n" * 20, "too few"),
    "nothing filled": ("d.csv", b"text,label\n" + b",\n , x\n" * 9, "no row of"),
    "a column twice": ("d.csv", b"text,label,text\na,b,c\n", "more than once"),
    "wrong encoding": ("d.csv", "text,label\nfaçade,x\n".encode("latin-1"), "is not UTF-8"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_data_that_make_no_task(case: str, door: Door, here: Path) -> None:
    name, held, word = BAD_DATA[case]
    Path(name).write_bytes(held)
    refused(door("check", recipe(name)), word)
    refused(door("init", name, "--input", "text", "--target", "label", "--kind", "classify", "-o", "new.yaml")) if case not in (
        "one label",
        "a label a row",
    ) else refused(door("init", name, "--target", "label", "--kind", "classify", "-o", "new.yaml"))
    assert not Path("new.yaml").exists()


def test_data_that_are_not_there(door: Door, here: Path) -> None:
    refused(door("climb", recipe("nowhere.csv")), "there is no file nowhere.csv")
    refused(door("climb", recipe("base")), "is a folder")
    refused(door("climb", recipe("${NOT_SET_ANYWHERE}/d.csv")), "NOT_SET_ANYWHERE")
    refused(door("init", "nowhere.csv"), "nowhere.csv")
    refused(door("init", "base"), "is a folder")


ODD_DATA: dict[str, Callable[[], tuple[str, dict[str, Any]]]] = {}


def odd(name: str) -> Callable[[Callable[[], tuple[str, dict[str, Any]]]], None]:
    return lambda make: ODD_DATA.__setitem__(name, make)


@odd("labels that are prefixes of each other")
def _prefixes() -> tuple[str, dict[str, Any]]:
    names = {"sport": "no", "sports news": "not", "money": "not now"}
    write("d.jsonl", [{**row, "label": names[row["label"]]} for row in ROWS])
    return "d.jsonl", {}


@odd("non-ASCII")
def _letters() -> tuple[str, dict[str, Any]]:
    names = {"sport": "спорт ⚽", "sports news": "体育新闻", "money": "Geld €"}
    write("d.jsonl", [{"text": f"“{row['text']}” — ça و 😀", "label": names[row["label"]]} for row in ROWS])
    return "d.jsonl", {}


@odd("rows of 50,000 characters")
def _long() -> tuple[str, dict[str, Any]]:
    write("d.jsonl", [{**row, "text": row["text"] + f" word{n}" * 7200} if n % 10 == 0 else row for n, row in enumerate(ROWS)])
    return "d.jsonl", {}


@odd("a byte order mark")
def _bom() -> tuple[str, dict[str, Any]]:
    lines = ["text;label", *(f"{row['text']};{row['label']}" for row in ROWS)]
    Path("d.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    return "d.csv", {}


@odd("mixed types in a column")
def _mixed() -> tuple[str, dict[str, Any]]:
    labels: dict[str, list[Any]] = {"sport": [1, "1", 1.0], "sports news": [True, "true", True], "money": [2.5, "2.5", 2.5]}
    texts: list[Any] = [None, 7, ["a", "b"], {"c": "d"}, True]
    write(
        "d.jsonl",
        [{"text": texts[n] if n < 5 else row["text"], "label": labels[row["label"]][n % 3]} for n, row in enumerate(ROWS)],
    )
    return "d.jsonl", {}


@pytest.mark.parametrize("case", ODD_DATA)
def test_odd_data_get_a_right_answer(case: str, door: Door, here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    data, task = ODD_DATA[case]()
    path = recipe(data, task=task)
    # the store lies beside the run: what was forgotten of the same base is measured once
    run = tmp_path_factory.getbasetemp() / "odd" / re.sub(r"\W+", "-", case)
    said = door("climb", path, "--out", run)
    assert said.code == 0, said.err
    found = json.loads((run / "results.json").read_text("utf-8"))
    rung = found["rungs"][0]
    assert rung["failure"] in (None, "")
    labels = set(found["task"]["labels"])
    assert len(labels) == 3
    answers = [json.loads(line) for line in (run / "answers" / "zero_shot.jsonl").read_text("utf-8").splitlines()]
    assert {row["answer"] for row in answers} <= labels
    assert all(row["correct"] == (row["answer"] == row["reference"]) for row in answers)


# ---- recipes ----


def test_files_that_are_no_recipe(door: Door, here: Path) -> None:
    write("rows.jsonl")
    Path("list.yaml").write_text("- a\n- b\n")
    Path("broken.yaml").write_text("task: {kind: classify\nbase: x\n")
    Path("twice.yaml").write_text("seed: 1\nseed: 2\n")
    Path("noise.yaml").write_bytes(NOISE)
    Path("empty.yaml").write_text("")
    refused(door("climb", "list.yaml"), "it holds a list")
    refused(door("climb", "base"), "is a folder, not a recipe")
    refused(door("climb", "broken.yaml"), "is not YAML, line 2")
    refused(door("climb", "twice.yaml"), "the key 'seed' stands twice")
    refused(door("climb", "noise.yaml"), "is not text")
    refused(door("climb", "empty.yaml"), "it holds nothing")
    refused(door("climb", "nowhere.yaml"), "there is no recipe nowhere.yaml", "tuneladder init")
    refused(door("climb", "rows.jsonl"), "rows.jsonl")


def test_a_ladder_whose_own_rungs_are_all_refused_is_not_climbed_for_the_base_it_did_not_name(door: Door, here: Path) -> None:
    write("rows.jsonl")
    refused(door("climb", recipe(rungs=[{"lora": {"r": 9999}}])), "no rung can be climbed; lora(r=9999): ")
    assert not Path("runs/r/results.json").exists()
    planned = door("plan", recipe(rungs=[{"lora": {"r": 9999}}]))
    assert (planned.code, "lora(r=9999) is refused: " in planned.out) == (2, True)
    assert door("plan", recipe(rungs=[{"lora": {"r": 9999}}]), "--json").code == 2
    assert door("plan", recipe(rungs=["zero_shot", {"lora": {"r": 9999}}])).code == 0
    assert door("climb", recipe(rungs=["zero_shot", {"lora": {"r": 9999}}])).code == 0
    recipe(name="two.yaml", rungs=["zero_shot", {"few_shot": {"shots": 1}}, {"few_shot": {"shots": 2}}])
    assert door("climb", "two.yaml").code == 0
    several = "rung in two 'few_shot' could be any of 2"
    refused(door("eval", "two:few_shot"), several, "name it in full: few_shot(shots=1), few_shot(shots=2)")


def test_what_a_person_wrote_is_no_emoji(door: Door, here: Path) -> None:
    refused(door("plan", "task.nothing=:ok:"), "nothing")
    refused(door("plan", "--base", "my:ok:base"), "my:ok:base")


def test_a_plan_of_long_names_fits_in_eighty_columns(door: Door, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("rows.jsonl")
    monkeypatch.setenv("COLUMNS", "80")
    rungs = ["zero_shot", {"few_shot": {"order": "grouped", "shots": 16}}]
    said = door("plan", recipe(bases=["pocket-decoder", "pocket-encoder"], rungs=rungs))
    assert said.code == 0, said.err
    firsts = [line.split()[0] for line in said.out.splitlines() if line.strip()]
    assert firsts[1:3] == ["pocket-decoder", "zero_shot"]
    assert firsts[3].startswith("few_shot(")
    assert firsts[4:6] == ["pocket-encoder", "zero_shot"]
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.mark.parametrize(
    "words", [["--base", "mixtral-8x7b"], ["--base", "llama-2-70b"], ["--kind", "classify", "--memory", "16GB"]]
)
def test_what_a_plan_says_without_a_recipe_fits_in_eighty_columns(door: Door, monkeypatch: pytest.MonkeyPatch, words: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = door("plan", *words)
    assert said.code == 0, said.err
    assert max(map(len, said.out.splitlines())) <= 80
    assert "…" not in said.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rungs=[zero_shots]"], "did you mean 'zero_shot'?"),
        (["rungs=[{lora: {ranks: 8}}]"], "no setting of lora 'ranks'"),
        (["rungs=[{lora: {r: -8}}]"], "lora cannot have rank -8"),
        (["rungs=[{lora: {rank: 8}}]"], "no setting of lora 'rank': did you mean 'r'?"),
        (["rungs=[{lora: {lr: 1e-4}}]"], "no setting of lora 'lr': did you mean 'learning_rate'?"),
        (["rungs=[LoRA]"], "no step 'LoRA': did you mean 'lora'?"),
        (["rungs=[{lora: {max_length: 7}}]"], "max_length 7 leaves next to nothing of a row (8 or more"),
        (["sed=3"], "did you mean 'seed'?"),
        (["task.metric=macrof1"], "did you mean 'macro_f1'?"),
        (["task.kind=generate", "task.metric=rouge_2"], "rouge_2 scores the gold answers"),
        (["task.metric=rouge_2"], "rouge_2 is of text that is written"),
        (["base=not/there/at-all"], "there is no base at"),
        (["base=org/not-there-at-all"], "there is no base 'org/not-there-at-all'"),
        (["base=pocket-decodr"], "pocket-decoder"),
        (["limit.memory=1MB"], "no rung can be climbed"),
        (["seed"], "'seed' is neither a recipe nor key=value"),
        (["=1"], "'=1' is not key=value"),
        (["base="], "'base=' gives no value"),
        (["--out", "."], "would be written into"),
        (["--rung", "loras"], "no rung 'loras': did you mean 'lora'?"),
    ],
)
def test_climb_refuses(words: list[str], said: str, door: Door, here: Path) -> None:
    write("rows.jsonl")
    refused(door("climb", recipe(rungs=["zero_shot", "lora"]), *words), said)
    assert not list(here.glob("runs/r/*")), "nothing is written by a climb that is refused"


def test_plan_says_what_each_rung_would_need(door: Door, here: Path) -> None:
    write("rows.jsonl")
    path = recipe(rungs=["zero_shot", "lora", {"few_shot": {"shots": 1000}}])
    said = door("plan", path, "--json")
    assert said.code == 0, said.err
    found = {each["rung"]: each for each in json.loads(said.out)}
    assert found["lora"]["predicted"]["memory"] > 0
    assert "1000 shots asked for" in found["few_shot(shots=1000)"]["refused"]
    tight = {each["rung"]: each["refused"] for each in json.loads(door("plan", path, "limit.memory=1MB", "--json").out)}
    assert "the limit is 1.0 MB" in tight["lora"]
    picky = door("plan", path, "rungs=[lora: {targets: [q_proj]}]")
    assert "lora(targets=[q_proj])" in picky.out  # brackets are no markup


@pytest.mark.parametrize("verb", ["plan", "climb"])
def test_a_base_without_weights_is_refused_before_any_work(verb: str, door: Door, here: Path) -> None:
    shutil.copytree(here / "base", "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    write("rows.jsonl")
    Path("r.yaml").write_text(yaml.safe_dump({"task": {"kind": "classify", "data": "rows.jsonl"}, "base": "bare"}))
    said = door(verb, "r.yaml")
    assert said.code
    assert "holds no weights: there is no model.safetensors" in said.err.replace("\n", " ")
    assert not (here / "runs").exists()
    refused(door("chat", "bare"), "holds no weights")


def test_plan_foretells_what_an_endpoint_is_paid(door: Door, here: Path) -> None:
    write("rows.jsonl")
    prices = {"input": 1.0, "output": 2.0}
    path = recipe(
        base={"url": "http://localhost:9/v1", "model": "m", "prices": prices}, rungs=["zero_shot", {"few_shot": {"shots": 4}}]
    )
    plain, shown = json.loads(door("plan", path, "--json").out)
    assert 0 < plain["asking"]["money"] < shown["asking"]["money"]
    said = door("plan", path)
    assert "money" in said.out
    assert "4 characters a token" in " ".join(said.err.split())


def test_plan_of_a_base(door: Door, here: Path) -> None:
    found = json.loads(door("plan", "--base", "base", "--json").out)
    assert found["base"]["layers"] == 2
    lora, full = found["memory"]["lora"]["bf16"], found["memory"]["full"]["nf4"]
    assert lora["bytes"] == sum(lora[part] for part in ("weights", "gradients", "optimizer", "activations", "logits", "cache"))
    assert lora["cards"]["RTX 3060"] == 1
    assert (full["bytes"], "cannot learn" in full["why"]) == (None, True)
    more = json.loads(door("plan", "--base", "base", "--rows", "64", "--length", "16", "--json").out)
    assert (more["rows"], more["length"]) == (64, 16)
    assert more["memory"]["lora"]["bf16"]["activations"] != lora["activations"]
    said = door("plan", "--base", "base").out
    assert "2 layers of 32" in said
    assert max(len(line) for line in said.splitlines()) <= 100
    assert "Each fits one card of 8 GB." in said
    assert "cards of so many GB" not in said
    large = json.loads(door("plan", "--base", "gpt2-xl", "--json").out)["memory"]
    lines = door("plan", "--base", "gpt2-xl").out.splitlines()
    heads = next(line for line in lines if line.startswith("cards of so many GB")).split()[5:]
    full = next(line for line in lines if line.startswith("full, fp32")).split()[2:]
    assert full[-1] == "1"
    assert dict(zip(heads, full, strict=True))["12"] == str(large["full"]["fp32"]["cards"]["RTX 3060"])
    assert not any(line.startswith("to hold, fp32") for line in lines)  # it fits the smallest card
    assert "All else fits one card of 8 GB." in lines
    refused(door("plan", "--base", "nowhere/at/all"), "there is no base at")
    refused(door("plan", "r.yaml", "--base", "base"), "are both given")
    refused(door("plan", "--base", "base", "--rows", "0"), "--rows is 0")
    refused(door("plan", "--base", "base", "--length", "100000"), "--length is 100,000")
    refused(door("plan", "--rows", "8"), "--rows is given without --base or --kind")


def test_plan_suggests_bases(door: Door) -> None:
    said = door("plan", "--kind", "classify", "--memory", "6GB", "--json")
    assert said.code == 0, said.err
    found = {each["name"]: each for each in json.loads(said.out)}
    assert found["bert-base"]["hub"] == "google-bert/bert-base-uncased"
    assert found["llama-3.2-1b"]["gated"]
    assert all(found[name][fit]["bytes"] <= 6e9 for name in found for fit in ("cheapest", "strongest"))
    methods = {found[name][fit]["method"] for name in found for fit in ("cheapest", "strongest")}
    assert methods - {"qlora"} <= set(steps())
    fewer = json.loads(door("plan", "--kind", "classify", "--memory", "6GB", "--rows", "32", "--json").out)
    assert len(fewer) < len(found)
    page = door("plan", "--kind", "classify", "--memory", "6GB").out
    assert max(len(line) for line in page.splitlines()) <= 100
    assert page.index("pocket-encoder") < page.index("bert-base") < page.index("t5-small") < page.index("pocket-decoder")
    refused(door("plan", "--kind", "clasify", "--memory", "6GB"), "did you mean 'classify'?")
    refused(door("plan", "--kind", "classify", "--memory", "lots"), "--memory is 'lots'")
    refused(door("plan", "--kind", "classify", "--memory", "1MB"), "no base of the catalogue can be tuned for classify")
    refused(door("plan", "--kind", "classify"), "--memory is missing")
    refused(door("plan", "--memory", "6GB"), "--kind is missing")
    refused(door("plan", "--kind", "text", "--memory", "6GB", "--base", "base"), "are both given")


def test_plan_of_a_budget(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "pace_near", lambda base: Pace(1e12))
    said = door("plan", "--pretrain", "--flops", "1e16", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    fit, rule = found["laws"]
    assert ("2404.10102" in fit["source"], rule["tokens"] / rule["parameters"]) == (True, pytest.approx(20))
    for each in found["shapes"]:
        assert each["parameters"] == pytest.approx(fit["parameters"], rel=0.1)
        assert each["predicted"]["memory"] > 0
        assert each["predicted"]["seconds"] == pytest.approx(1e16 / 1e12, rel=0.15)  # the tokens are the fit's
        given = {key: value for key, value in each["shape"].items() if key in SHAPE}
        assert from_shape("again", given).parameters == each["parameters"]  # it can be put into a recipe
    assert "parameters" in door("plan", "--pretrain", "--tokens", "60M").out
    refused(door("plan", "--pretrain"), "no budget is given")
    refused(door("plan", "--pretrain", "--flops", "-5"), "--flops is -5")
    refused(door("plan", "--pretrain", "--flops", "1e19", "--tokens", "1e9"), "--flops and --tokens are given")
    refused(door("plan", "--parameters", "10M"), "--parameters is given without --pretrain")
    refused(door("plan", "r.yaml", "--pretrain", "--flops", "1e19"), "are both given")
    refused(door("plan", "--base", "base", "--pretrain", "--flops", "1e19"), "are both given")


# ---- commands ----


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["clim"], "no command 'clim': did you mean 'climb'?"),
        (["train", "r.yaml"], "tuneladder climb RECIPE --rung NAME"),
        (["merge", "a"], "merge_and_unload"),
        (["climb", "--rungs", "lora"], "--rung"),
        (["eval", "base"], "'base' is no run, so that no task's rows stand by it"),
        (["eval", "nope"], "'nope' is no run: there is no runs/nope/results.json"),
        (["eval", "runs/nope"], "'runs/nope' is no run: there is no runs/nope/results.json"),
        (["eval"], "VARIANT"),
        (["compare", "a"], "'B'"),
        (["compare", "nowhere", "nowhere:lora"], "'nowhere' is no run"),
        (["eval", "base", "--recipe", "r.yaml", "--rows", "-1"], "--rows"),
        (["eval", "base", "--recipe", "nowhere.yaml"], "there is no recipe nowhere.yaml"),
    ],
)
def test_commands_that_cannot_be_read(words: list[str], said: str, door: Door, here: Path) -> None:
    refused(door(*words), said)


def test_no_words_at_all_show_the_help(door: Door) -> None:
    said = door()
    assert said.code == 0
    assert "climb" in said.out


def test_what_goes_wrong_has_its_exit_code(door: Door, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuneladder import api

    def raising(error: BaseException) -> Callable[..., Any]:
        def check(*_: Any, **__: Any) -> Any:
            raise error

        return check

    for error, code, said in (
        (Failed("the machine failed", "try again"), 3, "the machine failed"),
        (KeyboardInterrupt(), 130, "goes on from there"),
        (RuntimeError("never seen"), 3, "RuntimeError: never seen"),
    ):
        monkeypatch.setattr(api, "check", raising(error))
        found = door("check")
        assert found.code == code
        assert said in found.err
        assert "Traceback" not in found.err


# ---- init ----


def test_init_writes_a_recipe_that_can_be_checked(door: Door, here: Path) -> None:
    write("rows.jsonl")
    said = door("init", "rows.jsonl", "-o", "deep/down/new.yaml")
    assert said.code == 0, said.err
    assert "[[" in said.out, "one row is shown with what is learned"
    assert yaml.safe_load(Path("deep/down/new.yaml").read_text("utf-8"))["task"]["data"] == "../../rows.jsonl"
    assert door("check", "deep/down/new.yaml").code == 0
    refused(door("init", "rows.jsonl", "-o", "deep/down/new.yaml"), "is there already", "--force")
    assert door("init", "rows.jsonl", "-o", "deep/down/new.yaml", "--force").code == 0
    refused(door("init", "rows.jsonl", "-o", "deep"), "deep is a folder")
    refused(door("init", "rows.jsonl", "-o", "rows.jsonl/new.yaml"), "rows.jsonl")
    refused(door("init", "rows.jsonl", "--kind", "clasify"), "did you mean 'classify'?")
    refused(door("init", "rows.jsonl", "--target", "lable"), "did you mean 'label'?")


def test_init_of_plain_text(door: Door, here: Path) -> None:
    Path("text.txt").write_text("\n\n".join(f"Paragraph {n} says something else. " * 5 for n in range(40)))
    Path("sub").mkdir()
    assert door("init", "text.txt", "-o", "sub/new.yaml").code == 0
    said = door("check", "sub/new.yaml")
    assert said.code == 0, said.err


def test_a_mixture_is_shown_as_it_will_be_drawn_and_measured_by_set(door: Door, here: Path) -> None:
    write("rows.jsonl")
    write("few.jsonl", [{"text": f"item {n * 37 % 101} of {n}", "label": f"say {n}"} for n in range(12)])
    sets = [
        {"data": "rows.jsonl", "input": "text", "target": "label", "templates": ["One: {{ input }}", "Two: {{ input }}"]},
        {"data": "few.jsonl", "input": "text", "target": "label", "weight": 2},
    ]
    task = {"kind": "generate", "data": {"mixture": sets, "temperature": 2}, "input": None, "target": None}
    recipe(name="mixed.yaml", task={**task, "decoding": {"max_new_tokens": 2}})
    said = door("check", "mixed.yaml")
    assert said.code == 0, said.err
    table = [line.split() for line in said.out.splitlines()]
    drawn = {line[0]: line for line in table if line and line[0] in ("rows", "few") and len(line) == 7}
    assert {name: own[2] for name, own in drawn.items()} == {"rows": "1", "few": "2"}
    assert float(drawn["few"][5]) > 1 > float(drawn["rows"][5])
    assert re.search(r"^One: the ", said.out, re.MULTILINE)
    assert re.search(r"^Two: the ", said.out, re.MULTILINE)
    assert re.search(r"^item ", said.out, re.MULTILINE)
    assert door("climb", "mixed.yaml").code == 0
    measured = json.loads(Path("runs/mixed/results.json").read_text("utf-8"))["rungs"][0]["test"]
    assert measured["rouge_l"]["count"] == measured["rouge_l[rows]"]["count"] + measured["rouge_l[few]"]["count"]
    assert "ROUGE-L [few]" in Path("runs/mixed/report.html").read_text("utf-8")


def test_a_metric_that_doubts_some_of_the_gold_is_said_beside_the_tasks_own_and_climbed(door: Door, here: Path) -> None:
    write("said.jsonl", [{"text": f"item {n * 37 % 101} of {n}", "label": "say so" if n % 3 else f"no{n}"} for n in range(24)])
    recipe("said.jsonl", task={"kind": "generate", "metric": "rouge_1", "also": ["rouge_2"], "decoding": {"max_new_tokens": 2}})
    assert re.search(r"rouge_2 scores the gold answers of r\s0\.\d+, not 1", said := door("check", "r.yaml").out), said
    assert door("climb", "r.yaml").code == 0
    assert "rouge_2 scores the gold answers of r 0." in Path("runs/r/report.html").read_text("utf-8")
    refused(door("climb", "r.yaml", "task.metric=rouge_2", "task.also=[rouge_1]"), "rouge_2 scores the gold answers")


# ---- a run, and what is asked of it ----


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Ladder:
    folder = tmp_path_factory.mktemp("ladder")
    os.symlink(tiny_folder, folder / "base")
    with (folder / "rows.jsonl").open("w") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in ROWS)
    task = {"kind": "classify", "data": "rows.jsonl", "input": "text", "target": "label"}
    rungs = ["zero_shot", {"lora": {"r": 2, "epochs": 1, "batch_size": 8}}]
    (folder / "r.yaml").write_text(
        yaml.safe_dump({"task": task, "base": "base", "bar": {"macro_f1": 0.99}, "rungs": rungs}, sort_keys=False)
    )
    return tuneladder.climb(folder / "r.yaml", "seed=2", out=folder / "runs" / "r")


@pytest.fixture
def run(ladder: Ladder, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run's folder; the ladder's own folder, two above, is where the commands are given."""
    assert ladder.folder is not None
    monkeypatch.chdir(ladder.folder.parents[1])
    return ladder.folder


LORA = "lora(r=2,epochs=1,batch_size=8)"


def test_a_ladder_shows_itself(ladder: Ladder) -> None:
    shown = ladder._repr_html_()  # type: ignore[attr-defined]
    assert "<table" in shown
    assert "zero_shot" in shown
    assert LORA in shown


def test_a_climb_leaves_all_that_is_promised(run: Path) -> None:
    for name in ("recipe.yaml", "environment.json", "results.json", "report.html", "answers/zero_shot.jsonl"):
        assert (run / name).is_file()
    assert "seed: 2  # command line" in (run / "recipe.yaml").read_text("utf-8")


def test_the_written_recipe_climbs_again_and_makes_nothing(run: Path, door: Door, tmp_path: Path) -> None:
    before = {path.name for path in (run.parent / ".store").iterdir() if not path.name.endswith(".lock")}
    said = door("climb", run / "recipe.yaml", "--out", run.parent / "again", "--json")
    assert said.code == 0, said.err
    assert {path.name for path in (run.parent / ".store").iterdir() if not path.name.endswith(".lock")} == before
    first, second = json.loads((run / "results.json").read_text("utf-8")), json.loads(said.out)
    assert [(rung["name"], rung["test"], rung["node"]) for rung in second["rungs"]] == [
        (r["name"], r["test"], r["node"]) for r in first["rungs"]
    ]
    assert (run.parent / "again" / "recipe.yaml").exists()


def test_strict_says_that_no_rung_clears_the_bar(run: Path, door: Door) -> None:
    assert door("climb", "r.yaml", "seed=2", "--strict").code == 1
    assert door("climb", "r.yaml", "seed=2").code == 0


def test_an_out_that_cannot_be_written(run: Path, door: Door) -> None:
    refused(door("climb", "r.yaml", "--out", "rows.jsonl"), "rows.jsonl is in the way")
    refused(door("climb", "r.yaml", "--out", "rows.jsonl/deep/run"), "rows.jsonl")


def test_compare(run: Path, door: Door) -> None:
    found = json.loads(door("compare", f"r:{LORA}", "r:zero_shot", "--json").out)["contest"]
    assert len(found["won"]) + len(found["lost"]) + found["both"] + found["neither"] == 6
    assert "McNemar's exact p = " in " ".join(door("compare", str(run), "r:zero_shot").out.split())
    assert json.loads(door("compare", "r:lora", "r:zero_shot", "--json").out)["contest"] == found  # its only lora
    refused(door("compare", "r:lorra", "r:zero_shot"), "no rung in r 'lorra': did you mean 'lora'?")
    refused(door("compare", "nowhere", "r"), "'nowhere' is no run")


def test_compare_of_rungs_that_were_measured_on_dev_alone(run: Path, door: Door) -> None:
    found = json.loads((run / "results.json").read_text("utf-8"))
    for rung in found["rungs"]:
        rung["dev"], rung["test"] = rung["test"], None
    shutil.copytree(run, "runs/untested", dirs_exist_ok=True)
    Path("runs/untested/results.json").write_text(json.dumps(found), "utf-8")
    pairs = [json.loads(door("compare", f"{name}:{LORA}", f"{name}:zero_shot", "--json").out) for name in ("r", "untested")]
    assert pairs[0]["difference"] is not None
    assert pairs[0]["difference"] == pairs[1]["difference"]


def test_compare_of_several_is_corrected_for_their_number(run: Path, door: Door) -> None:
    shutil.copytree(run, "runs/copy", dirs_exist_ok=True)
    three = (f"r:{LORA}", "r:zero_shot", "copy:zero_shot")
    found = json.loads(door("compare", *three, "--json").out)
    assert [(pair["a"], pair["b"]) for pair in found] == [(three[0], three[1]), (three[0], three[2]), (three[1], three[2])]
    for pair in found:
        assert (pair["corrected"]["correction"], pair["corrected"]["comparisons"]) == ("Holm", 3)
        assert pair["corrected"]["contest"] >= pair["contest"]["p"]
        assert pair["corrected"]["difference"] >= pair["difference"]["p"]
    assert found[2]["contest"]["needed"] is None
    said = door("compare", *three).out
    assert "for 3 comparisons by Holm's method" in " ".join(said.split())
    refused(door("compare", *three, three[0]), "is named twice")


def test_disagreements(run: Path, door: Door) -> None:
    found = json.loads(door("disagreements", "r:zero_shot", "--json").out)
    wrong = [own for own in api.answers_of("r:zero_shot") if not own.correct]
    assert wrong
    assert {row["marked"]["id"] for row in found["rows"]} == {own.id for own in wrong}
    names = [own["name"] for own in found["rows"][0]["witnesses"]]
    assert {"TF-IDF", "encoder", "nearest by TF-IDF", "nearest by encoder"} <= set(names)
    assert Path(found["page"]).is_file()
    table = Path(found["table"])
    assert table.resolve().parent == run / "disagreements"
    assert 'href="disagreements/zero_shot.html"' in (run / "report.html").read_text("utf-8")
    assert 'href="../report.html"' in Path(found["page"]).read_text("utf-8")
    said = door("disagreements", "r:zero_shot")
    assert f"{len(wrong)} of 6 answers differ from the reference" in said.out
    lines = table.read_text("utf-8").splitlines(keepends=True)
    item, answer = wrong[0].id, wrong[0].answer.text
    ruled = f"id,right\n{item},{answer}\n"
    Path("ruled.csv").write_text(ruled)
    after = json.loads(door("disagreements", "r:zero_shot", "--adjudicated", "ruled.csv", "--out", "new", "--json").out)
    assert after["changed"] == 1
    accuracy = next(own for own in after["metrics"] if own["metric"] == "accuracy")
    assert accuracy["after"]["value"] == pytest.approx(accuracy["before"]["value"] + 1 / 6)
    assert set(after["rungs"]) == {"zero_shot", LORA}
    assert Path("new/zero_shot.corrected.jsonl").is_file()
    assert table.read_text("utf-8").splitlines(keepends=True) == lines
    said = door("disagreements", "r:zero_shot", "--adjudicated", "ruled.csv", "--out", "new")
    assert "1 reference ruled on, 1 changed" in said.out
    assert "before" in said.out
    refused(door("disagreements", "r:zero_shot", "--out", "new"), "would be written over")
    for text, word in (
        (ruled + "nowhere,money\n", "no item 'nowhere'"),
        (f"id,right\n{item},mony\n", "did you mean 'money'?"),
        (ruled + f"{item},money\n", "both rule on"),
    ):
        Path("bad.csv").write_text(text)
        refused(door("disagreements", "r:zero_shot", "--adjudicated", "bad.csv"), word)
    refused(door("disagreements", "r:zero_shot", "--adjudicated", "nowhere.csv"), "there is no file nowhere.csv")
    refused(door("disagreements", "nowhere"), "'nowhere' is no run")


def test_disagreements_of_a_choice_among_labels(run: Path, door: Door) -> None:
    shutil.copytree(run, "runs/choice", dirs_exist_ok=True)
    for name in ("results.json", "recipe.yaml"):
        path = Path("runs/choice") / name
        text = re.sub(r"\n *multi_label: false[^\n]*", "", path.read_text("utf-8"))  # which is of classifications alone
        path.write_text(re.sub(r'("?kind"?: "?)classify', r"\1choose", text))
    found = json.loads(door("disagreements", "choice:zero_shot", "--json").out)
    assert found["rows"]
    assert {"TF-IDF", "encoder"} <= {own["name"] for own in found["rows"][0]["witnesses"]}


def test_disagreements_of_what_is_no_longer_so(run: Path, door: Door) -> None:
    shutil.copytree(run, "runs/other", dirs_exist_ok=True)
    path = Path("runs/other/results.json")
    path.write_text(path.read_text("utf-8").replace('"kind": "classify"', '"kind": "generate"'))
    refused(door("disagreements", "other:zero_shot"), "a task of kind generate")
    path.write_text(re.sub('"labels": \\[[^]]*\\]', '"labels": []', path.read_text("utf-8").replace('"generate"', '"choose"')))
    refused(door("disagreements", "other:zero_shot"), "no row of other has another's options")
    shutil.copytree(run, "runs/changed", dirs_exist_ok=True)
    answers = Path("runs/changed/answers/zero_shot.jsonl")
    answers.write_text(re.sub('"reference": "[a-z ]+"', '"reference": "sport"', answers.read_text("utf-8")))
    refused(door("disagreements", "changed:zero_shot"), "its data have changed")


def test_a_run_of_another_task_is_not_replaced_unsaid(door: Door, here: Path) -> None:
    write("rows.jsonl")
    write("other.jsonl", [{**row, "text": f"{row['text']} now"} for row in ROWS])
    first = door("climb", recipe(rungs=["zero_shot", {"few_shot": {"shots": 2}}]))
    assert (first.code, "another task" in first.err) == (0, False)
    assert "another task" not in door("climb", recipe(rungs=["zero_shot"])).err
    said = door("climb", recipe("other.jsonl", rungs=["zero_shot"]))
    assert said.code == 0
    assert "runs/r has the run of another task (classify of " in " ".join(said.err.split())
    assert "--out DIR keeps both" in " ".join(said.err.split())
    assert [path.name for path in Path("runs/r/answers").iterdir()] == ["zero_shot.jsonl"]


def test_eval(run: Path, door: Door) -> None:
    found = json.loads(door("eval", f"r:{LORA}", "--recipe", "r.yaml", "--rows", "4", "--json").out)
    assert len(found["answers"]) == 4
    assert found["energy"]["seconds"] > 0
    assert found["quality"] == json.loads(door("eval", f"r:{LORA}", "--rows", "4", "--json").out)["quality"]  # its own recipe
    assert "macro_f1" in door("eval", "base", "--recipe", "r.yaml", "--rows", "4").out
    write("new.jsonl", [{"text": f"a {row['text']} again", "label": row["label"]} for row in ROWS[::3]])
    other = json.loads(door("eval", "r:zero_shot", "--recipe", "r.yaml", "--data", "new.jsonl", "--json").out)
    assert all(row["input"].startswith("a the ") for row in other["answers"])
    assert len(other["answers"]) == len(ROWS[::3])  # however many of its own rows the recipe takes
    write("less.jsonl", [{"text": f"what {row['text']} is " + "and so on " * 900, "label": row["label"]} for row in ROWS[:2]])
    with Path("less.jsonl").open("a") as file:
        file.write('\n{"text": "nobody knows what this is", "label": null}\n')
    said = door("eval", "r:zero_shot", "--data", "less.jsonl")
    assert "note: 1 row was dropped: empty input or empty answer (test:3)" in said.err
    assert "note: no test row has the label " in said.err
    assert "note: 2 prompts of test were longer than the context" in said.err
    refused(door("eval", "r:lorra", "--recipe", "r.yaml"), "no rung in r 'lorra'")
    refused(door("eval", "nowhere:lora", "--recipe", "r.yaml"), "'nowhere' is no run", "runs here: ")
    refused(door("eval", "nope"), "'nope' is no run", "for a base, name a task with --recipe RECIPE", "runs here: ")
    refused(door("eval", "r", "--recipe", "r.yaml", "--data", "nowhere.jsonl"), "nowhere.jsonl")


def test_a_run_that_was_broken_or_moved(run: Path, door: Door) -> None:
    Path("runs/broken").mkdir()
    Path("runs/broken/results.json").write_text("{")
    refused(door("compare", "broken", "r"), "results.json is broken")
    Path("else/r").mkdir(parents=True)
    Path("else/r/results.json").write_text((run / "results.json").read_text("utf-8"))
    refused(door("eval", "else/r:zero_shot", "--recipe", "r.yaml"), "the store holds zero_shot no longer")
    refused(door("compare", "else/r:zero_shot", "r"), "kept no answers")


# ---- the outside ----


def test_the_public_names() -> None:
    assert sorted(tuneladder.__all__) == ["__version__", "check", "climb", "compare", "load", "plan"]
    for name in tuneladder.__all__:
        assert getattr(tuneladder, name)
    with pytest.raises(AttributeError, match="trains"):
        tuneladder.trains  # noqa: B018


@pytest.mark.parametrize("word", ["--help", "--version", "climb --help"])
def test_the_door_opens_before_torch_is_there(word: str) -> None:
    script = (
        "import sys\nfrom tuneladder.cli import main\n"
        "try:\n    main()\nexcept SystemExit as left:\n    assert not left.code, left.code\n"
        "heavy = {'torch', 'transformers', 'datasets', 'sklearn', 'numpy'} & set(sys.modules)\nassert not heavy, heavy"
    )
    before = os.times()
    done = subprocess.run([sys.executable, "-c", script, *word.split()], capture_output=True, text=True, timeout=60, check=False)
    after = os.times()
    assert done.returncode == 0, done.stderr
    assert "tuneladder" in done.stdout
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 1.5, f"{spent:.2f} s of CPU"


def test_check_says_what_a_rungs_own_length_takes_of_rows(door: Door, here: Path) -> None:
    rows = [{"text": " ".join(["word"] * (4 if n % 4 else 60)) + f" {n}", "label": "ab"[n % 2]} for n in range(80)]
    Path("long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = door("check", recipe("long.jsonl", rungs=["zero_shot", {"lora": {"max_length": 48}}, {"lora": {"max_length": 400}}]))
    (line,) = re.findall(r"note: (lora\(max_length=48\): max_length 48 cuts \d+ of \d+ training rows)", said.out)
    cut, whole = map(int, re.findall(r"(\d+) of (\d+)", line)[0])
    assert 0.15 < cut / whole < 0.35
    assert "max_length=400" not in said.out


def test_check_says_what_a_rungs_own_length_drops_where_the_context_cut_as_much(door: Door, here: Path) -> None:
    """A row that is dropped is no longer one that is cut: the two counts do not make up for each other."""
    long = {"text": " word" * 900, "label": "b" + " word" * 40}  # its beginning is cut for the context, its answer fits
    rows = [{key: f"{value} {n}" for key, value in (long if n % 2 else {"text": "word", "label": "a"}).items()} for n in range(80)]
    Path("long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"kind": "generate", "metric": "rouge_l"}
    said = door("check", recipe("long.jsonl", task=task, rungs=["zero_shot", {"lora": {"max_length": 16}}]))
    assert re.search(
        r"max_length 16 (cuts \d+ and )?drops \d+ of \d+ training rows: what it drops has an answer", " ".join(said.out.split())
    )


def test_check_ends_with_the_rungs_that_plan_refuses(door: Door, here: Path) -> None:
    write("rows.jsonl")
    recipe("rows.jsonl", name="refused.yaml", rungs=["zero_shot", "dpo", "pretrain"])
    checked, planned = door("check", "refused.yaml"), door("plan", "refused.yaml")
    assert (checked.code, planned.code) == (0, 0), checked.err
    refusals = planned.out[planned.out.index("dpo is refused: ") :]
    assert "pretrain is refused: " in refusals
    assert checked.out.endswith(refusals)
    found = json.loads(door("check", "refused.yaml", "--json").out)["rungs"]
    assert [each["rung"] for each in found] == ["dpo", "pretrain"]
    assert all(each["refused"] for each in found)
    recipe("rows.jsonl", name="fine.yaml", rungs=["zero_shot"])
    assert "is refused" not in door("check", "fine.yaml").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plan", "--base", "gpt-2", "--rows", "ten"), "--rows is 'ten'\n  hint: a whole number"),
        (("plan", "--base", "gpt-2", "--length", "1.5"), "--length is '1.5'\n  hint: a whole number"),
        (("eval", "pocket-decoder", "--rows", -1), "--rows is '-1'\n  hint: 0 or more"),
        (("plan", "--base", "pocket-decoder", "--rows", 10**23), f"--rows is {10**23:,}\n  hint: from 1 to 1,000,000 rows"),
    ],
)
def test_an_option_that_is_no_number_says_what_it_takes(door: Door, words: tuple[Any, ...], said: str) -> None:
    refused(found := door(*words))
    assert found.err == f"error: {said}\n"


MISTAKEN = [  # in a recipe, or after one, and what is said of it
    (["task: {kind: classify, data: x.csv}\nrungz: [lora]"], "no key 'rungz': did you mean 'rungs'?"),
    (["task: {kind: classify, data: x.csv, taget: label}"], "no key of task 'taget': did you mean 'target'?"),
    (["task: {kind: clasify, data: x.csv}"], "no kind of task 'clasify': did you mean 'classify'?"),
    (["task: {kind: classify, data: x.csv, metric: macrof1}"], "no metric 'macrof1': did you mean 'macro_f1'?"),
    (["task: {kind: classify, data: x.csv}\nrungs: [zero_shot, {loraa: {r: 8}}]"], "no step 'loraa': did you mean 'lora'?"),
    (["task: {kind: classify, data: x.csv}\nbar: {macro_f1: 85}"], "bar: macro_f1 is 85, and nothing can clear it"),
    (["task: {kind: classify, data: x.csv}", "sed=1"], "no key 'sed': did you mean 'seed'?"),
    (["task: {kind: classify, data: x.csv}", "limit.memory=lots"], "limit: memory is 'lots'"),
    (["task: ["], "is not YAML"),
    (["task: {kind: classify, data: x.csv}\nbase: ."], "there is no config.json in"),  # where the recipe lies
]


@pytest.mark.parametrize("command", ["climb", "plan", "check"])
def test_a_misspelt_recipe_is_refused_before_torch_is_loaded(command: str, tmp_path: Path) -> None:
    lines = []
    for number, ((recipe, *more), _) in enumerate(MISTAKEN):
        (tmp_path / f"{number}.yaml").write_text(recipe)
        lines.append([command, str(tmp_path / f"{number}.yaml"), *more])
    script = (
        "import sys\nfrom tuneladder.cli import main\n"
        f"for line in {lines}:\n    sys.argv = ['tuneladder', *line]\n"
        "    try:\n        main()\n    except SystemExit as left:\n        assert left.code == 2, left.code\n"
        "heavy = {'torch', 'transformers', 'datasets', 'sklearn'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == len(MISTAKEN)
    for line, (_, expected) in zip(said, MISTAKEN, strict=True):
        assert expected in line


@pytest.mark.parametrize("command", [[Path(sys.executable).parent / "tuneladder"], [sys.executable, "-m", "tuneladder"]])
def test_the_real_command_refuses_as_the_function_does(command: list[Any], tmp_path: Path) -> None:
    done = subprocess.run(
        [*command, "climb", "nowhere.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: there is no recipe nowhere.yaml\n  hint: ")


# ---- what people judge ----

ODD = {("ben", 0): "b", ("cho", 0): "tie"}
JUDGED = [
    {"item": f"i{n}", "labeler": who, "rubric": "better", "why": f"{who} says so"}
    | {"value": "a" if who == "all-a" else ODD.get((who, n), "ab"[n % 2])}
    for n in range(12)
    for who in ("ann", "ben", "cho", "all-a")
]
GUIDE = {"criteria": [{"name": "better", "asks": "choose", "means": "Which helps more?", "values": {"a": "one", "b": "other"}}]}
ITEMS = [{"item": f"i{n}", "prompt": f"Question {n}?", "answers": {"a": f"yes {n}", "b": f"no {n}"}} for n in range(12)]


def test_agreement(here: Path, door: Door) -> None:
    write("said.jsonl", JUDGED)
    said = door("agreement", "said.jsonl")
    assert said.code == 0
    for word in ("48 judgements of 12 items by 4 labelers under better", "alpha, nominal", "all-a always answers 'a'"):
        assert word in said.out
    assert "1 item in dispute\n  i0: ann a (ann says so); ben b (ben says so); cho tie" in said.out
    assert "ann" not in door("agreement", "said.jsonl", "--show", 0).out
    facts = json.loads(door("agreement", "said.jsonl", "--json").out)
    (own,) = facts["rubrics"]
    assert own["alphas"]["nominal"]["low"] <= own["alphas"]["nominal"]["value"]
    assert [each["name"] for each in own["labelers"] if each["findings"]] == ["all-a"]
    assert facts["changes"] == []
    Path("guide.yaml").write_text(yaml.safe_dump(GUIDE))
    assert door("agreement", "said.jsonl", "--rubric", "guide.yaml").code == 0
    called = [{"unit": row["item"], "worker": row["labeler"], "said": row["value"], "page": 1} for row in JUDGED]
    write("called.jsonl", called)
    columns = ("--column", "item=unit", "--column", "labeler=worker", "--column", "value=said")
    said = door("agreement", "called.jsonl", *columns)
    assert "columns left unread: page" in said.err
    assert "48 judgements" in said.out


def test_labelers_whom_an_export_does_not_name_are_counted_and_not_judged(here: Path, door: Door) -> None:
    said = [
        [{"result": [{"type": "rating", "from_name": "stars", "value": {"rating": n % 5 + k}}]} for k in (0, 1)] for n in range(12)
    ]
    write("tasks.jsonl", [{"id": n, "data": {}, "annotations": own} for n, own in enumerate(said)])
    found = door("agreement", "tasks.jsonl")
    assert "24 judgements of 12 items by 24 labelers under stars" in found.out
    assert "24 labelers not named: each counts as another person, and nothing is said of them" in found.out
    assert "who stands out" not in found.out


def test_choices_of_items_and_labels_of_a_guideline(here: Path, door: Door) -> None:
    write("said.jsonl", JUDGED)
    write("items.jsonl", ITEMS)
    said = door("agreement", "said.jsonl", "--items", "items.jsonl")
    assert "on pairs of the ranked" in said.out
    facts = json.loads(door("agreement", "said.jsonl", "--items", "items.jsonl", "--json").out)
    assert (facts["rubrics"][0]["unit"], facts["rubrics"][0]["items"]) == ("pair", 12)
    write("others.jsonl", [row | {"item": f"other {row['item']}"} for row in ITEMS])
    refused(door("agreement", "said.jsonl", "--items", "others.jsonl"), "judges no item of others.jsonl")
    labels = [
        {"item": f"i{n}/{name}", "labeler": who, "rubric": "topic", "value": 1 + (n + (name == who)) % 3}
        for n in range(12)
        for name in "ab"
        for who in "xb"
    ]
    write("labels.jsonl", labels)
    topics = {"name": "topic", "asks": "label", "values": {1: "sports", 2: "politics", 3: "science"}}
    Path("topics.yaml").write_text(yaml.safe_dump({"criteria": [topics]}))
    levels = [
        json.loads(door("agreement", "labels.jsonl", "--json", *more).out)["rubrics"][0]["level"]
        for more in ((), ("--rubric", "topics.yaml"))
    ]
    assert levels == ["interval", "nominal"]
    assert door("pairs", "labels.jsonl", "items.jsonl").code == 0
    refused(door("pairs", "labels.jsonl", "items.jsonl", "--rubric", "topics.yaml"), "a label prefers no answer to another")
    refused(door("pairs", "labels.jsonl", "items.jsonl", "--rubric", "topics.yaml", "--scores"), "is no score")


def test_disputes_are_settled_and_a_guidelines_versions_compared(here: Path, door: Door) -> None:
    sharper = [row | {"rubric": "better@v2", "value": "ab"[int(row["item"][1:]) % 2]} for row in JUDGED]
    write("said.jsonl", [*(row | {"rubric": "better@v1"} for row in JUDGED), *sharper])
    said = door("agreement", "said.jsonl", "--disputes", "new/open.csv")
    other = [row | {"rubric": "worse@v1"} for row in JUDGED[:4]]
    write("more.jsonl", [*sharper, *other])
    facts = json.loads(door("agreement", "more.jsonl", "--criterion", "worse", "--json").out)
    assert [each["rubric"] for each in facts["rubrics"]] == ["worse@v1"]
    assert "from better@v1 to better@v2: alpha, nominal, after less before: " in said.out
    assert "fill its columns" in said.err
    text = Path("new/open.csv").read_text("utf-8")
    assert text.splitlines()[0] == "rubric,item,right,why,doubt,said"
    refused(door("agreement", "said.jsonl", "--disputes", "new/open.csv"), "would be written over")
    assert Path("new/open.csv").read_text("utf-8") == text
    Path("ruled.csv").write_text(re.sub(r"^better@v1,(i\d+),,", r"better@v1,\1,b,by hand", text, flags=re.MULTILINE))
    facts = json.loads(door("agreement", "said.jsonl", "--settled", "ruled.csv", "--json").out)
    assert facts["rubrics"][0]["gold"]["majority"]["count"] == text.count("\nbetter@v1,")
    assert facts["changes"][0]["difference"]["value"] > 0
    Path("ruled.csv").write_text("rubric,item,right,why\nworse,i1,a,\n")
    refused(door("agreement", "said.jsonl", "--settled", "ruled.csv"), "settles items of 'worse'")


@pytest.mark.parametrize(
    ("rows", "options", "word"),
    [
        ([row for row in JUDGED if row["labeler"] == "ann"], (), "are by one labeler, ann"),
        ([row | {"value": "tie"} for row in JUDGED], (), "are tied: nothing was preferred"),
        ([row | {"value": "a"} for row in JUDGED], (), "are 'a'"),
        (JUDGED, ("--level", "interval"), "which have no interval order"),
        (JUDGED, ("--column", "labeler"), "--column is 'labeler'"),
        (JUDGED, ("--rubric", "empty.yaml"), "the rubric empty.yaml is empty"),
        (JUDGED, ("--rubric", "other.yaml"), "no value of better (ann on item i0) 'a'"),
        (JUDGED, ("--rubric", "nowhere.yaml"), "there is no rubric nowhere.yaml"),
        (JUDGED, ("--settled", "nowhere.csv"), "nowhere.csv"),
        (ROWS, (), "no column 'item'"),
    ],
)
def test_judgements_that_cannot_be_measured(
    here: Path, door: Door, rows: list[dict[str, Any]], options: tuple[str, ...], word: str
) -> None:
    write("said.jsonl", rows)
    Path("empty.yaml").write_text("")
    criterion = GUIDE["criteria"][0] | {"values": {"b": "one", "c": "other"}}
    Path("other.yaml").write_text(yaml.safe_dump({"criteria": [criterion]}))
    refused(door("agreement", "said.jsonl", *options), word)


@pytest.mark.parametrize(
    "words",
    [
        ("agreement", "nope"),
        ("pairs", "nope", "nope", "--out", "new.jsonl"),
        ("sample", "nope", "--by", "base", "--out", "new.jsonl"),
        ("judge", "--by", "base", "--people", "nope"),
        ("eval", "base", "--suite", "mmlu", "--data", "nope", "--shots", "0"),
    ],
)
def test_what_can_only_be_a_file_is_not_looked_for_on_the_hub(
    here: Path, door: Door, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr("tuneladder.task.read._hub", lambda *asked: pytest.fail("the hub was asked"))
    said = door(*words)
    refused(said, "there is no file nope\n  hint: paths are looked up from")
    assert not Path("new.jsonl").exists()


def test_pairs(here: Path, door: Door) -> None:
    write("said.jsonl", JUDGED)
    write("items.jsonl", ITEMS)
    said = door("pairs", "said.jsonl", "items.jsonl", "--out", "new/pairs.jsonl", "--without", "all-a")
    assert said.out == "new/pairs.jsonl: 11 comparisons; pairs left out: 1 tied\n"
    rows = [json.loads(line) for line in Path("new/pairs.jsonl").read_text("utf-8").splitlines()]
    assert rows[2] == {"prompt": "Question 3?", "chosen": "no 3", "rejected": "yes 3", "weight": 1.0, "margin": 0.0, "source": "i3"}
    assert door("pairs", "said.jsonl", "items.jsonl").out == "pairs.jsonl: 12 comparisons\n"
    assert json.loads(Path("pairs.jsonl").read_text("utf-8").splitlines()[0])["weight"] == 0.25
    scores = [{"item": f"i{n}/{name}", "labeler": "ann", "value": n + (name == "a")} for n in range(2) for name in "ab"]
    write("scores.jsonl", scores)
    facts = json.loads(door("pairs", "scores.jsonl", "items.jsonl", "--json").out)
    assert facts == {"file": "pairs.jsonl", "comparisons": 2, "tied": 0, "failed": 0, "alike": 0}
    assert door("pairs", "scores.jsonl", "items.jsonl", "--scores", "--out", "s.jsonl").out == "s.jsonl: 4 answers\n"
    refused(door("pairs", "scores.jsonl", "items.jsonl", "--at-least", 2), "they are all tied")
    refused(door("pairs", "scores.jsonl", "items.jsonl", "--at-least", 2, "--scores"), "--at-least is given with --scores")
    refused(door("pairs", "said.jsonl", "items.jsonl", "--scores"), "is no answer of a known item")
    refused(door("pairs", "said.jsonl", "items.jsonl", "--without", "bob"), "no labeler 'bob'")
    refused(door("pairs", "said.jsonl", "items.jsonl", "--criterion", "beter"), "did you mean 'better'?")
    write("same.jsonl", [row | {"answers": {"a": "x", "b": "x"}} for row in ITEMS])
    refused(door("pairs", "said.jsonl", "same.jsonl"), "none can be learned", "equal texts")
    refused(door("pairs", "said.jsonl", "said.jsonl"), "no column `prompt`")


def test_a_prompt_to_which_the_same_was_said_is_left_out(here: Path, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    write("prompts.jsonl", [{"item": f"q{n}", "prompt": f"Where is parcel {n}?"} for n in range(3)])
    words = ("sample", "prompts.jsonl", "--by", "base", "--tokens", 16)

    def alike(prompts: int) -> None:
        """So many prompts get one text alone."""

        def said(asked: Any, written: Any) -> tuple[Item, ...]:
            items = gathered(asked, written)
            first = (replace(item, answers=dict([*item.answers.items()][:1])) for item in items[:prompts])
            return (*first, *items[prompts:])

        monkeypatch.setattr("tuneladder.api.gathered", said)

    alike(3)
    refused(door(*words), "the same was said each time to each of 3 prompts")
    assert not Path("items.jsonl").exists()
    alike(1)
    said = door(*words)
    assert said.out == "items.jsonl: 2 items, 4 answers that differ\n"
    assert "1 prompt left out: the same was said each time" in said.err
    assert door(*words, "--samples", 1).out == "items.jsonl: 3 items, 3 answers that differ\n"  # scored or labelled alone


def test_sample(here: Path, door: Door) -> None:
    write("prompts.jsonl", [{"item": f"q{n}", "prompt": f"Where is parcel {n}?"} for n in range(3)])
    words = ("sample", "prompts.jsonl", "--by", "base", "--tokens", 4)
    facts = json.loads(door(*words, "--samples", 3, "--rows", 2, "--json").out)
    rows = [json.loads(line) for line in Path("items.jsonl").read_text("utf-8").splitlines()]
    assert [row["item"] for row in rows] == ["q0", "q1"]
    assert [row["prompt"] for row in rows] == ["Where is parcel 0?", "Where is parcel 1?"]
    assert {name for row in rows for name in row["answers"]} <= {"base 1", "base 2", "base 3"}
    assert facts["answers"] == sum(len(row["answers"]) for row in rows) > 2
    first = Path("items.jsonl").read_bytes()
    door(*words, "--samples", 3, "--rows", 2, "--seed", 1, "--out", "new/other.jsonl")
    assert Path("new/other.jsonl").read_bytes() != first
    door(*words, "--samples", 3, "--rows", 2)
    assert Path("items.jsonl").read_bytes() == first
    said = door(*words, "--by", "pocket-decoder", "--samples", 1, "--temperature", 0)
    assert said.out == "items.jsonl: 3 items, 6 answers that differ\n"
    row = json.loads(Path("items.jsonl").read_text("utf-8").splitlines()[0])
    assert row["answers"]["base"] == row["answers"]["pocket-decoder"]  # the same model, and each says its own
    assert "3 items of one answer" in door(*words, "--samples", 1).err


@pytest.mark.parametrize(
    ("words", "word"),
    [
        ((), "nobody is named to answer"),
        (("--by", "base", "--by", "base"), "base is named twice"),
        (("--by", "pocket-encoder"), "pocket-encoder is an encoder"),
        (("--by", "base", "--temperature", "0"), "every sample would be the same"),
        (("--by", "base", "--temperature", "nan"), "--temperature is 'nan'\n  hint: 0 or more"),
        (("--by", "base", "--model", "x"), "base is no address"),
        (("--by", "nowhere:lora"), "nowhere"),
    ],
)
def test_what_cannot_be_sampled(here: Path, door: Door, words: tuple[str, ...], word: str) -> None:
    write("prompts.jsonl", [{"prompt": "Where?"}])
    refused(door("sample", "prompts.jsonl", *words), word)
    assert not Path("items.jsonl").exists()


def test_studio_label(here: Path, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuneladder.studio.serve import Studio

    served: list[Studio] = []
    monkeypatch.setattr(Studio, "serve", lambda self: served.append(self))
    monkeypatch.delenv("TUNELADDER_STUDIO_PASSWORD", raising=False)
    write("items.jsonl", ITEMS)
    Path("guide.yaml").write_text(yaml.safe_dump(GUIDE))
    Path("l.yaml").write_text(yaml.safe_dump({"items": "items.jsonl", "rubric": "guide.yaml", "labelers": ["ann", "ben"]}))
    said = door("studio", "label", "l.yaml", "--port", 0)
    assert said.code == 0, said
    links = dict(line.split() for line in said.out.splitlines())
    assert links == served[0].links
    assert f"the owner's page: {served[0].url}/owner" in said.err
    assert served[0].password in said.err
    assert Path("runs/l/labels.db").is_file()
    found = json.loads(door("studio", "label", "l.yaml", "--port", 0, "--new-links", "--json").out)
    assert set(found["links"].values()).isdisjoint(links.values())
    refused(door("studio", "label", "l.yaml", "--host", "0.0.0.0"))
    refused(door("studio", "label", "gone.yaml"))
    refused(misspelt := door("studio", "lable", "l.yaml"))
    assert "did you mean 'label'" in misspelt.err
    refused(odd := door("studio", "label", "l.yaml", "--port", "x"))
    assert odd.err == "error: --port is 'x'\n  hint: a whole number\n"


def test_studio_add(here: Path, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuneladder.studio.serve import Studio

    monkeypatch.setattr(Studio, "serve", lambda self: None)
    write("items.jsonl", ITEMS[:9])
    Path("guide.yaml").write_text(yaml.safe_dump(GUIDE))
    given = {"items": "items.jsonl", "rubric": "guide.yaml", "labelers": ["ann", "ben"], "each": 2}
    Path("l.yaml").write_text(yaml.safe_dump(given))
    refused(door("studio", "add", "l.yaml", "chi"), "there is no labelling in")
    assert door("studio", "label", "l.yaml", "--port", 0).code == 0
    said = door("studio", "add", "l.yaml", "chi", "--url", "https://label.example.org")
    assert said.code == 0, said
    assert said.out.startswith("chi  https://label.example.org/l/")
    assert "chi takes over 6 items" in said.err
    found = json.loads(door("studio", "add", "l.yaml", "dee", "--json").out)
    assert found["link"].startswith("http://127.0.0.1:8250/l/")
    assert sum(found["taken"].values()) == 4
    refused(door("studio", "add", "l.yaml", "dee"), "there is a labeler dee already")


@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_IGN], ids=["heard", "ignored"])
def test_who_is_asked_to_end_stops_as_by_a_ctrl_c_where_a_shell_ignores_that_too(before: Any) -> None:
    kept = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    signal.signal(signal.SIGINT, before)
    signal.signal(signal.SIGTERM, cli._asked_to_end)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in kept:
            signal.signal(number, handler)
