"""Our answers beside lm-eval's and transformers': items and tokens per second on the same model and the same prompts, in one run.

The model is a Llama of 135M parameters with random weights (30 layers, width 576, 9 heads, 3 key-value heads, vocabulary 49152);
a word is a token.

    few_shot   500 items of 28 to 68 words ranked over 4 labels of 1, 1, 2 and 3 tokens, after 8 fixed shots of about 50 tokens
    zero_shot  the same items without the shots
    writing    64 greedy tokens after each of 64 prompts of 16 to 128 words
    rollouts   the same after each of the first 32 of them: what a policy that learns from rewards writes at once

For each: both sides in fp32 on all items, their answers compared; the other side's grid of batch sizes and attentions in the dtype
that we choose here, its best kept; then its best and ours in turn, each run in a process of its own. lm-eval, whose seconds grow
evenly with the items, is timed on the first `--theirs` of them and ours on all. Both sides get a call on a few items first, which
is not timed.

Raw figures go to benchmarks/results/answering.json. `python benchmarks/answering.py --pairs 1 --items 40` is a rehearsal.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
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
    matmul_peak,
    now,
    options,
    race,
    same_scores,
    save_in_both,
    since,
    tell,
)

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results" / "answering.json"
WORKS = ("few_shot", "zero_shot", "writing", "rollouts")
SEED = 0
VOCABULARY, WIDTH, LAYERS, HEADS, KEYS, INNER = 49152, 576, 30, 9, 3, 1536
SHOTS, ITEMS = 8, 500
PROMPTS, NEW = {"writing": 64, "rollouts": 32}, 64
WARM_UP = 4  # items, or prompts, of the call that is not timed
END, UNKNOWN, ANSWER = "<|end|>", "<|unknown|>", "Answer:"
LABELS = ["w11", "w22", "w33 w34", "w44 w45 w46"]


def words(draw: random.Random, least: int, most: int) -> str:
    return " ".join(f"w{draw.randrange(VOCABULARY - 3)}" for _ in range(draw.randint(least, most)))


def rows(count: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The shots and the items, each a text and one of the labels."""
    draw = random.Random(SEED)
    shots = [{"text": words(draw, 38, 56), "label": LABELS[number % len(LABELS)]} for number in range(SHOTS)]
    return shots, [{"text": words(draw, 28, 68), "label": draw.choice(LABELS)} for _ in range(count)]


def prompts(work: str) -> list[str]:
    draw = random.Random(SEED + 1)
    return [words(draw, 16, 128) for _ in range(PROMPTS[work])]


def build(run: argparse.Namespace) -> Figures:
    """Save the model in fp32 and in bf16, with a tokenizer of one token a word."""
    names = [UNKNOWN, END, ANSWER, *(f"w{i}" for i in range(VOCABULARY - 3))]
    model, fast = llama(names, context=1024, seed=SEED)
    for layer in model.model.layers:
        # attention that looks at something: else a random model says one word again and again
        for module in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            module.weight.data.mul_(3)
    save_in_both(model, fast, run.folder)
    return {}


