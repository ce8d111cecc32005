"""Our answers beside lm-eval's and transformers': items and tokens per second on the same model and the same prompts, in one run.

The model is a Llama of 135M parameters with random weights (30 layers, width 576, 9 heads, 3 key-value heads, vocabulary 49152);
a word is a token.

    few_shot   500 items of 28 to 68 words ranked over 4 labels of 1, 1, 2 and 3 tokens, after 8 fixed shots of about 50 tokens
    zero_shot  the same items without the shots
    writing    64 greedy tokens after each of 64 prompts of 16 to 128 words

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
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pairs import Figures, alternating, contestant, llama_135m, load_saved, machine, matmul_peak, peak, ratio, save_in_both, write

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results" / "answering.json"
WORKS = ("few_shot", "zero_shot", "writing")
SEED = 0
VOCABULARY, WIDTH, LAYERS, HEADS, KEYS, INNER = 49152, 576, 30, 9, 3, 1536
SHOTS, ITEMS = 8, 500
PROMPTS, NEW = 64, 64
WARM_UP = 4  # items, or prompts, of the call that is not timed
MARGIN = 1e-4  # answers whose margin is smaller may differ
END, UNKNOWN, ANSWER = "<|end|>", "<|unknown|>", "Answer:"
LABELS = ["w11", "w22", "w33 w34", "w44 w45 w46"]


def words(draw: random.Random, least: int, most: int) -> str:
    return " ".join(f"w{draw.randrange(VOCABULARY - 3)}" for _ in range(draw.randint(least, most)))


def rows(count: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The shots and the items, each a text and one of the labels."""
    draw = random.Random(SEED)
    shots = [{"text": words(draw, 38, 56), "label": LABELS[number % len(LABELS)]} for number in range(SHOTS)]
    return shots, [{"text": words(draw, 28, 68), "label": draw.choice(LABELS)} for _ in range(count)]


def prompts() -> list[str]:
    draw = random.Random(SEED + 1)
    return [words(draw, 16, 128) for _ in range(PROMPTS)]


def build(folder: Path) -> None:
    """Save the model in fp32 and in bf16, with a tokenizer of one token a word."""
    names = [UNKNOWN, END, ANSWER, *(f"w{i}" for i in range(VOCABULARY - 3))]
    model, fast = llama_135m(names, context=1024, seed=SEED)
    for layer in model.model.layers:
        # attention that looks at something: else a random model says one word again and again
        for module in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            module.weight.data.mul_(3)
    save_in_both(model, fast, folder)


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
    return figures(len(items), seconds, tokens=ids, answers=scores)


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
    return figures(len(items), seconds, tokens=ids, answers=scores)


def write_theirs(run: argparse.Namespace) -> Figures:
    """transformers' `generate`, the prompts sorted by length so that little is padded."""
    import torch

    model, tokenizer = load_saved(run.folder, run.dtype, run.attention)
    tokenizer.padding_side = "left"
    texts = [f"{text}\n{ANSWER}" for text in prompts()]
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
    return figures(PROMPTS * NEW, seconds, tokens=ids, answers=[tokenizer.decode(row) for row in written])


def write_ours(run: argparse.Namespace) -> Figures:
    from tuneladder.types import Decoding, Turn

    engine = engine_of(run)
    asks = [(Turn("user", text),) for text in prompts()]
    engine.generate(asks, Decoding(max_new_tokens=WARM_UP))
    engine.calls.new_tokens = 0
    begun = now()
    written = engine.generate(asks, Decoding(max_new_tokens=NEW))
    seconds = since(begun)
    assert engine.calls.new_tokens == PROMPTS * NEW, "a text ended early: the two sides do not do the same work"
    ids = [engine.coder.encode(turns).ids for turns in asks]
    return figures(PROMPTS * NEW, seconds, tokens=ids, answers=[samples[0] for samples in written])


