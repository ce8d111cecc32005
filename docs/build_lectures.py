"""Put the tables of benchmarks/results/lectures.json between their marks in docs/lectures.md, and draw docs/images/lectures-*.svg;
with --check, fail when they are not what the figures say."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE, IMAGES = HERE / "lectures.md", HERE / "images"
RESULTS = HERE.parent / "benchmarks" / "results" / "lectures.json"
UNTOUCHED = "zero_shot"
# of a figure by its name: how it is headed, how it is written
FIGURES: dict[str, tuple[str, str]] = {
    "dev_loss": ("dev loss", ".3f"),
    "bleu": ("BLEU", ".1f"),
    "nist": ("NIST", ".2f"),
    "meteor": ("METEOR", ".3f"),
    "rouge_1": ("ROUGE-1", ".3f"),
    "rouge_2": ("ROUGE-2", ".3f"),
    "rouge_l": ("ROUGE-L", ".3f"),
    "cider": ("CIDEr", ".2f"),
    "accuracy": ("accuracy", ".3f"),
    "macro_f1": ("macro-F1", ".3f"),
    "matthews": ("Matthews", ".3f"),
    "films": ("films, exact", ".3f"),
    "cats": ("cats, exact", ".3f"),
}
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #1c1c1a; } text.tick, text.title { fill: #5d5d58; }
.grid { stroke: #dddcd6; } .axis { stroke: #8d8c86; } .whisker { stroke: #5d5d58; stroke-width: 1.4; fill: none; }
.mark { fill: #fff; stroke: #1c1c1a; stroke-width: 1.9; } line.level { stroke: #8d8c86; stroke-dasharray: 2 4; }
.leader { stroke: #8d8c86; fill: none; }
.front { stroke: #b9b8b1; fill: none; }
</style><rect width="100%" height="100%" fill="#fff"/>"""

Claim = Mapping[str, Mapping[str, Mapping[str, Any]]]  # by task and rung, each figure over the seeds


def written(figure: Mapping[str, Any] | None, form: str) -> str:
    """The mean, with its interval where there are several seeds."""
    if figure is None:
        return ""
    mean = format(figure["mean"], form)
    return mean if figure["low"] is None else f"{mean} ({figure['low']:{form}} to {figure['high']:{form}})"


def table(
    rungs: Mapping[str, Mapping[str, Any]], columns: Sequence[tuple[str, Callable[[Mapping[str, Any]], str]]]
) -> Iterator[str]:
    yield "| | " + " | ".join(name for name, _ in columns) + " |"
    yield "| --- |" + " ---: |" * len(columns)
    for name, own in rungs.items():
        yield f"| {name} | " + " | ".join(cell(own) for _, cell in columns) + " |"


def quality(rungs: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Callable[[Mapping[str, Any]], str]]]:
    """A column for each figure that a rung has."""

    def column(name: str, form: str) -> Callable[[Mapping[str, Any]], str]:
        return lambda own: written(own.get(name), form)

    return [(head, column(name, form)) for name, (head, form) in FIGURES.items() if any(name in own for own in rungs.values())]


def size(own: Mapping[str, Any]) -> str:
    return f"{own['disk_bytes']['mean'] / 1e6:.2f}" if "disk_bytes" in own else ""


def seconds(own: Mapping[str, Any]) -> str:
    return f"{own['seconds']['mean']:.0f}" if "seconds" in own else ""


def learned(own: Mapping[str, Any]) -> str:
    return f"{own['parameters']:,}" if "parameters" in own else ""


def tables(claim: str, found: Claim) -> Iterator[str]:
    for task, rungs in found.items():
        columns = quality(rungs)
        if claim == "ranks":
            columns = [("parameters", learned), *columns]
        elif claim != "forgetting":
            columns += [("MB on disk", size), ("seconds", seconds)]
        base = next(iter(rungs.values()))["base"]
        draws = max(own["seeds"] for own in rungs.values())
        yield f"`{task}`, {base}, {draws} seed{'s' * (draws > 1)}:\n"
        yield from table(rungs, columns)
        yield ""


def drawn(rungs: Mapping[str, Mapping[str, Any]], metric: str, cost: Callable[[Mapping[str, Any]], float], x_title: str) -> str:
    """Quality against what a rung costs, whiskers the interval over the seeds."""
    from tuneladder.ladder.plots import Line, Point, scatter

    head, form = FIGURES[metric]
    points = []
    for number, (name, own) in enumerate(rungs.items()):
        if name == UNTOUCHED or metric not in own:
            continue
        value = own[metric]
        low, high = (value["mean"],) * 2 if value["low"] is None else (value["low"], value["high"])
        points.append(Point(str(number), name, cost(own), value["mean"], low, high, "circle", False))
    untouched = rungs.get(UNTOUCHED, {}).get(metric)
    lines = [Line("untouched", untouched["mean"])] if untouched else []
    plot = scatter(
        points,
        lines,
        width=760,
        height=380,
        rising=True,
        x_title=x_title,
        y_title=head,
        ticks=powers,
        figure=lambda value: format(value, form),
    )
    return str(plot).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f">{STYLE}", 1) + "\n"


def powers(low: float, high: float) -> list[tuple[float, str]]:
    found = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    return [(value, f"{value:,.0f}" if value >= 1 else f"{value:g}") for value in found]


def images(claims: Mapping[str, Claim]) -> Iterator[tuple[str, str]]:
    if "ranks" in claims:
        yield "ranks", drawn(claims["ranks"]["e2e"], "bleu", lambda own: own["parameters"], "parameters that learn")
    for task, metric in (("sst2", "accuracy"), ("clinic", "rouge_l")):
        if rungs := claims.get("methods", {}).get(task):
            yield f"methods-{task}", drawn(rungs, metric, lambda own: own["disk_bytes"]["mean"] / 1e6, "MB on disk")


def main() -> int:
    claims = {name: own["together"] for name, own in json.loads(RESULTS.read_text("utf-8")).items()}
    if methods := claims.get("methods"):
        wanted = (UNTOUCHED, "full", "lora")
        claims["clinic"] = {"clinic": {rung: own for rung, own in methods["clinic"].items() if rung.startswith(wanted)}}
    page = PAGE.read_text("utf-8")
    for claim, found in claims.items():
        begin, end = f"<!-- {claim} -->\n", f"<!-- end of {claim} -->"
        if begin not in page:
            raise SystemExit(f"docs/lectures.md has no mark {begin.strip()}")
        before, rest = page.split(begin, 1)
        page = before + begin + "\n".join(tables(claim, found)) + end + rest.split(end, 1)[1]
    made = {PAGE: page} | {IMAGES / f"lectures-{name}.svg": text for name, text in images(claims)}
    if "--check" in sys.argv[1:]:
        if stale := [file for file, text in made.items() if not file.is_file() or file.read_text("utf-8") != text]:
            print(f"{stale[0].relative_to(HERE.parent)} is not what the figures say\n  hint: run `make docs`", file=sys.stderr)
            return 1
        return 0
    for file, text in made.items():
        file.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
