"""What benchmarks have in common: quiet threads and no network, which importing this sets before torch is there, and results in a
file; and what those that run two contestants side by side need: fresh processes, alternating pairs, intervals, peaks.

    figures = contestant(__file__, "ours", folder=folder)           one run in a process of its own: a dict of figures
    runs = alternating(5, {"theirs": run_theirs, "ours": run_ours}) five of each in turn, each marked with its pair
    ratio(runs, "tokens_per_second")                                ours over theirs, with its 95 % interval
    matmul_peak()                                                   what this machine can multiply at most, in FLOP/s
    race(__file__, work, folder, dtype, run, batches=(8, 16))       the other side's grid, then its best and ours in turn

A script that calls `contestant` answers `--child WHAT --settings JSON` by printing its figures as the last line of its output.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import argparse
import json
import math
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
Seconds = tuple[float, float]

MARGIN = 1e-4  # answers whose margin is smaller may differ


def contestant(script: str | Path, what: str, **settings: Any) -> Figures:
    """Run `script --child WHAT` in a fresh process; its figures. A run that fails ends the benchmark with its last words."""
    command = [sys.executable, str(script), "--child", what, "--settings", json.dumps(settings, default=str)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{what} {settings} failed:\n{done.stderr[-4000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def alternating(pairs: int, contestants: Mapping[str, Callable[[], Figures]]) -> list[Figures]:
    """Each contestant once a pair. Who goes first alternates too, so that a machine that slows down favours nobody."""
    runs = []
    for pair in range(pairs):
        names = list(contestants) if pair % 2 == 0 else list(contestants)[::-1]
        runs += [{"pair": pair, "contestant": name, **contestants[name]()} for name in names]
    return runs


def ratio(runs: Sequence[Figures], figure: str, *, of: str = "ours", to: str = "theirs") -> dict[str, float | None]:
    """The interval of one figure's ratio between two contestants, pair by pair."""
    by_pair: dict[int, dict[str, float]] = {}
    for run in runs:
        by_pair.setdefault(run["pair"], {})[run["contestant"]] = run[figure]
    return interval([pair[of] / pair[to] for pair in by_pair.values()])


def interval(ratios: Sequence[float]) -> dict[str, float | None]:
    """Geometric mean of the pairs' ratios with its 95 % interval (Student's t on the logarithms)."""
    from scipy.stats import t

    logs = [math.log(each) for each in ratios]
    middle = statistics.fmean(logs)
    if len(logs) < 2:
        return {"value": math.exp(middle), "low": None, "high": None}
    half = float(t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return {"value": math.exp(middle), "low": math.exp(middle - half), "high": math.exp(middle + half)}


def peak() -> int:
    """This process's highest resident memory, in bytes, from its start (Linux): imports count."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no VmHWM here: this benchmark needs Linux")


def matmul_peak(dtype: str = "bfloat16", *, sizes: Sequence[int] = (512, 768, 1024, 2048), seconds: float = 0.4) -> float:
    """FLOP/s of matrix products on all cores: the best of square sizes, as one product that the cores share and as one
    product for each core at once."""
    import torch

    cores = torch.get_num_threads()
    best = 0.0
    with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as alone:
        for size in sizes:
            a, b = (torch.randn(size, size, dtype=getattr(torch, dtype)) for _ in range(2))

            def products(a: Any = a, b: Any = b) -> float:
                torch.mm(a, b)
                done, began = 0, time.perf_counter()
                while time.perf_counter() - began < seconds:
                    torch.mm(a, b)
                    done += 1
                return done / (time.perf_counter() - began)

            rates = [products(), sum(alone.map(lambda _, run=products: run(), range(cores)))]
            best = max(best, 2 * size**3 * max(rates))
            torch.set_num_threads(cores)  # what a thread sets, new ones inherit
    return best


def machine(*packages: str) -> Figures:
    """What the figures were measured on, and the versions of what was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "cpu": next((line.partition(":")[2].strip() for line in lines if "model name" in line), ""),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "system": platform.system(),
        **{name: version(name) for name in packages},
        **{name: os.environ.get(name) for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")},
    }


def write(path: Path, results: Figures) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")


LLAMA_135M = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
}


