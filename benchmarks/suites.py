"""MMLU after five shots and HellaSwag beside lm-eval's own tasks of these names: items per second on the same model and the same
prompts, in one run.

The model is a Llama of 135M parameters with random weights, as in answering.py; a word is a token. The rows are random words of
about the lengths that the suites' own have:

    mmlu       items of four subjects, 40 to 120 words with their choices, after five shots of their subject
    hellaswag  items of 40 to 90 words with four endings of 12 to 32

For each: both sides in fp32 on the first `--theirs` items, their answers compared; lm-eval's batch sizes and attentions in the
dtype that we choose here, its best kept; then its best and ours in turn, each run in a process of its own. lm-eval, whose seconds
grow evenly with the items, is timed on the first `--theirs` of them and ours on all. Of lm-eval only the log-probabilities are
timed, of ours the prompts and the marks too; neither opens its model or reads its files in that time. Both get a call on a few
items first.

Raw figures go to benchmarks/results/suites.json. `python benchmarks/suites.py --tiny --pairs 1 --items 16 --theirs 8 --grid 8` is a
rehearsal on two narrow layers.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from answering import engine_of, figures, now, same_answers, since
from pairs import Figures, alternating, contestant, llama_135m, load_saved, machine, ratio, save_in_both, write

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results" / "suites.json"
WORKS = ("mmlu", "hellaswag")
VOCABULARY, CONTEXT = 49152, 1024
SUBJECTS = ("first", "second", "third", "fourth")
SHOTS, OPTIONS = 5, 4
WARM_UP = 4  # items of the call that is not timed, a subject each
WANTED = 5.0  # times faster than lm-eval
LETTERS = ["A", "B", "C", "D"]
SAID = [*LETTERS, *(f"{letter}." for letter in LETTERS), "Answer:"]
LEAD = "The following are multiple choice questions (with answers) about {}.\n\n"


def words(draw: random.Random, least: int, most: int) -> str:
    return " ".join(f"w{draw.randrange(VOCABULARY - len(SAID) - 2)}" for _ in range(draw.randint(least, most)))


def rows(work: str, count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The shots and the items, in the columns of the hub's sets; the subjects take turns."""
    draw = random.Random(0)
    if work == "hellaswag":
        return [], [
            {
                "activity_label": words(draw, 1, 3),
                "ctx_a": words(draw, 40, 90),
                "ctx_b": "",
                "endings": [words(draw, 12, 32) for _ in range(OPTIONS)],
                "label": str(draw.randrange(OPTIONS)),
            }
            for _ in range(count)
        ]

    def exam(subject: str) -> dict[str, Any]:
        choices = [words(draw, 1, 14) for _ in range(OPTIONS)]
        return {"subject": subject, "question": words(draw, 30, 70), "choices": choices, "answer": draw.randrange(OPTIONS)}

    shots = [exam(subject) for subject in SUBJECTS for _ in range(SHOTS)]
    return shots, [exam(SUBJECTS[number % len(SUBJECTS)]) for number in range(count)]


def build(run: argparse.Namespace) -> None:
    """Save the model in fp32 and in bf16, with a tokenizer of one token a word."""
    names = ["<|unknown|>", "<|end|>", *SAID, *(f"w{at}" for at in range(VOCABULARY - len(SAID) - 2))]
    model, fast = llama_135m(names, context=CONTEXT)
    if run.tiny:
        from transformers import LlamaForCausalLM

        model = LlamaForCausalLM(narrow(model.config))
    for layer in model.model.layers:
        # attention that looks at something, else every item has nearly the same answer
        for module in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            module.weight.data.mul_(3)
    save_in_both(model, fast, run.folder)


def narrow(config: Any) -> Any:
    config.num_hidden_layers, config.layer_types = 2, None
    return config


