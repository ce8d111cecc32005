"""What every benchmark that runs two contestants side by side needs: fresh processes, alternating pairs, intervals, peaks.

    figures = contestant(__file__, "ours", folder=folder)           one run in a process of its own: a dict of figures
    runs = alternating(5, {"theirs": run_theirs, "ours": run_ours}) five of each in turn, each marked with its pair
    ratio(runs, "tokens_per_second")                                ours over theirs, with its 95 % interval
    matmul_peak()                                                   what this machine can multiply at most, in FLOP/s

A script that calls `contestant` answers `--child WHAT --settings JSON` by printing its figures as the last line of its output.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

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


def llama_135m(words: Sequence[str], *, context: int, seed: int = 0) -> tuple[Any, Any]:
    """A Llama of 135M parameters with random weights, and its tokenizer of one token a word: the first of `words` is what it does
    not know, the second ends a text."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    unknown, end = words[:2]
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=unknown, eos_token=end, pad_token=end)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
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
