"""A server of commands: loads the heavy libraries once, and forks a process for every command line that it reads, which then runs
the door as `tuneladder ARGUMENTS` would. A line of JSON for each: {argv, cwd, folder, moment}, answered by the process id; or
{wait: PID}, answered by its exit code, negative for a signal. Their children are forked from one server, to save its start."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import traceback
from multiprocessing import forkserver
from pathlib import Path


def serve() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            said = os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1])
        else:
            said = os.fork()
            if said == 0:
                command(**asked)
        print(said, flush=True)


def command(argv: list[str], cwd: str, folder: str, moment: str) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    code = 70
    try:
        os.chdir(cwd)
        out = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        said = {"main": os.getpid(), "notes": f"{folder}/notes", "moment": moment}
        Path(folder, "moment.json").write_text(json.dumps(said))
        sys.path.append(folder)
        forkserver._forkserver.ensure_running = lambda: None  # the door's runs
        patches.patch_main()
        torch.set_num_threads(1)  # also gives torch a thread pool of this process, before many threads ask for one at a time
        sys.argv = ["tuneladder", *argv]
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    took = os.times()
    print(f"cpu {took.user + took.system:.1f}")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    HEAVY = [
        "peft",
        "sklearn.linear_model",
        "transformers.models.llama.modeling_llama",
        "tuneladder.api",
        "tuneladder.ladder.climb",
        "moment",
    ]
    forkserver.set_forkserver_preload(HEAVY)
    forkserver.ensure_running()
    for name in HEAVY:
        __import__(name)
    import moment as patches
    import openai  # noqa: F401  # a second for each climb on an endpoint
    import torch
    from transformers import AutoModelForCausalLM

    from tuneladder import cli

    # what transformers prepares once, at its first model
    AutoModelForCausalLM.from_pretrained(sys.argv[1])
    gc.collect()
    gc.freeze()  # what is here at import is never garbage: a collection then takes no 200 ms
    print("ready", flush=True)
    serve()
