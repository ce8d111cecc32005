"""The door. Data goes to stdout, talk to stderr; exit codes: 0 done, 1 no rung clears the bar (--strict), 2 the command, recipe or
data is wrong, 3 a rung or the machine failed, 130 stopped by Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tuneladder import __version__
from tuneladder.errors import BadInput, TuneladderError, shown, taken, unknown

if TYPE_CHECKING:
    from tuneladder.api import Examination
    from tuneladder.ladder.climb import Now
    from tuneladder.ladder.tree import Foretold
    from tuneladder.types import Cost, Measurement, Result, Score
    from tuneladder.written import Written

app = typer.Typer(
    help="Climb every way to adapt a language model to a task, measured on the same rows, "
    "and take the cheapest that clears the bar.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
studio = typer.Typer(help="Pages in the browser.", rich_markup_mode=None, no_args_is_help=True)
app.add_typer(studio, name="studio")
# typer carries its own click; this is its error for a command line that cannot be read
UsageError: Any = typer.BadParameter.__base__
talk = Console(stderr=True, highlight=False, emoji=False)
STOPPED = 130
HINTS = {
    "train": "`tuneladder climb RECIPE --rung NAME` trains one rung",
    "sft": "`tuneladder climb RECIPE --rung NAME` trains one rung",
    "merge": "weights are merged by exporting, which this edition does not have yet; PEFT's merge_and_unload() opens our adapters",
    "run": "`tuneladder climb` is the main job",
}

Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
Judgements = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="Judgements with the columns item, labeler, value, and if there are any rubric, at, gold, why; or an export from "
        "Argilla or Label Studio.",
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="NAME=COL", help="What the file calls a column: labeler=worker (may be given again)."),
]
Criterion = Annotated[str, typer.Option("--criterion", metavar="NAME", help="Only the judgements under this criterion.")]
Guidelines = Annotated[
    list[Path] | None,
    typer.Option(
        "--rubric",
        metavar="FILE",
        help="The guideline (YAML): what it does not define is refused, and a label is no number (may be given again).",
    ),
]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE] [KEY=VALUE]...",
        help="A recipe, and settings that override it, such as seed=1 or limit.minutes=10. With no recipe, the embedded example.",
    ),
]


@app.command()
def climb(
    words: Words = None,
    rung: Annotated[list[str] | None, typer.Option("--rung", metavar="NAME", help="Only this rung (may be given again).")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The run's folder [runs/NAME].")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when no rung clears the bar.")] = False,
    as_json: Json = False,
) -> None:
    """Make and measure every rung, cheapest first, and recommend one. The main job."""
    written = _written(words)
    began = time.monotonic()
    with talk.status("reading the recipe and its data"):
        from rich.text import Text

        from tuneladder import api
        from tuneladder.ladder import words as say
        from tuneladder.ladder.climb import Now
        from tuneladder.ladder.report import sentence, table, why
        from tuneladder.recipe import recipe_of

        read = recipe_of(written)
    folder = out or Path("runs") / read.name
    bases = ", ".join(base.name for base in read.bases)
    talk.print(Text.assemble((read.task.name, "bold"), f": {bases}; {say.count(len(read.rungs), 'rung')}"))
    for note in read.notes:
        talk.print(f"  {note}", markup=False)
    if other := api.another(folder, read):
        talk.print(
            f"  {folder} has the run of another task ({other}): this one takes its place; --out DIR keeps both", markup=False
        )
    elif fewer := api.replaced(folder, [each.name for each in read.rungs], rung or []):
        said = f"  {folder} has {', '.join(fewer)} too: its report will be without; what was made stays in the store"
        talk.print(said, markup=False)
    now = Now()
    with _watch(now):
        ladder = api.climb(read, rungs=rung or [], out=folder, now=now, each=None if talk.is_terminal else _say)
    talk.print()
    talk.print(table(ladder, width=talk.width))
    talk.print()
    for note in ladder.notes:
        talk.print(f"note: {note}", markup=False, soft_wrap=True)
    for said in (sentence(ladder), *why(ladder)):
        talk.print(said, markup=False, style="bold" if said == sentence(ladder) else "")
    talk.print(f"{time.monotonic() - began:.0f} s; report: {folder / 'report.html'}", markup=False)
    if as_json:
        print((folder / "results.json").read_text("utf-8"), end="")
    if strict and not (ladder.pick and ladder.pick.cleared and ladder.pick.confirmed is not False):
        raise typer.Exit(1)


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, XLSX, JSONL, JSON, Parquet or text.")],
    input: Annotated[
        str | None, typer.Option("--input", metavar="COL", help="The column, or Jinja over the columns, that is read.")
    ] = None,
    target: Annotated[str | None, typer.Option("--target", metavar="COL", help="The column that is learned.")] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help="classify, tag, generate, extract, choose, chat, text or prefer.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="RECIPE", help="Where to write the recipe.")] = Path(
        "recipe.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Write over a recipe that is there.")] = False,
) -> None:
    """Look at the data, write a recipe, and show a row as it is read."""
    import yaml

    from tuneladder import api
    from tuneladder.store import writing
    from tuneladder.task.guess import guess

    if output.is_dir():
        raise BadInput(f"{output} is a folder", f"name a file, as -o {output / 'recipe.yaml'}")
    if output.exists() and not force:
        raise BadInput(f"{output} is there already", "choose another with -o, or write over it with --force")
    found, said = guess(str(file), input=input, target=target, kind=kind)
    report = api.check(_lying(found, str(file.absolute() if file.exists() else file)))
    # what is no file is a hub id, or a path with a variable in it
    beside = os.path.relpath(file, output.resolve().parent) if file.exists() else str(file)
    text = yaml.safe_dump(_lying(found, beside), sort_keys=False, allow_unicode=True, width=120)
    with writing(output.resolve().parent):
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    for line in said:
        talk.print(line, markup=False)
    _show_report(report, lint=False)
    talk.print(f"wrote {output}; next: tuneladder climb {output}", markup=False)


@app.command()
def check(words: Words = None, as_json: Json = False) -> None:
    """Lint the data: leaks, duplicates, cut rows, what is learned; and say which rungs would be refused."""
    written = _written(words)
    from tuneladder import api
    from tuneladder.recipe import recipe_of
    from tuneladder.store import freeze

    with talk.status("reading the recipe and its data"):
        read = recipe_of(written)
        report = api.check(read)
    if not as_json:
        _show_report(report, lint=True)  # what the data say is not lost where nothing can be planned
    with talk.status("asking which rungs would be refused"):
        refused = api.refusals(read)
    if as_json:
        said = [{"rung": each.rung.name, "refused": each.refused} for each in refused]
        print(json.dumps({**freeze(report), "rungs": said}, ensure_ascii=False, indent=2))
    else:
        _show_refused(refused)


@app.command()
def plan(
    words: Words = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base", metavar="ID", help="Show what a base needs instead: a hub id, a folder, or a name such as llama-2-7b."
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", metavar="KIND", help="Suggest bases for a kind of task instead, such as classify, within --memory."),
    ] = None,
    memory: Annotated[str | None, typer.Option("--memory", metavar="SIZE", help="What --kind may take, such as 16GB.")] = None,
    rows: Annotated[
        int | None, typer.Option("--rows", metavar="N", help="Rows at once that --base and --kind reckon with [1].")
    ] = None,
    length: Annotated[
        int | None, typer.Option("--length", metavar="N", help="Tokens of each [512, or the context where that is shorter].")
    ] = None,
    pretrain: Annotated[
        bool,
        typer.Option("--pretrain", help="Say how large a base to pretrain on how many tokens instead, from one of the next three."),
    ] = False,
    flops: Annotated[str | None, typer.Option("--flops", metavar="N", help="The work of training, such as 1e19.")] = None,
    parameters: Annotated[str | None, typer.Option("--parameters", metavar="N", help="The base's size, such as 10M.")] = None,
    tokens: Annotated[str | None, typer.Option("--tokens", metavar="N", help="The tokens there are, such as 60M.")] = None,
    as_json: Json = False,
) -> None:
    """Predicted cost of every rung, of a base, or of pretraining one; bases that suit a task.

    Exit code 2 where all rungs that the recipe names are refused."""
    given = {"flops": flops, "parameters": parameters, "tokens": tokens}
    batch = {name: own for name, own in {"rows": rows, "length": length}.items() if own is not None}
    meant = [f"--{name}" for name, own in {"base": base, "pretrain": pretrain, "kind": kind}.items() if own]
    if len(meant) > 1 or (meant and words):
        other = meant[1] if len(meant) > 1 else f"the recipe {words[0]}" if words else ""
        raise BadInput(f"{meant[0]} and {other} are both given", "keep one of them")
    if not pretrain and (stray := next((kind for kind, own in given.items() if own is not None), "")):
        raise BadInput(f"--{stray} is given without --pretrain", f"tuneladder plan --pretrain --{stray} {given[stray]}")
    if (kind is None) != (memory is None):
        missing = "--memory" if kind else "--kind"
        raise BadInput(f"{missing} is missing: bases are suggested for both", "tuneladder plan --kind classify --memory 16GB")
    if batch and base is None and kind is None:
        raise BadInput(f"--{next(iter(batch))} is given without --base or --kind", "a recipe's rows are those of its data")
    if base is not None:
        _plan_base(base, batch, as_json)
        return
    if kind and memory:
        _plan_kind(kind, memory, batch, as_json)
        return
    if pretrain:
        _plan_pretraining(given, as_json)
        return
    written = _written(words)
    from tuneladder import api
    from tuneladder.ladder import words as say
    from tuneladder.ladder.bills import billed, fitting, plan_table
    from tuneladder.ladder.climb import hopeless
    from tuneladder.recipe import recipe_of
    from tuneladder.store import freeze

    with talk.status("reading the recipe and its data"):
        read = recipe_of(written)
    for note in read.notes:
        talk.print(note, markup=False)
    with talk.status("foretelling what each rung takes"):
        foretold = api.plan(read)
    code = BadInput.exit_code if hopeless(foretold, rooted=read.rooted) else 0
    if as_json:
        print(
            json.dumps(
                [
                    {
                        "rung": each.rung.name,
                        "predicted": freeze(each.cost),
                        "asking": freeze(each.asking),
                        "judging": freeze(each.judging),
                        "refused": each.refused,
                    }
                    for each in foretold
                ],
                indent=2,
            )
        )
        if code:
            raise typer.Exit(code)
        return
    page = _page()
    page.print(fitting(page, plan_table(foretold), plan_table(foretold, long=True)))
    _show_refused(foretold)
    climbed = [each for each in foretold if not each.refused]
    to_climb = sum({node.key: node.cost.seconds for each in climbed for node in each.nodes}.values())
    to_measure = sum(each.asking.seconds + each.judging.seconds for each in climbed)
    wanted = read.axes.robustness
    more = f", test once more for each of {say.count(len(wanted.perturb), 'perturbation')}" if wanted else ""
    more += f", {say.count(len(read.judges), 'judge')} heard" if read.judges else ""
    talk.print(
        f"about {say.duration(to_climb + to_measure)} in all: {say.duration(to_climb)} to climb, what rungs share once, and "
        f"{say.duration(to_measure)} to measure: dev and test asked once{more}, and what was forgotten",
        style="dim",
    )
    if billed(foretold):
        talk.print(
            "tokens and money of an endpoint are about, to climb and to measure: 4 characters a token, an answer "
            "as long as its reference, reasoning as long as it may be, labels written and not ranked",
            style="dim",
        )
    if code:
        raise typer.Exit(code)


@app.command("eval")
def evaluate(
    variant: Annotated[
        str, typer.Argument(metavar="VARIANT", help="RUN:RUNG, RUN for its pick, a folder, a hub id, or an address.")
    ],
    suite: Annotated[
        str | None,
        typer.Option("--suite", metavar="A,B", help="Published suites to ask instead, such as mmlu, hellaswag or glue/cola."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="RECIPE", help="The task whose test rows are asked; a run's own where left out."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="FILE", help="Other rows in the recipe's or the suite's format, as the test rows."),
    ] = None,
    shots_data: Annotated[
        str | None, typer.Option("--shots-data", metavar="FILE", help="Where a suite's shots come from, beside --data.")
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", metavar="N", min=0, help="Only the first N rows, of a suite of each subject; 0 is all.")
    ] = 0,
    shots: Annotated[
        int | None, typer.Option("--shots", metavar="N", min=0, help="Worked examples that a suite shows [the suite's own].")
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Ask a suite by the base's chat template, not as plain text.")] = False,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="The model, where VARIANT is an address that a suite asks.")
    ] = "",
    key_env: Annotated[
        str, typer.Option("--key-env", metavar="NAME", help="The environment variable with the address's key [OPENAI_API_KEY].")
    ] = "",
    as_json: Json = False,
) -> None:
    """Measure a variant on a recipe's test rows, on others, or by published suites."""
    from tuneladder import api
    from tuneladder.store import freeze

    if suite is not None:
        if recipe:
            raise BadInput("--suite and --recipe are both given", "keep one of them: a suite asks in its own words")
        with talk.status(f"examining {variant} by {suite}"):
            found = api.examine(
                variant,
                suite.split(","),
                data=data or "",
                shots_data=shots_data or "",
                rows=rows,
                shots=shots,
                chat=chat,
                model=model,
                key_env=key_env,
            )
        if as_json:
            print(json.dumps(freeze(found), ensure_ascii=False, indent=2))
        else:
            _show_examination(found)
        return
    given = {
        "--shots-data": shots_data,
        "--shots": shots,
        "--chat": chat or None,
        "--model": model or None,
        "--key-env": key_env or None,
    }
    if stray := next((name for name, own in given.items() if own is not None), ""):
        raise BadInput(f"{stray} is given without --suite", "a recipe has shots, a template and bases of its own")
    recipe = recipe or api.recipe_of(variant)
    # how many of its own test rows the recipe takes says nothing of other rows
    overrides = [f"task.data.test={json.dumps(str(Path(data).absolute()))}", "task.rows.test=null"] if data else []
    with talk.status(f"measuring {variant}"):
        measurement = api.evaluate(variant, recipe, *overrides, rows=rows)
    if as_json:
        print(json.dumps(freeze(measurement), ensure_ascii=False, indent=2))
        return
    _show_scores(variant, measurement)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="RUN:RUNG, or RUN for its pick.")],
    b: Annotated[str, typer.Argument(metavar="B")],
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[C]...", help="Others: every pair is compared, corrected for their number.")
    ] = None,
    show: Annotated[int, typer.Option("--show", metavar="N", min=0, help="How many of the items won and lost to print.")] = 5,
    as_json: Json = False,
) -> None:
    """Two variants or more on the same rows: how they differ, with paired tests."""
    from tuneladder import api
    from tuneladder.store import freeze

    if more:
        _compare_all([a, b, *more], as_json)
        return
    found = api.compare(a, b)
    if as_json:
        print(json.dumps(freeze(found), ensure_ascii=False, indent=2))
        return
    page = _page()
    if apart := found.difference:
        page.print(
            f"{apart.metric} of {b} less that of {a}, on {apart.count} rows: {apart.value:+.3f} ({apart.low:+.3f} to "
            f"{apart.high:+.3f}), p = {apart.p:.3g} by paired bootstrap",
            markup=False,
        )
    contest = found.contest
    if contest is None:
        return
    page.print(
        f"{a} and {b} on {contest.both + contest.neither + len(contest.won) + len(contest.lost)} rows: both right {contest.both}, "
        f"neither {contest.neither}, only the first {len(contest.won)}, only the second {len(contest.lost)}; "
        f"{contest.test} = {contest.p:.3g}",
        markup=False,
    )
    page.print(_needed(contest.needed), markup=False)
    for title, items in ((f"won by {a}", contest.won), (f"lost to {b}", contest.lost)):
        if items and show:
            page.print(f"\n{title}", markup=False, style="bold")
        for first, second in items[:show]:
            said = f"  {first.id}  {first.answer.text} / {second.answer.text} (right: {first.reference})  {first.input}"
            page.print(" ".join(said.split()), markup=False, overflow="ellipsis", no_wrap=True)