def rank_theirs(run: argparse.Namespace) -> Figures:
    """lm-eval as its documentation sets it up: a task in YAML, its Hugging Face backend."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model, tokenizer = load_saved(run.folder, run.dtype, run.attention)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=run.batch)
    shots, items = rows(run.items)
    seconds = (0.0, 0.0)
    asked: list[list[tuple[str, str]]] = []
    answer = lm.loglikelihood

    def timed(requests: Any, **options: Any) -> Any:
        nonlocal seconds
        asked.append([request.args for request in requests])
        begun = now()
        found = answer(requests, **options)
        seconds = since(begun)
        return found

    lm.loglikelihood = timed
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)

        def evaluate(few: list[dict[str, str]]) -> Any:
            """On rows of their own: data sets are cached by the names of their files."""
            own = place / str(len(few))
            own.mkdir()
            for name, lines in (("shots", shots), ("items", few)):
                (own / f"{name}.json").write_text("\n".join(map(json.dumps, lines)), "utf-8")
            task = {
                "task": f"bench{len(few)}",
                "dataset_path": "json",
                "dataset_kwargs": {
                    "data_files": {"train": str(own / "shots.json"), "test": str(own / "items.json")},
                    "cache_dir": str(place / "cache"),
                },
                "test_split": "test",
                "fewshot_split": "train",
                "fewshot_config": {"sampler": "first_n"},
                "output_type": "multiple_choice",
                "doc_to_text": f"{{{{text}}}}\n{ANSWER}",
                "doc_to_choice": LABELS,
                "doc_to_target": "label",
                "metric_list": [{"metric": "acc"}],
            }
            (own / "task.yaml").write_text(json.dumps(task), "utf-8")  # JSON is YAML
            return lm_eval.simple_evaluate(
                model=lm,
                tasks=[task["task"]],
                num_fewshot=SHOTS if run.work == "few_shot" else 0,
                task_manager=TaskManager(include_path=str(own), include_defaults=False),
                bootstrap_iters=0,
                log_samples=True,
            )

        evaluate(items[:WARM_UP])
        found = evaluate(items)
    samples = sorted(found["samples"][f"bench{len(items)}"], key=lambda sample: sample["doc_id"])
    scores = [[pair[0] for pair in sample["filtered_resps"]] for sample in samples]
    ids = [lm.tok_encode(before) + lm.tok_encode(after) for before, after in asked[-1][: len(LABELS)]]
    return answered(len(items), seconds, tokens=ids, answers=scores)


def rank_ours(run: argparse.Namespace) -> Figures:
    from tuneladder.model.ask import turns_of
    from tuneladder.types import Example, Prompt, Shots, Turn

    engine = engine_of(run)
    shots, items = (
        [Example(str(at), (Turn("user", row["text"]),), (row["label"],)) for at, row in enumerate(own)] for own in rows(run.items)
    )
    prompt = Prompt(ask="score", shots=Shots(SHOTS, "fixed", tuple(shots)) if run.work == "few_shot" else None)
    asks = [turns_of(prompt, item) for item in items]
    engine.score(asks[:WARM_UP], [LABELS] * WARM_UP)
    begun = now()
    scores = engine.score(asks, [LABELS] * len(asks))
    seconds = since(begun)
    ids = [engine.coder.encode(asks[0], label, close=False).ids for label in LABELS]
    return answered(len(items), seconds, tokens=ids, answers=scores)


def write_theirs(run: argparse.Namespace) -> Figures:
    """transformers' `generate`, the prompts sorted by length so that little is padded."""
    import torch

    model, tokenizer = load_saved(run.folder, run.dtype, run.attention)
    tokenizer.padding_side = "left"
    texts = [f"{text}\n{ANSWER}" for text in prompts(run.work)]
    order = sorted(range(len(texts)), key=lambda at: -len(texts[at].split()))
    written: list[list[int]] = [[]] * len(texts)

    def answer(batch: list[int], new: int) -> None:
        inputs = tokenizer([texts[at] for at in batch], return_tensors="pt", padding=True)
        with torch.no_grad():
            out = model.generate(**inputs, max_new_tokens=new, do_sample=False)
        for at, row in zip(batch, out[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            written[at] = row

    answer(order[: run.batch], WARM_UP)
    begun = now()
    for start in range(0, len(order), run.batch):
        answer(order[start : start + run.batch], NEW)
    seconds = since(begun)
    ids = [tokenizer(text)["input_ids"] for text in texts]
    return answered(len(texts) * NEW, seconds, tokens=ids, answers=[tokenizer.decode(row) for row in written])


def write_ours(run: argparse.Namespace) -> Figures:
    from tuneladder.types import Decoding, Turn

    engine = engine_of(run)
    asks = [(Turn("user", text),) for text in prompts(run.work)]
    engine.generate(asks, Decoding(max_new_tokens=WARM_UP))
    engine.calls.new_tokens = 0
    begun = now()
    written = engine.generate(asks, Decoding(max_new_tokens=NEW))
    seconds = since(begun)
    assert engine.calls.new_tokens == len(asks) * NEW, "a text ended early: the two sides do not do the same work"
    ids = [engine.coder.encode(turns).ids for turns in asks]
    return answered(len(asks) * NEW, seconds, tokens=ids, answers=[samples[0] for samples in written])


def useful(work: str, items: int) -> float:
    """Floating-point operations that the answers need, nothing computed twice: two for each weight and token, the head where a
    token is read from, the products of attention. The same for both sides, whatever they compute."""
    body = LAYERS * (2 * WIDTH * WIDTH + 2 * WIDTH * WIDTH * KEYS // HEADS + 3 * WIDTH * INNER)
    head = VOCABULARY * WIDTH

    def read(before: int, tokens: int) -> int:
        """`tokens` after `before` others, each of which attends to itself and all before it."""
        return 2 * body * tokens + 4 * LAYERS * WIDTH * (tokens * before + tokens * (tokens + 1) // 2)

    if work in PROMPTS:
        lengths = [len(text.split()) + 1 for text in prompts(work)]
        return float(sum(read(0, length + NEW - 1) + 2 * head * NEW for length in lengths))
    shots, asked = rows(items)
    shared = sum(len(row["text"].split()) + 1 + len(row["label"].split()) for row in shots) if work == "few_shot" else 0
    total = read(0, shared)
    sizes = [len(label.split()) for label in LABELS]
    for row in asked:
        own = len(row["text"].split()) + 1
        total += read(shared, own) + sum(read(shared + own, size - 1) for size in sizes)
        total += 2 * head * (1 + sum(size - 1 for size in sizes))
    return float(total)


def same_answers(work: str, theirs: list[Any], ours: list[Any]) -> Figures:
    if work in PROMPTS:
        return {"count": len(ours), "alike": sum(a == b for a, b in zip(theirs, ours, strict=True))}
    return same_scores(theirs, ours)


def compare(work: str, folder: Path, run: argparse.Namespace) -> Figures:
    theirs, ours = both(HERE, work, folder, run.compared)
    count = min(len(theirs["tokens"]), len(ours["tokens"]))
    assert theirs["tokens"][:count] == ours["tokens"][:count], "the two sides do not read the same tokens"
    found = same_answers(work, theirs["answers"], ours["answers"])
    tell(work, found)
    return found | {"theirs_per_second": theirs["per_second"], "ours_per_second": ours["per_second"]}


def climb(work: str, folder: Path, top: Figures, run: argparse.Namespace) -> Figures:
    """The race, with what share of the machine's peak each side uses."""
    writing = work in PROMPTS
    batches, unit = ((8, 16, 32, 64), "tokens") if writing else ((1, 4, 8, 16, 32), "items")
    found = race(HERE, work, folder, top["dtype"], run, batches=batches, unit=unit)
    per = useful(work, run.items) / (PROMPTS[work] * NEW if writing else run.items)
    found["summary"]["useful_flops_each"] = per
    for name in ("theirs", "ours"):
        own = [row for row in found["runs"] if row["contestant"] == name]
        rate = statistics.median(row["per_second"] for row in own)
        found["summary"][name] = {
            "per_second": rate,
            "peak_bytes": max(row["peak_bytes"] for row in own),
            "share_of_matmul_peak": rate * per / top["matmul_flops"],
        }
    return found


def main() -> None:
    parser = options(__doc__, works=WORKS, items=ITEMS, results=RESULTS)
    parser.add_argument(
        "--compared", type=int, default=ITEMS, help="those of the items on which both sides' answers in fp32 are compared"
    )
    run = parser.parse_args()
    if as_child(run, CHILDREN):
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        contestant(HERE, "build", folder=folder)
        top: Figures = {} if run.only == "answers" else contestant(HERE, "matmul")
        halves(
            run,
            lambda: {**machine("torch", "transformers", "lm_eval"), **top},
            lambda work: compare(work, folder, run),
            lambda work: climb(work, folder, top, run),
        )


def multiply(run: argparse.Namespace) -> Figures:
    from tuneladder.model.hardware import computed_in

    dtype = computed_in("cpu")
    return {"dtype": dtype, "matmul_flops": matmul_peak(dtype)}


CHILDREN: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "build": build,
    "matmul": multiply,
    "theirs": lambda run: (write_theirs if run.work in PROMPTS else rank_theirs)(run),
    "ours": lambda run: (write_ours if run.work in PROMPTS else rank_ours)(run),
}


if __name__ == "__main__":
    main()
