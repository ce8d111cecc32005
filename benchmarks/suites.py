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
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pairs import (
    Figures,
    answered,
    as_child,
    both,
    contestant,
    engine_of,
    halves,
    llama,
    load_saved,
    machine,
    now,
    options,
    race,
    same_scores,
    save_in_both,
    since,
    task_over,
    tell,
)

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


def build(run: argparse.Namespace) -> Figures:
    """Save the model in fp32 and in bf16, with a tokenizer of one token a word."""
    names = ["<|unknown|>", "<|end|>", *SAID, *(f"w{at}" for at in range(VOCABULARY - len(SAID) - 2))]
    model, fast = llama(names, context=CONTEXT)
    if run.tiny:
        from transformers import LlamaForCausalLM

        model = LlamaForCausalLM(narrow(model.config))
    for layer in model.model.layers:
        # attention that looks at something, else every item has nearly the same answer
        for module in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            module.weight.data.mul_(3)
    save_in_both(model, fast, run.folder)
    return {}


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
    return answered(run.items, (wall, processor), tokens=[], answers=scores)


def subjects(work: str) -> tuple[str | None, ...]:
    return SUBJECTS if work == "mmlu" else (None,)


def task(work: str, place: Path, subject: str | None, shown: list[Any], items: list[Any]) -> dict[str, Any]:
    """lm-eval's task over these rows."""
    place.mkdir()
    files = {}
    for split, own in (("shown", shown), ("test", items)):
        if own:
            files[split] = str(place / f"{split}.json")
            Path(files[split]).write_text("\n".join(map(json.dumps, own)), "utf-8")
    name = "mmlu/default/mmlu_abstract_algebra" if work == "mmlu" else "hellaswag/hellaswag"
    config = task_over(
        name, f"bench_{place.parent.name}_{place.name}", files, place.parent.parent / "cache", shots=SHOTS if shown else 0
    )
    lead = LEAD.format(subject) if subject else ""
    return {**config, "fewshot_split": "shown" if shown else None, "description": lead}


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
    return answered(run.items, seconds, tokens=[], answers=[list(said.scores) for said in sitting.said])


def compare(work: str, folder: Path, run: argparse.Namespace) -> Figures:
    """In fp32, item by item."""
    theirs, ours = both(HERE, work, folder, run.theirs)
    found = same_scores(theirs["answers"], ours["answers"])
    tell(work, found)
    return found


def race_of(work: str, folder: Path, dtype: str, run: argparse.Namespace) -> Figures:
    found = race(HERE, work, folder, dtype, run, batches=(1, 4, 8, 16))
    found["summary"]["wanted"] = WANTED
    return found


def main() -> None:
    parser = options(__doc__, works=WORKS, items=240, results=RESULTS)
    parser.add_argument("--tiny", action="store_true", help="two layers, for a rehearsal")
    run = parser.parse_args()
    if as_child(run, CHILDREN):
        return
    if min(run.items, run.theirs, run.grid) <= WARM_UP:
        parser.error(f"--items, --theirs and --grid are more than the {WARM_UP} that are not timed")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        contestant(HERE, "build", folder=folder, tiny=run.tiny)
        dtype = contestant(HERE, "dtype")["dtype"]
        halves(
            run,
            lambda: {**machine("torch", "transformers", "lm_eval"), "dtype": dtype, "tiny": run.tiny},
            lambda work: compare(work, folder, run),
            lambda work: race_of(work, folder, dtype, run),
        )


def chosen(run: argparse.Namespace) -> Figures:
    """The dtype that we choose here."""
    from tuneladder.model.hardware import computed_in

    return {"dtype": computed_in("cpu")}


CHILDREN: dict[str, Callable[[argparse.Namespace], Figures]] = {"build": build, "dtype": chosen, "theirs": theirs, "ours": ours}


if __name__ == "__main__":
    main()