@app.command()
def chat(
    variant: Annotated[
        str,
        typer.Argument(metavar="VARIANT", help="RUN:RUNG, RUN for its pick, a folder, a pocket base, a hub id, or an address."),
    ],
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="The model, where VARIANT is an address.")] = "",
    key_env: Annotated[
        str, typer.Option("--key-env", metavar="NAME", help="The environment variable with the address's key [OPENAI_API_KEY].")
    ] = "",
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help="The system prompt.")] = None,
    max_new_tokens: Annotated[
        str | None, typer.Option("--max-new-tokens", metavar="N", help="The most tokens of an answer.")
    ] = None,
    temperature: Annotated[str | None, typer.Option("--temperature", metavar="T", help="0 takes the likeliest token.")] = None,
    top_k: Annotated[str | None, typer.Option("--top-k", metavar="K", help="Draw from the k likeliest tokens; 0 is off.")] = None,
    top_p: Annotated[
        str | None, typer.Option("--top-p", metavar="P", help="Draw from the fewest tokens that reach p together; 1 is off.")
    ] = None,
    repetition: Annotated[
        str | None, typer.Option("--repetition", metavar="R", help="Above 1, what was said becomes less likely.")
    ] = None,
    stop: Annotated[list[str] | None, typer.Option("--stop", metavar="TEXT", help="Ends an answer (may be given again).")] = None,
    seed: Annotated[str | None, typer.Option("--seed", metavar="N", help="The same seed draws the same answer.")] = None,
    history: Annotated[
        bool | None,
        typer.Option(
            "--history/--alone",
            help="Ask after all that was said, or each question alone, which is what most tasks' rungs were made for.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per answer.")] = False,
) -> None:
    """Talk to a variant, and look into it: /tokens, /next, /shots. Without a terminal, a line in is an answer out."""
    from tuneladder.chat.settings import read
    from tuneladder.chat.settings import stop as stop_of

    given = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    given |= {"repetition": repetition, "seed": seed}
    settings = {name: read(name, text) for name, text in given.items() if text is not None}
    if stop:
        settings["stop"] = tuple(stop_of(text) for text in stop)
    with ExitStack() as stack:
        with talk.status(f"opening {variant}"):
            from tuneladder import api
            from tuneladder.chat.loop import hold

            held = stack.enter_context(api.chat(variant, model=model, key_env=key_env, history=history))
        held.settle(system, settings)
        code = hold(held, aside=talk, refuse=_error, as_json=as_json)
    if code:
        raise typer.Exit(code)