def theirs(run: argparse.Namespace) -> Figures:
    """lm-eval by its own tasks, one a subject, whose rows are read from files: its Hugging Face backend, whose seconds are those of
    its log-probabilities."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model, tokenizer = load_saved(run.folder, run.dtype, run.attention)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=run.batch)
    shots, items = rows(run.work, run.items)
    spent: list[tuple[float, float]] = []
    answer = lm.loglikelihood

    def timed(requests: Any, **options: Any) -> Any:
        begun = now()
        found = answer(requests, **options)
        spent.append(since(begun))
        return found

    lm.loglikelihood = timed
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)

        def evaluate(count: int) -> list[Any]:
            """The log-probabilities of the options of the first `count` items."""
            own = place / str(count)
            own.mkdir()
            numbers = [[at for at in range(count) if items[at].get("subject") == subject] for subject in subjects(run.work)]
            for number, (subject, at) in enumerate(zip(subjects(run.work), numbers, strict=True)):
                shown = [row for row in shots if row["subject"] == subject]
                config = task(run.work, own / f"{number}", subject, shown, [items[each] for each in at])
                (own / f"{number}.yaml").write_text(json.dumps(config), "utf-8")  # JSON is YAML
            names = [f"bench_{count}_{number}" for number in range(len(numbers))]
            manager = TaskManager(include_path=str(own), include_defaults=False)
            found = lm_eval.simple_evaluate(model=lm, tasks=names, task_manager=manager, bootstrap_iters=0, log_samples=True)
            scores: list[Any] = [None] * count
            for name, at in zip(names, numbers, strict=True):
                samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
                for each, sample in zip(at, samples, strict=True):
                    scores[each] = [pair[0] for pair in sample["filtered_resps"]]
            return scores

        evaluate(WARM_UP)
        spent.clear()
        scores = evaluate(run.items)
    wall, processor = (sum(each) for each in zip(*spent, strict=True))
    return figures(run.items, (wall, processor), tokens=[], answers=scores)


def subjects(work: str) -> tuple[str | None, ...]:
    return SUBJECTS if work == "mmlu" else (None,)


def task(work: str, place: Path, subject: str | None, shown: list[Any], items: list[Any]) -> dict[str, Any]:
    """lm-eval's task over these rows."""
    import lm_eval

    place.mkdir()
    files = {}
    for split, own in (("shown", shown), ("test", items)):
        if own:
            files[split] = str(place / f"{split}.json")
            Path(files[split]).write_text("\n".join(map(json.dumps, own)), "utf-8")
    name = "mmlu/default/mmlu_abstract_algebra" if work == "mmlu" else "hellaswag/hellaswag"
    return {
        "include": str(Path(lm_eval.__file__).parent / "tasks" / f"{name}.yaml"),
        "task": f"bench_{place.parent.name}_{place.name}",
        "tag": None,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files, "cache_dir": str(place.parent.parent / "cache")},
        "training_split": None,
        "validation_split": None,
        "test_split": "test",
        "fewshot_split": "shown" if shown else None,
        "num_fewshot": SHOTS if shown else 0,
        "description": LEAD.format(subject) if subject else "",
    }


def ours(run: argparse.Namespace) -> Figures:
    from tuneladder.evaluate.examine import examined
    from tuneladder.evaluate.questions import questions_of
    from tuneladder.evaluate.sitting import sit
    from tuneladder.evaluate.suite import find_suites

    engine = engine_of(run)
    [suite] = find_suites(run.work)
    shots, items = rows(run.work, run.items)
    with tempfile.TemporaryDirectory() as temporary:
        files = {}
        for name, own in (("shots", shots), ("items", items), ("warm", items[:WARM_UP])):
            files[name] = str(Path(temporary) / f"{name}.jsonl")
            Path(files[name]).write_text("\n".join(map(json.dumps, own)), "utf-8")
        shown = files["shots"] if shots else ""
        warm, asked = (questions_of(suite, data=files[name], shown=shown) for name in ("warm", "items"))
    sit(engine, warm)
    begun = now()
    sitting = sit(engine, asked)
    examined(sitting)
    seconds = since(begun)
    assert not any(sitting.dropped), "a prompt did not fit: the two sides do not do the same work"
    return figures(run.items, seconds, tokens=[], answers=[list(said.scores) for said in sitting.said])