def llama(words: Sequence[str], *, context: int, shape: Mapping[str, float] = LLAMA_135M, seed: int = 0) -> tuple[Any, Any]:
    """A Llama with random weights, and its tokenizer of one token a word: the first of `words` is what it does not know, the second
    ends a text."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    unknown, end = words[:2]
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=unknown, eos_token=end, pad_token=end)
    torch.manual_seed(seed)
    config = LlamaConfig(
        **shape,
        vocab_size=len(words),
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=1,
    )
    return LlamaForCausalLM(config), fast


def save_in_both(model: Any, tokenizer: Any, folder: Path) -> None:
    """The model in fp32 and in bf16, each in the folder of that name with the tokenizer."""
    import torch

    for dtype in (torch.float32, torch.bfloat16):
        target = folder / str(dtype).removeprefix("torch.")
        model.to(dtype).save_pretrained(target)
        tokenizer.save_pretrained(target)


def load_saved(folder: Path, dtype: str, attention: str) -> tuple[Any, Any]:
    """What `save_in_both` saved in a precision, ready to answer, with its tokenizer."""
    import torch
    import transformers

    place = folder / dtype
    (architecture,) = transformers.AutoConfig.from_pretrained(place).architectures
    model = getattr(transformers, architecture).from_pretrained(place, dtype=getattr(torch, dtype), attn_implementation=attention)
    return model, transformers.AutoTokenizer.from_pretrained(place)


def engine_of(run: argparse.Namespace) -> Any:
    """Our engine as the shelf makes it, with attention as a checkpoint opens."""
    from tuneladder.model.local import LocalEngine
    from tuneladder.task.encode import Coder

    model, tokenizer = load_saved(run.folder, run.dtype, "sdpa")
    return LocalEngine(model, Coder(tokenizer, 1024), name="ours")


def now() -> Seconds:
    """Wall-clock seconds, and processor seconds of this process, which a busy machine stretches less."""
    return time.perf_counter(), time.process_time()


def since(begun: Seconds) -> Seconds:
    wall, processor = now()
    return wall - begun[0], processor - begun[1]


def answered(count: int, seconds: Seconds, *, tokens: list[list[int]], answers: list[Any]) -> Figures:
    """What a contestant says of `count` items or new tokens; `tokens` of the first asks, which must be the other side's too."""
    wall, processor = seconds
    return {
        "per_second": count / wall,
        "seconds": wall,
        "processor_seconds": processor,
        "peak_bytes": peak(),
        "tokens": tokens,
        "answers": answers,
    }


def same_scores(theirs: Sequence[Sequence[float]], ours: Sequence[Sequence[float]]) -> Figures:
    """How many items have the same likeliest option, how many differ with a margin that counts, and the largest difference."""
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


def task_over(file: str, name: str, files: Mapping[str, str], cache: Path, *, shots: int) -> Figures:
    """lm-eval's task of that file, called `name`, over the rows of `files`: `test`, and `shown` where there are shots."""
    import lm_eval

    return {
        "include": str(Path(lm_eval.__file__).parent / "tasks" / f"{file}.yaml"),
        "task": name,
        "tag": None,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": dict(files), "cache_dir": str(cache)},
        "training_split": None,
        "validation_split": None,
        "test_split": "test",
        "num_fewshot": shots,
    }


def both(script: Path, work: str, folder: Path, items: int) -> tuple[Figures, Figures]:
    """Theirs and ours in fp32, whose answers are to be compared."""
    theirs, ours = (contestant(script, side, work=work, folder=folder, dtype="float32", items=items) for side in ("theirs", "ours"))
    return theirs, ours


def tell(work: str, said: object) -> None:
    print(f"{work}: {said}", file=sys.stderr, flush=True)