def engine_of(run: argparse.Namespace) -> Any:
    """The engine as the shelf makes it, with attention as a checkpoint opens."""
    from tuneladder.model.local import LocalEngine
    from tuneladder.task.encode import Coder

    model, tokenizer = load_saved(run.folder, run.dtype, "sdpa")
    return LocalEngine(model, Coder(tokenizer, 1024), name="ours")


def now() -> tuple[float, float]:
    """Wall-clock seconds, and processor seconds of this process, which a busy machine stretches less."""
    return time.perf_counter(), time.process_time()


def since(begun: tuple[float, float]) -> tuple[float, float]:
    wall, processor = now()
    return wall - begun[0], processor - begun[1]


def figures(count: int, seconds: tuple[float, float], *, tokens: list[list[int]], answers: list[Any]) -> Figures:
    """`count` items or new tokens; `tokens` of the first asks, which must be the other side's too."""
    wall, processor = seconds
    return {
        "per_second": count / wall,
        "seconds": wall,
        "processor_seconds": processor,
        "peak_bytes": peak(),
        "tokens": tokens,
        "answers": answers,
    }


def useful(work: str, items: int) -> float:
    """Floating-point operations that the answers need, nothing computed twice: two for each weight and token, the head where a
    token is read from, the products of attention. The same for both sides, whatever they compute."""
    body = LAYERS * (2 * WIDTH * WIDTH + 2 * WIDTH * WIDTH * KEYS // HEADS + 3 * WIDTH * INNER)
    head = VOCABULARY * WIDTH

    def read(before: int, tokens: int) -> int:
        """`tokens` after `before` others, each of which attends to itself and all before it."""
        return 2 * body * tokens + 4 * LAYERS * WIDTH * (tokens * before + tokens * (tokens + 1) // 2)

    if work == "writing":
        lengths = [len(text.split()) + 1 for text in prompts()]
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
    """How many answers agree; of scores, those that differ with a margin that counts and the largest difference."""
    if work == "writing":
        return {"count": len(ours), "alike": sum(a == b for a, b in zip(theirs, ours, strict=True))}
    picks = [
        (max(range(len(a)), key=a.__getitem__), max(range(len(b)), key=b.__getitem__)) for a, b in zip(theirs, ours, strict=True)
    ]
    margins = [sorted(a)[-1] - sorted(a)[-2] for a in theirs]
    differ = [margin for (a, b), margin in zip(picks, margins, strict=True) if a != b]
    return {
        "count": len(ours),
        "alike": sum(a == b for a, b in picks),
        "differ_beyond_margin": sum(margin >= MARGIN for margin in differ),
        "margins_below": sum(margin < MARGIN for margin in margins),
        "largest_difference": max(abs(x - y) for a, b in zip(theirs, ours, strict=True) for x, y in zip(a, b, strict=True)),
    }


def compare(work: str, folder: Path, run: argparse.Namespace) -> Figures:
    theirs, ours = (
        contestant(HERE, side, work=work, folder=folder, dtype="float32", items=run.compared) for side in ("theirs", "ours")
    )
    count = min(len(theirs["tokens"]), len(ours["tokens"]))
    assert theirs["tokens"][:count] == ours["tokens"][:count], "the two sides do not read the same tokens"
    found = same_answers(work, theirs["answers"], ours["answers"])
    print(f"{work}: {found}", file=sys.stderr, flush=True)
    return found | {"theirs_per_second": theirs["per_second"], "ours_per_second": ours["per_second"]}


def timed(side: str, work: str, folder: Path, dtype: str, items: int, **settings: Any) -> Figures:
    found = contestant(HERE, side, work=work, folder=folder, dtype=dtype, items=items, **settings)
    told = " ".join(str(value) for value in settings.values())
    unit = "tokens" if work == "writing" else "items"
    print(
        f"{work:10}{side:7}{told:12}{found['per_second']:9.2f} {unit}/s  {found['peak_bytes'] / 1e9:.2f} GB",
        file=sys.stderr,
        flush=True,
    )
    kept = ("per_second", "seconds", "processor_seconds", "peak_bytes")
    return {**settings, **{name: found[name] for name in kept}}


def climb(work: str, folder: Path, dtype: str, peak_rate: float, run: argparse.Namespace) -> Figures:
    grid: list[Figures] = [
        timed("theirs", work, folder, dtype, run.grid, batch=batch, attention=attention)
        for batch in ((8, 16, 32, 64) if work == "writing" else (1, 4, 8, 16, 32))
        for attention in ("sdpa", "eager")
    ]
    best = max(grid, key=lambda row: row["per_second"])
    settings = {name: best[name] for name in ("batch", "attention")}
    contestants: dict[str, Callable[[], Figures]] = {
        "theirs": lambda: timed("theirs", work, folder, dtype, run.theirs, **settings),
        "ours": lambda: timed("ours", work, folder, dtype, run.items),
    }
    runs = alternating(run.pairs, contestants)
    per = useful(work, run.items) / (PROMPTS * NEW if work == "writing" else run.items)
    return {
        "summary": {
            "theirs_best": settings,
            "speed_ratio": ratio(runs, "per_second"),
            "memory_ratio": ratio(runs, "peak_bytes"),
            **{
                name: {
                    "per_second": (rate := statistics.median(row["per_second"] for row in own)),
                    "peak_bytes": max(row["peak_bytes"] for row in own),
                    "share_of_matmul_peak": rate * per / peak_rate,
                }
                for name in contestants
                for own in [[row for row in runs if row["contestant"] == name]]
            },
            "useful_flops_each": per,
            "pairs": run.pairs,
        },
        "grid": grid,
        "runs": runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--items", type=int, default=ITEMS, help="items to rank")
    parser.add_argument(
        "--compared", type=int, default=ITEMS, help="those of them on which both sides' answers in fp32 are compared"
    )
    parser.add_argument("--theirs", type=int, default=24, help="those of them on which lm-eval is timed")
    parser.add_argument("--grid", type=int, default=8, help="those of them on which its settings are tried")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=WORKS)
    parser.add_argument("--only", choices=("answers", "speed"), help="one half: the comparison in fp32, or the timing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="what it holds of other works and halves is kept")
    parser.add_argument("--child", choices=("build", "matmul", "theirs", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, default={}, help=argparse.SUPPRESS)
    run = parser.parse_args()
    if run.child:
        own = {"attention": "sdpa", "batch": 8, **run.settings}
        if "folder" in own:
            own["folder"] = Path(own["folder"])
        print(json.dumps(answer_child(run.child, argparse.Namespace(**own))))
        return
    found: dict[str, Any] = json.loads(run.out.read_text("utf-8")) if run.out.exists() else {}

    def keep(section: str, **entries: Any) -> None:
        found.setdefault(section, {}).update(entries)
        write(run.out, found)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        contestant(HERE, "build", folder=folder)
        if run.only != "answers":
            top = contestant(HERE, "matmul")
            keep("machine", **machine("torch", "transformers", "lm_eval"), **top)
        for work in run.works:
            if run.only != "speed":
                keep("answers", **{work: compare(work, folder, run)})
            if run.only != "answers":
                own = climb(work, folder, top["dtype"], top["matmul_flops"], run)
                keep("summary", **{work: own.pop("summary")})
                keep("speed", **{work: own})
    print(json.dumps({name: found.get(name) for name in ("summary", "answers")}, indent=1))


def answer_child(what: str, run: argparse.Namespace) -> Figures:
    """What a child process does."""
    if what == "build":
        build(run.folder)
        return {}
    if what == "matmul":
        from tuneladder.model.hardware import has_bf16

        dtype = "bfloat16" if has_bf16("cpu") else "float32"
        return {"dtype": dtype, "matmul_flops": matmul_peak(dtype)}
    sides = {"theirs": (rank_theirs, write_theirs), "ours": (rank_ours, write_ours)}
    return sides[what][run.work == "writing"](run)


if __name__ == "__main__":
    main()