@app.command()
def disagreements(
    variant: Annotated[str, typer.Argument(metavar="VARIANT", help="RUN:RUNG, or RUN for its pick.")],
    adjudicated: Annotated[
        Path | None,
        typer.Option("--adjudicated", metavar="FILE", help="The CSV with its column `right` filled: references to correct."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where the page and the CSV go [the run's folder disagreements].")
    ] = None,
    as_json: Json = False,
) -> None:
    """Where a rung's labels and the references differ, and which to doubt."""
    from tuneladder import api
    from tuneladder.ladder import words as say
    from tuneladder.ladder.review import sorts
    from tuneladder.store import freeze

    with talk.status(f"looking at the disagreements of {variant}"):
        found = api.disagreements(variant, adjudicated=adjudicated, out=out)
    if as_json:
        print(json.dumps(freeze(found), ensure_ascii=False, indent=2))
        return
    page = _page(soft_wrap=True)
    page.print(f"{len(found.rows):,} of {say.count(found.count, 'answer')} differ from the reference", markup=False)
    for sort, count in sorts(found).items():
        page.print(f"  {sort:<22} {count:>6,}", markup=False)
    if found.ruled:
        page.print(f"{say.count(len(found.ruled), 'reference')} ruled on, {found.changed:,} changed", markup=False)
        for rung, own in found.rungs.items():
            before, after = say.scored(own.before), say.scored(own.after)
            counted = say.count(own.after.count, "row")
            page.print(f"  {rung}: {say.metric_name(own.metric)} {before} before, {after} after, {counted}", markup=False)
        page.print("  rows on which answer and reference agree were not ruled on: the score after flatters the model", style="dim")
    talk.print(f"to read and rule on: {found.page}; as a table: {found.table}", markup=False, soft_wrap=True)
    if not found.ruled:
        talk.print(
            f"fill its column `right`, and hand it in: tuneladder disagreements {variant} --adjudicated FILE",
            markup=False,
            soft_wrap=True,
        )


@app.command()
def sample(
    prompts: Annotated[
        str, typer.Argument(metavar="PROMPTS", help="Rows of `prompt` (a text or messages), and `item` if they have names.")
    ],
    by: Annotated[
        list[str] | None, typer.Option("--by", metavar="VARIANT", help="Who answers, as `chat` names one (may be given again).")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the JSON lines go.")] = Path("items.jsonl"),
    samples: Annotated[int, typer.Option("--samples", metavar="N", min=1, help="Answers of each to a prompt.")] = 2,
    temperature: Annotated[float, typer.Option("--temperature", metavar="T", min=0, help="0 takes the likeliest token.")] = 1.0,
    tokens: Annotated[int, typer.Option("--tokens", metavar="N", min=1, help="The most tokens of an answer.")] = 256,
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=0, help="The first so many prompts; 0 is all.")] = 0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="The same seed draws the same answers.")] = 0,
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="The model, where VARIANT is an address.")] = "",
    key_env: Annotated[
        str, typer.Option("--key-env", metavar="NAME", help="The environment variable with the address's key [OPENAI_API_KEY].")
    ] = "",
    as_json: Json = False,
) -> None:
    """Draw answers for people to judge: every prompt, with some by each variant."""
    from tuneladder import api
    from tuneladder.ladder import words as say

    writers = by or []
    with talk.status(f"{' and '.join(writers) or 'nobody'} answers"):
        found = api.sample(
            prompts,
            writers,
            out,
            samples=samples,
            temperature=temperature,
            tokens=tokens,
            rows=rows,
            seed=seed,
            model=model,
            key_env=key_env,
        )
    answers = sum(len(item.answers) for item in found.items)
    if as_json:
        print(json.dumps({"file": str(out), "items": len(found.items), "answers": answers, "left_out": found.left_out}, indent=2))
        return
    said = f"{out}: {say.count(len(found.items), 'item')}, {say.count(answers, 'answer')} that differ"
    _page(soft_wrap=True).print(said, markup=False)
    if found.left_out:
        talk.print(f"{say.count(found.left_out, 'prompt')} left out: the same was said each time", markup=False)
    if alone := sum(len(item.answers) < 2 for item in found.items):
        talk.print(f"{say.count(alone, 'item')} of one answer: it can be scored or labelled, not chosen", markup=False)