def compare(work: str, folder: Path, run: argparse.Namespace) -> Figures:
    """In fp32, item by item."""
    theirs, ours = (
        contestant(HERE, side, work=work, folder=folder, dtype="float32", items=run.theirs) for side in ("theirs", "ours")
    )
    found = same_answers(work, theirs["answers"], ours["answers"])
    print(f"{work}: {found}", file=sys.stderr, flush=True)
    return found


def timed(side: str, work: str, folder: Path, dtype: str, items: int, **settings: Any) -> Figures:
    found = contestant(HERE, side, work=work, folder=folder, dtype=dtype, items=items, **settings)
    told = " ".join(str(value) for value in settings.values())
    print(f"{work:10}{side:7}{told:12}{found['per_second']:9.2f} items/s", file=sys.stderr, flush=True)
    return {**settings, **{name: found[name] for name in ("per_second", "seconds", "processor_seconds", "peak_bytes")}}


def race(work: str, folder: Path, dtype: str, run: argparse.Namespace) -> Figures:
    grid: list[Figures] = [
        timed("theirs", work, folder, dtype, run.grid, batch=batch, attention=attention)
        for batch in (1, 4, 8, 16)
        for attention in ("sdpa", "eager")
    ]
    best = max(grid, key=lambda row: row["per_second"])
    settings = {name: best[name] for name in ("batch", "attention")}
    contestants: dict[str, Callable[[], Figures]] = {
        "theirs": lambda: timed("theirs", work, folder, dtype, run.theirs, **settings),
        "ours": lambda: timed("ours", work, folder, dtype, run.items),
    }
    runs = alternating(run.pairs, contestants)
    ratios = {name: ratio(runs, figure) for name, figure in (("speed_ratio", "per_second"), ("memory_ratio", "peak_bytes"))}
    return {"summary": {"theirs_best": settings, "wanted": WANTED, "pairs": run.pairs, **ratios}, "grid": grid, "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--items", type=int, default=240, help="items that we answer")
    parser.add_argument("--theirs", type=int, default=24, help="those of them on which lm-eval is timed")
    parser.add_argument("--grid", type=int, default=8, help="those of them on which its settings are tried")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=WORKS)
    parser.add_argument("--only", choices=("answers", "speed"), help="one half: the comparison in fp32, or the timing")
    parser.add_argument("--tiny", action="store_true", help="two layers, for a rehearsal")
    parser.add_argument("--out", type=Path, default=RESULTS, help="what it holds of other works and halves is kept")
    parser.add_argument("--child", choices=("build", "dtype", "theirs", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, default={}, help=argparse.SUPPRESS)
    run = parser.parse_args()
    if run.child:
        own = {"attention": "sdpa", "batch": 8, **run.settings}
        if "folder" in own:
            own["folder"] = Path(own["folder"])
        print(json.dumps(answer_child(run.child, argparse.Namespace(**own))))
        return
    if min(run.items, run.theirs, run.grid) <= WARM_UP:
        parser.error(f"--items, --theirs and --grid are more than the {WARM_UP} that are not timed")
    found: dict[str, Any] = json.loads(run.out.read_text("utf-8")) if run.out.exists() else {}

    def keep(section: str, **entries: Any) -> None:
        found.setdefault(section, {}).update(entries)
        write(run.out, found)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        contestant(HERE, "build", folder=folder, tiny=run.tiny)
        dtype = contestant(HERE, "dtype")["dtype"]
        keep("machine", **machine("torch", "transformers", "lm_eval"), dtype=dtype, tiny=run.tiny)
        for work in run.works:
            if run.only != "speed":
                keep("answers", **{work: compare(work, folder, run)})
            if run.only != "answers":
                own = race(work, folder, dtype, run)
                keep("summary", **{work: own.pop("summary")})
                keep("speed", **{work: own})
    print(json.dumps({name: found.get(name) for name in ("summary", "answers")}, indent=1))


def answer_child(what: str, run: argparse.Namespace) -> Figures:
    """What a child process does."""
    if what == "build":
        build(run)
        return {}
    if what == "dtype":
        from tuneladder.model.hardware import has_bf16

        return {"dtype": "bfloat16" if has_bf16("cpu") else "float32"}
    return {"theirs": theirs, "ours": ours}[what](run)


if __name__ == "__main__":
    main()