def timed(
    script: Path, side: str, work: str, folder: Path, dtype: str, items: int, *, unit: str = "items", **settings: Any
) -> Figures:
    """One run in a process of its own, told as it ends; without its answers."""
    found = contestant(script, side, work=work, folder=folder, dtype=dtype, items=items, **settings)
    told = " ".join(map(str, settings.values()))
    tell(work, f"{side:7}{told:12}{found['per_second']:9.2f} {unit}/s  {found['peak_bytes'] / 1e9:.2f} GB")
    return {**settings, **{name: found[name] for name in ("per_second", "seconds", "processor_seconds", "peak_bytes")}}


def race(
    script: Path, work: str, folder: Path, dtype: str, run: argparse.Namespace, *, batches: Sequence[int], unit: str = "items"
) -> Figures:
    """Their `grid` of batch sizes and attentions on `run.grid` items, and the `runs` of the best of it and ours in turn, with a
    `summary` of their ratios."""
    grid: list[Figures] = [
        timed(script, "theirs", work, folder, dtype, run.grid, unit=unit, batch=batch, attention=attention)
        for batch in batches
        for attention in ("sdpa", "eager")
    ]
    best = max(grid, key=lambda row: row["per_second"])
    settings = {name: best[name] for name in ("batch", "attention")}
    runs = alternating(
        run.pairs,
        {
            "theirs": lambda: timed(script, "theirs", work, folder, dtype, run.theirs, unit=unit, **settings),
            "ours": lambda: timed(script, "ours", work, folder, dtype, run.items, unit=unit),
        },
    )
    ratios = {name: ratio(runs, figure) for name, figure in (("speed_ratio", "per_second"), ("memory_ratio", "peak_bytes"))}
    return {"summary": {"theirs_best": settings, "pairs": run.pairs, **ratios}, "grid": grid, "runs": runs}


def options(doc: str | None, *, works: Sequence[str], items: int, results: Path) -> argparse.ArgumentParser:
    """What a benchmark of answers is told: how many pairs and items, which works and halves, and where to write."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--items", type=int, default=items, help="items that we answer")
    parser.add_argument("--theirs", type=int, default=24, help="those of them on which lm-eval is timed")
    parser.add_argument("--grid", type=int, default=8, help="those of them on which its settings are tried")
    parser.add_argument("--works", nargs="+", choices=works, default=works)
    parser.add_argument("--only", choices=("answers", "speed"), help="one half: the comparison in fp32, or the timing")
    parser.add_argument("--out", type=Path, default=results, help="what it holds of other works and halves is kept")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=json.loads, default={}, help=argparse.SUPPRESS)
    return parser


def as_child(run: argparse.Namespace, children: Mapping[str, Callable[[argparse.Namespace], Figures]]) -> bool:
    """Whether this is a child process, which then does what it is asked for and prints its figures."""
    if run.child is None:
        return False
    own = {"attention": "sdpa", "batch": 8, **run.settings}
    if "folder" in own:
        own["folder"] = Path(own["folder"])
    print(json.dumps(children[run.child](argparse.Namespace(**own))))
    return True


def halves(
    run: argparse.Namespace,
    about: Callable[[], Figures],
    compare: Callable[[str], Figures],
    timing: Callable[[str], Figures],
) -> None:
    """Both halves of every work, written as they are measured: `answers` compared, and `speed` with its `summary` apart; `about` is
    what is said of the machine."""
    found: Figures = json.loads(run.out.read_text("utf-8")) if run.out.exists() else {}

    def keep(section: str, entries: Figures) -> None:
        found.setdefault(section, {}).update(entries)
        write(run.out, found)

    if run.only != "answers":
        keep("machine", about())
    for work in run.works:
        if run.only != "speed":
            keep("answers", {work: compare(work)})
        if run.only != "answers":
            own = timing(work)
            keep("summary", {work: own.pop("summary")})
            keep("speed", {work: own})
    print(json.dumps({name: found.get(name) for name in ("summary", "answers")}, indent=1))