@app.command()
def agreement(
    file: Judgements,
    column: Columns = None,
    criterion: Criterion = "",
    level: Annotated[
        str | None,
        typer.Option("--level", metavar="L", help="How values differ: nominal, ordinal or interval [interval where numbers]."),
    ] = None,
    rubric: Guidelines = None,
    items: Annotated[
        str, typer.Option("--items", metavar="FILE", help="What was judged: choices are measured on pairs of an item's answers.")
    ] = "",
    disputes: Annotated[
        Path | None, typer.Option("--disputes", metavar="CSV", help="Write the items in dispute there, to be settled.")
    ] = None,
    settled: Annotated[
        Path | None, typer.Option("--settled", metavar="CSV", help="Such a file, settled: its items have a right value.")
    ] = None,
    show: Annotated[int, typer.Option("--show", metavar="N", min=0, help="How many labelers and judgements to print.")] = 10,
    as_json: Json = False,
) -> None:
    """How far labelers agree, who stands out and why, and which judgements to look at again."""
    from tuneladder import api
    from tuneladder.ladder.agreed import agreement_page, change_line, left_out
    from tuneladder.store import freeze

    named = _columns(column)
    with talk.status(f"reading {file}"):
        agreed = api.agreement(
            file,
            columns=named,
            criterion=criterion,
            level=level,
            rubrics=rubric or (),
            items=items or None,
            disputes=disputes,
            settled=settled,
        )
    if as_json:
        print(json.dumps({"rubrics": freeze(agreed.found), "changes": freeze(agreed.changes)}, ensure_ascii=False, indent=2))
        return
    for note in left_out(agreed.read):
        talk.print(note, markup=False)
    page = _page(soft_wrap=True)
    for number, each in enumerate(agreed.found):
        if number:
            page.print()
        for part in agreement_page(each, show=show):
            page.print(part)
    for change in agreed.changes:
        page.print(f"\n{change_line(change)}", markup=False)
    if disputes:
        talk.print(f"written to {disputes}: fill its columns `right` and `why`, and hand it in with --settled", markup=False)


