"""A server that starts groups of training processes in a fraction of a second: torch is imported once, then forked.

Reads a request a line as JSON, {"world": 2, "call": "module:function", "arguments": {...}, "environment": {...},
"output": folder}, and answers {"pids": [...]} as soon as the processes run; {"wait": [pids], "seconds": 60} is
answered by {"codes": [...]}, negative for a signal. Each process writes to output/RANK.txt. See training.py.
"""

import ctypes
import faulthandler
import importlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # what the first optimizer of a process would import, for two seconds
import torch.distributed.fsdp
from training import reserved_port

import neogpt.cli._progress
import neogpt.evals
import neogpt.recipes.tinyworld
import neogpt.train
import neogpt.train.parallel.fsdp  # noqa: F401 (imported once, for all that are forked)

_DIE_WITH_PARENT = 1


def main() -> None:
    """Serve until the input ends; then the processes that still run end too."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        answer = {"codes": wait(**request)} if "wait" in request else {"pids": start(**request)}
        print(json.dumps(answer), flush=True)


def start(
    world: int, call: str, arguments: dict[str, Any], environment: dict[str, str], output: str
) -> list[int]:
    """Fork `world` processes that call `call`; returns their ids, in order of rank."""
    held = reserved_port()
    port = held.getsockname()[1]
    pids = []
    for rank in range(world):
        pid = os.fork()
        if not pid:
            ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ.update(environment | {k: str(v) for k, v in (ranks | place).items()})
            _be_a_process(call, arguments, Path(output) / f"{rank}.txt")
        pids.append(pid)
    _ports[pids[0]] = held
    return pids


def _be_a_process(call: str, arguments: dict[str, Any], output: Path) -> None:
    """Call and exit with what it returned, as the interpreter would; never returns."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(written, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        faulthandler.register(signal.SIGUSR1)  # so that a test can ask where a process hangs
        module, _, function = call.partition(":")
        code = getattr(importlib.import_module(module), function)(**arguments) or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


_codes: dict[int, int] = {}
"""Of the processes that have ended."""
_ports: dict[int, socket.socket] = {}
"""By the first process of each group that runs: what keeps its port for it."""


def wait(wait: list[int], seconds: float) -> list[int | None]:
    """The exit codes of these processes, None for those that still run after `seconds`."""
    until = time.monotonic() + seconds
    while running := [pid for pid in wait if pid not in _codes]:
        for pid in running:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                _codes[pid] = os.waitstatus_to_exitcode(status)
                if pid in _ports:
                    _ports.pop(pid).close()
        if time.monotonic() > until:
            break
        time.sleep(0.005)
    return [_codes.get(pid) for pid in wait]


if __name__ == "__main__":
    main()
