"""A server of commands: loads the heavy libraries once, and forks a process for every command line that it reads, which then runs
the door as `tuneladder ARGUMENTS` would. A line of JSON for each: {argv, cwd, log, environment}, answered by the process id; or
{wait: PID}, answered by its exit code, negative for a signal."""

from __future__ import annotations

import json
import os
import sys
import traceback


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


def command(argv: list[str], cwd: str, log: str, environment: dict[str, str]) -> None:
    os.setsid()
    code = 70
    try:
        os.chdir(cwd)
        os.environ.update(environment, MOMENT_MAIN=str(os.getpid()))
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        import moment

        moment.patch_main()
        sys.argv = ["tuneladder", *argv]
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    import peft  # noqa: F401
    import sklearn.linear_model
    import torch
    import transformers.models.llama.modeling_llama  # noqa: F401

    import tuneladder.api
    import tuneladder.ladder.climb  # noqa: F401
    from tuneladder import cli

    torch.set_num_threads(1)
    print("ready", flush=True)
    serve()