@app.command()
def pairs(
    file: Judgements,
    items: Annotated[
        str, typer.Argument(metavar="ITEMS", help="What was judged: item, prompt, and answers by the names that judgements use.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the JSON lines go.")] = Path("pairs.jsonl"),
    column: Columns = None,
    criterion: Criterion = "",
    rubric: Guidelines = None,
    scores: Annotated[bool, typer.Option("--scores", help="The answers with their mean scores, and not as pairs.")] = False,
    at_least: Annotated[
        float, typer.Option("--at-least", metavar="X", min=0, help="How far apart two scores are, or else they are tied.")
    ] = 0.0,
    without: Annotated[
        list[str] | None, typer.Option("--without", metavar="LABELER", help="Whose judgements do not count (may be given again).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn judgements into what is learned: the chosen of two answers with its weight and margin, or answers with their scores."""
    from tuneladder import api
    from tuneladder.ladder import words as say
    from tuneladder.ladder.agreed import pairs_line

    if scores and at_least:
        raise BadInput("--at-least is given with --scores", "only pairs are so far apart")
    named, left, guides = _columns(column), without or (), rubric or ()
    with talk.status(f"reading {file}"):
        if scores:
            rated = api.scores(file, items, out, columns=named, criterion=criterion, rubrics=guides, leave_out=left)
            facts, line = {"answers": len(rated)}, say.count(len(rated), "answer")
        else:
            found = api.pairs(
                file, items, out, columns=named, criterion=criterion, rubrics=guides, at_least=at_least, leave_out=left
            )
            facts = {"comparisons": len(found.comparisons), "tied": found.tied, "failed": found.failed, "alike": found.alike}
            line = pairs_line(found)
    if as_json:
        print(json.dumps({"file": str(out), **facts}, ensure_ascii=False, indent=2))
    else:
        _page(soft_wrap=True).print(f"{out}: {line}", markup=False)


@studio.command()
def label(
    file: Annotated[
        Path,
        typer.Argument(metavar="LABELLING", help="The YAML file that names items, rubric and labelers (docs/guides/labelling.md)."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where the secret, the rubrics and labels.db lie [runs/NAME].")
    ] = None,
    store: Annotated[str, typer.Option("--store", metavar="URL", help="Another SQLite file, or postgresql://USER@HOST/NAME.")] = "",
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where to listen; nobody reaches the default but from this machine.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option("--port", metavar="N", help="0 takes a free one.")] = 8250,
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="What links begin with, where that is not http://HOST:PORT.")
    ] = "",
    behind: Annotated[
        str,
        typer.Option("--behind", metavar="ADDRESS", help="The proxy's address: who asks is whom its X-Forwarded-For names."),
    ] = "",
    new_links: Annotated[bool, typer.Option("--new-links", help="Give every labeler a new link; the old ones are closed.")] = False,
    as_json: Json = False,
) -> None:
    """Serve the pages on which people judge answers, and the owner's page. Their links go to stdout."""
    with talk.status(f"opening {file}"):
        from tuneladder.studio.serve import open_studio
    with open_studio(file, out=out, store=store, host=host, port=port, url=url, behind=behind, new_links=new_links) as opened:
        if as_json:
            print(json.dumps({"owner": f"{opened.url}/owner", "password": opened.password, "links": opened.links}), flush=True)
        else:
            for name, link in opened.links.items():
                print(f"{name}  {link}", flush=True)
        talk.print(f"the owner's page: {opened.url}/owner", markup=False, soft_wrap=True)
        if opened.password and not as_json:
            talk.print(f"its password, until this is stopped: {opened.password}", markup=False, soft_wrap=True)
        talk.print(f"judgements are kept in {opened.judgements}; Ctrl-C stops", markup=False, soft_wrap=True)
        opened.serve()


@studio.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="LABELLING", help="The YAML file of a labelling that was begun.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who comes later.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where its labels.db lies [runs/NAME].")] = None,
    store: Annotated[str, typer.Option("--store", metavar="URL", help="Another SQLite file, or postgresql://USER@HOST/NAME.")] = "",
    url: Annotated[str, typer.Option("--url", metavar="URL", help="What the link begins with [http://127.0.0.1:8250].")] = "",
    as_json: Json = False,
) -> None:
    """Add a labeler to a labelling that was begun, while it is served or not. They take over their share of what nobody has begun;
    their link goes to stdout."""
    from tuneladder.ladder import words as say
    from tuneladder.studio.serve import add_to

    found = add_to(file, name, out=out, store=store, url=url)
    if as_json:
        print(json.dumps({"link": found.link, "taken": found.taken}, ensure_ascii=False, indent=2))
        return
    print(f"{name.strip()}  {found.link}")
    taken = ", ".join(f"{count:,} of {giver}" for giver, count in found.taken.items())
    talk.print(f"{name.strip()} takes over {say.count(sum(found.taken.values()), 'item')}: {taken}", markup=False, soft_wrap=True)


@app.command()
def judge(
    a: Annotated[str, typer.Argument(metavar="[A]", help="RUN:RUNG, or RUN for its pick: each of its answers gets a mark.")] = "",
    b: Annotated[str, typer.Argument(metavar="[B]", help="Another, to say of each answer which of the two is better.")] = "",
    by: Annotated[
        str, typer.Option("--by", metavar="JUDGE", help="Who judges: a variant as `chat` names one, a base, or an address.")
    ] = "",
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="The model, where JUDGE is an address.")] = "",
    key_env: Annotated[
        str, typer.Option("--key-env", metavar="NAME", help="The environment variable with the address's key [OPENAI_API_KEY].")
    ] = "",
    questions: Annotated[
        str, typer.Option("--questions", metavar="FILE", help="Ask A and B these, instead of reading their kept answers.")
    ] = "",
    people: Annotated[
        str, typer.Option("--people", metavar="FILE", help="What people said of answers: how often does the judge say the same?")
    ] = "",
    pairs: Annotated[int, typer.Option("--pairs", metavar="N", min=1, help="The most pairs of FILE to judge.")] = 100,
    rubric: Annotated[str | None, typer.Option("--rubric", metavar="TEXT", help="What makes an answer good.")] = None,
    rank: Annotated[
        bool, typer.Option("--rank", help="Rank the verdicts instead of writing them: for judges that write badly.")
    ] = False,
    reasons: Annotated[bool, typer.Option("--reasons", help="Show the judge the reasons of answers that have one, too.")] = False,
    tokens: Annotated[int, typer.Option("--tokens", metavar="N", min=1, help="The most tokens of a reply.")] = 512,
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=0, help="The first so many answers; 0 is all.")] = 0,
    as_json: Json = False,
) -> None:
    """Answers judged by a model, in both orders, and how often it agrees with people."""
    from tuneladder import api
    from tuneladder.evaluate.verdicts import Judge
    from tuneladder.ladder import words as say
    from tuneladder.store import freeze

    if not by:
        raise BadInput("nobody is named to judge", "--by VARIANT, or an address with --model NAME")
    with talk.status(f"{by} judges"):
        found = api.judge(
            a,
            b,
            by=by,
            model=model,
            key_env=key_env,
            questions=questions,
            people=people,
            pairs=pairs,
            rank=rank,
            reasons=reasons,
            tokens=tokens,
            rows=rows,
            rubric=Judge.rubric if rubric is None else rubric,
        )
    if as_json:
        print(json.dumps(freeze(found), ensure_ascii=False, indent=2))
        return
    page = _page(soft_wrap=True)
    for line in say.verdicts(found.judged, a) if found.judged else ():
        page.print(line, markup=False)
    page.print(say.agreement(found.agreement), markup=False)
    if found.judged and (cost := say.cost(found.judged.spent)):
        page.print(cost, markup=False, style="dim")


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine and installation can do."""
    from tuneladder.model.doctor import examine

    facts = examine()
    if as_json:
        print(json.dumps([{"what": what, "fact": fact, "good": good} for what, fact, good in facts], indent=2))
        return
    for what, fact, good in facts:
        _page().print(f"{'ok  ' if good else 'note'}  {what:<22} {fact}", markup=False)


def main() -> None:
    """The entry point: every refusal is a sentence and a hint, never a traceback."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    _quiet()
    signal.signal(signal.SIGTERM, _asked_to_end)
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="tuneladder", standalone_mode=False)
    except UsageError as error:
        code = _usage(error)
    except KeyboardInterrupt:
        code = STOPPED
    except TuneladderError as error:
        _error(error)
        code = error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # the door: what nobody foresaw is said in a line; TUNELADDER_TRACE=1 shows where
        if os.environ.get("TUNELADDER_TRACE"):
            raise
        _error(
            TuneladderError(f"{type(error).__name__}: {error}", "this is ours to fix; TUNELADDER_TRACE=1 shows where it happened")
        )
        code = 3
    if code == STOPPED:  # typer makes an exit code of a Ctrl-C
        talk.print("stopped; what is finished is kept, and the same command goes on from there")
    sys.exit(code or 0)


def _version(value: bool) -> None:
    if value:
        print(f"tuneladder {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def _usage(error: Any) -> int:
    from pydantic import ValidationError

    name = error.message.partition("'")[2].partition("'")[0]
    if error.message.startswith("No such command"):
        _error(unknown("command", name, error.ctx.command.list_commands(error.ctx), HINTS.get(name, "")))
    else:
        command = error.ctx.command_path if error.ctx else "tuneladder"
        said = BadInput(error.format_message(), f"{command} --help")
        if isinstance(error.__cause__, ValidationError):
            first = error.__cause__.errors()[0]
            said = BadInput(f"{error.param.opts[0]} is {shown(first['input'])}", taken(first))
        _error(said)
    return 2


def _error(error: TuneladderError) -> None:
    talk.print("error:", style="bold red", end=" ")
    talk.print(error.message, markup=False, soft_wrap=True)
    if error.hint:
        talk.print(f"  hint: {error.hint}", markup=False, soft_wrap=True)


def _asked_to_end(number: int, frame: Any) -> None:
    """SIGTERM is as a Ctrl-C, which a shell's background job does not hear."""
    heard = signal.getsignal(signal.SIGINT)
    (heard if callable(heard) else signal.default_int_handler)(signal.SIGINT, frame)


def _quiet() -> None:
    """Libraries' warnings and progress bars are not ours to show; errors are."""
    import logging
    import warnings

    logging.getLogger("transformers").setLevel(logging.ERROR)
    libraries = r"(torch|transformers|peft|huggingface_hub)\..*"
    for category in (UserWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category, module=libraries)
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning,ignore::UserWarning")  # the children start anew


def _show_refused(foretold: Sequence[Foretold]) -> None:
    from rich.text import Text

    page = _page()
    for each in foretold:
        if each.refused:
            page.print(Text(f"{each.rung.name} is refused: {each.refused}", style="yellow"))


def _written(words: list[str] | None) -> Written:
    """The recipe, if the first word is one, under the others. Read before torch is imported: a misspelt key is said at once."""
    from tuneladder.written import read

    words = list(words or [])
    recipe = words.pop(0) if words and ("=" not in words[0] or Path(words[0]).is_file()) else None
    if stray := next((word for word in words if "=" not in word), None):
        raise BadInput(f"'{stray}' is neither a recipe nor key=value", "name one recipe; a rung is chosen with --rung")
    return read(recipe, words)


def _lying(recipe: dict[str, Any], place: str) -> dict[str, Any]:
    """The guessed recipe with its one file at `place`."""
    data = recipe["task"]["data"]
    return {**recipe, "task": {**recipe["task"], "data": place if isinstance(data, str) else [{**data[0], "data": place}]}}


def _say(result: Result) -> None:
    """A line for each rung where no terminal can show the table live."""
    if result.failure:
        talk.print(f"  {result.rung.name}: failed: {result.failure}", markup=False)
    elif result.dev:
        name, score = next(iter(result.dev.quality.items()))
        talk.print(
            f"  {result.rung.name}: {name} on dev {score.value:.3f} ({score.low:.3f} to {score.high:.3f}), "
            f"{result.alone.seconds:.1f} s",
            markup=False,
        )


def _watch(now: Now) -> Any:
    from contextlib import nullcontext

    from rich.live import Live

    if not talk.is_terminal:
        return nullcontext()
    return Live(get_renderable=lambda: _progress(now), console=talk, refresh_per_second=4, transient=True)


def _progress(now: Now) -> Any:
    """The rungs done, the one in hand with its steps and loss, and those that wait."""
    from rich.table import Table
    from rich.text import Text

    from tuneladder.ladder import words as say
    from tuneladder.train.loop import last_tick

    shown = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for result in now.results:
        score = next(iter(result.dev.quality.values())) if result.dev else None
        said = f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f}) on dev" if score else f"failed: {result.failure}"
        mark = Text("x", style="red") if result.failure else Text("v", style="green")
        shown.add_row(mark, Text(result.rung.name), Text(said), say.duration(result.alone.seconds))
    tick = last_tick(now.folder) if now.folder else None
    spent = time.monotonic() - now.since if now.since else 0.0
    if tick:
        left = tick.seconds / tick.step * (tick.of - tick.step)
        doing = f"{now.phase}: step {tick.step} of {tick.of}, loss {tick.loss:.3f}, {say.duration(left)} left"
    else:
        doing = now.phase
    shown.add_row(">", Text(now.rung, style="bold"), Text(doing), say.duration(spent))
    for each in now.waiting:
        shown.add_row("", Text(each.rung.name, style="dim"), Text(f"about {say.duration(each.cost.seconds)}", style="dim"), "")
    return shown


def _page(*, soft_wrap: bool = False) -> Console:
    """Where results are printed; what people wrote is not read for emojis or colours."""
    return Console(emoji=False, highlight=False, soft_wrap=soft_wrap)


def _show_report(report: Any, *, lint: bool) -> None:
    from tuneladder.task.lint import tables

    page = _page()
    if lint:
        for fact in (*report.facts, *tables(report)):
            page.print(fact, markup=False)
        for warning in report.warnings:
            page.print(f"note: {warning}", markup=False)
    for row in (report.row, *report.worded) if report.row else ():
        other = "one of another set or template" if report.sets else "one that another template asks"
        said = f"one row, as {report.reader} reads it" if row is report.row else other
        page.print(f"\n{said}; what is learned stands between [[ and ]]:", markup=False, style="dim")
        for piece in row:
            page.print(
                f"[[{piece.text}]]" if piece.learned else piece.text,
                markup=False,
                end="",
                style="bold green" if piece.learned else "",
            )
        page.print()


def _show_scores(variant: str, measurement: Measurement) -> None:
    from tuneladder.ladder import words as say

    page = _page()
    for name, score in measurement.quality.items():
        shown = say.metric_name(name) if name in measurement.judged else name
        page.print(
            f"{shown:<16} {score.value:.4f}  ({score.low:.4f} to {score.high:.4f}, {score.count} rows, {score.interval})",
            markup=False,
        )
    for note in measurement.notes:
        talk.print(f"note: {note}", markup=False, soft_wrap=True)
    _show_price(page, measurement.per_answer, f"{variant} through {measurement.engine}")


def _show_examination(found: Examination) -> None:
    from tuneladder.ladder import words as say

    page = _page()
    for at, own in enumerate(found.suites):
        asked = f"{say.count(own.prompt.shots, 'shot')}, template {own.prompt.template}, prompts {own.prompt.digest}"
        if at:
            page.print()
        page.print(own.suite, markup=False, style="bold", end="")
        page.print(f"  {own.data}; {asked}", markup=False, style="dim", soft_wrap=True)
        for name, score in own.scores.items():
            _show_score(page, name, score)
        for name, score in own.macro.items():
            _show_score(page, f"{name}, mean of {say.count(len(own.subjects), 'subject')}", score)
        for subject, scores in own.subjects.items():
            for name, score in scores.items():
                _show_score(page, f"  {subject}" if len(scores) == 1 else f"  {subject}, {name}", score)
        for note in own.notes:
            talk.print(f"note: {note}", markup=False, soft_wrap=True)
        _show_price(page, own.per_answer, f"{found.variant} through {own.engine}")
    for name, score in found.averages.items():
        page.print()
        _show_score(page, f"{name}, mean of its parts", score)


def _show_price(page: Console, one: Cost, who: str) -> None:
    from tuneladder.ladder import words as say

    tokens = [say.count(round(one.tokens), "token")] if one.tokens else []
    money = [f"{say.money(one.money)} of money"] if one.money else []
    parts = [f"{one.seconds * 1000:.1f} ms", *tokens, *money]
    page.print(f"{', '.join(parts)} an answer, {who}", markup=False, style="dim")


def _show_score(page: Console, name: str, score: Score) -> None:
    page.print(
        f"{name:<40} {score.value:.4f}  ({score.low:.4f} to {score.high:.4f}, {score.count:,} rows, {score.interval})",
        markup=False,
        soft_wrap=True,
    )


def _needed(items: int | None) -> str:
    if items is None:
        return "neither won more: no number of such items would tell them apart"
    return f"if they truly differ so much, {items:,} items would tell them apart four times in five (at p < 0.05)"


def _compare_all(variants: list[str], as_json: bool) -> None:
    from rich.table import Table

    from tuneladder import api
    from tuneladder.api import CORRECTION
    from tuneladder.ladder import words as say
    from tuneladder.store import freeze

    found = api.compare_all(variants)
    if as_json:
        print(json.dumps(freeze(found), ensure_ascii=False, indent=2))
        return
    page = _page()
    for number, variant in enumerate(variants, start=1):
        page.print(f"{number}  {variant}", markup=False)
    shown = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("pair", "difference", "p", "corrected", "won", "lost", "exact p", "corrected", "would need"):
        shown.add_column(name, justify="left" if name == "pair" else "right")
    for pair in found:
        assert pair.corrected
        apart, contest = pair.difference, pair.contest
        cells = [say.NONE] * 8
        if apart:
            cells[:3] = f"{apart.value:+.3f}", f"{apart.p:.3g}", f"{pair.corrected.difference:.3g}"
        if contest:
            cells[3:5] = f"{len(contest.won):,}", f"{len(contest.lost):,}"
            cells[5:7] = f"{contest.p:.3g}", f"{pair.corrected.contest:.3g}"
            cells[7] = f"{contest.needed:,}" if contest.needed else say.NONE
        shown.add_row(f"{variants.index(pair.a) + 1}, {variants.index(pair.b) + 1}", *cells)
    page.print(shown)
    metric = next((f" of {pair.difference.metric}" for pair in found if pair.difference), "")
    grouped = any(pair.contest and pair.contest.groups for pair in found)
    contests = "of swapping the two in whole prompts" if grouped else "McNemar's"
    page.print(
        f"difference{metric}: the second less the first, p by paired bootstrap; won: items that only the first has right; "
        f"exact p: {contests}; "
        f"corrected: for {say.count(len(found), 'comparison')} by {CORRECTION}'s method, each test by itself; would need: items "
        "that would tell the two apart four times in five, if they truly differ so much (at p < 0.05)",
        style="dim",
    )


def _columns(given: list[str] | None) -> dict[str, str]:
    if bare := next((each for each in given or [] if "=" not in each), None):
        raise BadInput(f"--column is {bare!r}", "write --column labeler=worker")
    return dict(each.partition("=")[::2] for each in given or [])


def _plan_base(base: str, batch: Mapping[str, int], as_json: bool) -> None:
    from tuneladder import api
    from tuneladder.ladder.bills import WIDTH, bill_facts, bill_page

    with talk.status(f"looking at {base}"):
        bill = api.bill(base, **batch)
    if as_json:
        print(json.dumps(bill_facts(bill), ensure_ascii=False, indent=2))
        return
    page = _page()
    page.width = min(WIDTH, page.width)
    for part in bill_page(bill, page):
        page.print(part)


def _plan_kind(kind: str, memory: str, batch: Mapping[str, int], as_json: bool) -> None:
    from tuneladder import api
    from tuneladder.ladder.bills import WIDTH, batch_of, suggestion_facts, suggestion_page
    from tuneladder.model.bill import LENGTH, ROWS
    from tuneladder.written import steps

    found = api.suggest(kind, memory, **batch)
    if as_json:
        print(json.dumps(suggestion_facts(found), ensure_ascii=False, indent=2))
        return
    page = _page()
    page.width = min(WIDTH, page.width)
    methods = {fit.method for each in found for fit in (each.cheapest, each.strongest)}
    meant = batch_of(batch.get("rows", ROWS), batch.get("length", LENGTH))
    for part in suggestion_page(found, batch=meant, strange=sorted(methods - set(steps()))):
        page.print(part)


def _plan_pretraining(given: Mapping[str, str | None], as_json: bool) -> None:
    from rich.table import Table

    from tuneladder import api
    from tuneladder.ladder import words as say
    from tuneladder.model.budget import FITTED
    from tuneladder.store import freeze

    laws, sized = api.budget(**given)
    if as_json:
        of = [{"family": each.base.family, "shape": each.base.settings, "parameters": each.base.parameters} for each in sized]
        costs = [{"predicted": freeze(each.cost)} for each in sized]
        print(json.dumps({"laws": freeze(laws), "shapes": [own | cost for own, cost in zip(of, costs, strict=True)]}, indent=2))
        return
    page = _page()
    shown = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("", "flops", "parameters", "tokens", "tokens a parameter", "loss"):
        shown.add_column(name, justify="right" if name else "left")
    for law in laws:
        figures = (f"{law.flops:.2e}", say.amount(law.parameters), say.amount(law.tokens), f"{law.tokens / law.parameters:.1f}")
        shown.add_row(law.law, *figures, f"{law.loss:.2f}")
    page.print(shown)
    for law in laws:
        page.print(f"{law.law}: {law.source}", style="dim")
    page.print("loss: what the fit foretells, in nats a token of the text that it was made on", style="dim")
    if not FITTED[0] <= laws[0].parameters <= FITTED[1]:
        seen = f"{say.amount(FITTED[0])} to {say.amount(FITTED[1])}"
        page.print(f"note: the runs behind both laws had {seen} parameters; outside they are carried on, not measured")
    page.print(f"\nshapes near {say.amount(laws[0].parameters)}, and `pretrain` on {say.amount(laws[0].tokens)} tokens here:")
    shapes = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("family", "layers", "width", "heads", "mlp", "vocab", "parameters", "memory", "time"):
        shapes.add_column(name, justify="left" if name == "family" else "right")
    for each in sized:
        base, cost = each.base, each.cost
        sizes = (base.settings[name] for name in ("layers", "width", "heads", "mlp", "vocabulary"))
        whole = (say.amount(base.parameters), say.size(cost.memory), say.duration(cost.seconds))
        shapes.add_row(base.family, *(f"{size:,}" for size in sizes), *whole)
    page.print(shapes)
