"""What the tests of training share: tiny runs, groups of processes to run and kill them, and what they leave."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from neogpt import atomic, config, ledger
from neogpt.config import AnyRun
from neogpt.errors import NeoGPTError
from neogpt.paths import RunDir
from neogpt.recipes import tinyworld

STAGES = ("pretrain", "sft", "dpo", "rl")
PYTHON = sys.executable
ROOT = Path(__file__).resolve().parent.parent
_SIZE = """--threads 1 --dtype float32 --device cpu --steps 12 --save.every 2 --eval.every 3 --eval.val-samples 8
 --source.n-people 6 --source.biographies 2 --source.taught 0.2 --data.vocab-size 1055 --batch.micro-batches 4
 --optim.name adamw --optim.lr 0.003 --model.n-layer 2 --model.n-head 2 --model.n-embd 32 --model.n-positions 64"""
_STAGE = {
    "pretrain": "--batch.size 8 --objective.seq-len 48",
    "sft": "--batch.size 8 --objective.pretrain-coef 0.5 --objective.pretrain-rows 4 --objective.pretrain-seq-len 32",
    "rl": "--batch.size 8 --objective.num-generations 2 --objective.max-completion-length 10 "
    "--objective.updates-per-rollout 3 "
    "--objective.dynamic-sampling 1 --objective.sft-rows 4 --objective.val-fraction 0.2 --eval.guardrails "
    "--objective.rewards finished:1 length:1 repetition:1 coherence:1 relevance:1",
    "dpo": "--batch.size 8 --objective.pretrain-coef 0.2 --objective.pretrain-rows 4 --objective.pretrain-seq-len 32",
}


def flags(stage: str, *more: str) -> list[str]:
    """The command-line settings of a run of seconds; later ones win."""
    return [*_SIZE.split(), *_STAGE[stage].split(), "--eval.names", *more]


def tiny(stage: str, *more: str) -> AnyRun:
    """A run of seconds: 2 layers of width 32, a world of six people, 12 steps of 4 micro-batches."""
    return config.parse(getattr(tinyworld, stage)(), flags(stage, *more))


def probe(model: Any, tokenizer: Any, world: Any = None) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """A quick evaluation whose scores and samples change with the weights' last bits; like most, on one process."""
    if world and not world.is_main:
        return {}, []
    total = float(sum(tensor.double().sum() for tensor in model.state_dict().values()))
    scores = {"probe/sum": total, "probe/turns": -abs(total - 212)}
    return scores, [{"question": f"{i}?", "answer": repr(total + i)} for i in range(3)]


def run_here(
    stage: str,
    folder: str,
    settings: Sequence[str] = (),
    resume: str = "",
    patch: str = "",
    options: dict[str, Any] | None = None,
    hold: int | None = None,
) -> int:
    """Train in this process as the command line does, with `probe` for its evals; returns the exit code.

    `patch` names a function of faults.py that is called before, with `options`. After `hold` steps the run waits
    for a file `go` in its folder: what a test does then happens at that step, however busy the machine is.
    """
    import faults

    from neogpt.train.run import train

    if hold is not None:
        faults.held(hold, folder)
    if patch:
        getattr(faults, patch)(**(options or {}))
    try:
        train(tiny(stage, *settings), Path(folder), resume, probe)
    except NeoGPTError as error:
        print(f"neogpt: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def command_line(args: list[str]) -> int:
    """`neogpt` with these arguments, in this process, without TensorBoard (seconds to import)."""
    from neogpt.cli.main import main

    sys.modules["torch.utils.tensorboard"] = None  # type: ignore[assignment]
    return main(args)


def run_on_small_disk(folder: str, size: int, filler: int, result: str) -> int:
    """Train on a disk that is too full; look; make room; go on. What the run computed is copied to `result`.

    Returns 77 where this machine lets nobody mount a disk.
    """
    import faults

    try:
        faults.small_disk(folder, size)
    except OSError as error:
        print(f"no small disk here: {error}")
        return 77
    full = Path(folder) / "filler"
    full.write_bytes(b"x" * filler)
    assert run_here("pretrain", f"{folder}/run", resume="auto") == 4
    print(f"saved {saved(Path(folder) / 'run')}, left over {leftovers(Path(folder) / 'run')}", flush=True)
    full.unlink()
    code = run_here("pretrain", f"{folder}/run", resume="auto")
    shutil.copytree(f"{folder}/run", result)
    return code


def peak_memory(work: str, flags: Sequence[str], result: str) -> int:
    """Writes to `result` the bytes that a run took at its peak, freed tensors given back at once."""
    import ctypes

    sys.path.insert(0, str(ROOT / "benchmarks"))
    from plan_memory import measure_here

    ctypes.CDLL(None).mallopt(-3, 65536)  # M_MMAP_THRESHOLD
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # as a user would say it, so that training leaves it so
    rank = os.environ["RANK"]
    Path(f"{result}.{rank}").write_text(str(measure_here(Path(work), flags)))
    return 0


def task_scores(model: str, files: dict[str, str], result: str) -> int:
    """Each process writes the scores of the evals named in `files` to `result`.RANK, to the last bit."""
    import torch

    from neogpt import evals, model_store
    from neogpt.train.parallel.distributed import connected, world_from_environment

    torch.set_num_threads(1)
    world, tokenizer = world_from_environment(), model_store.load_tokenizer(model)
    with connected(world, "cpu"):
        found = {
            f"{name}/{score}": value.hex()
            for name, file in files.items()
            for score, value in evals.load((f"{name}:data={file}",), evals.Subject())[name]
            .run(model_store.load_model(model), tokenizer, world)
            .items()
        }
    Path(f"{result}.{world.rank}").write_text(json.dumps(found))
    return 0


class Group:
    """Processes that train together."""

    def __init__(self, launcher: "Launcher", pids: list[int], output: Path) -> None:
        self.launcher, self.pids, self.output = launcher, pids, output
        self.earlier = 0
        """How often others had started or resumed the same run before."""

    def wait(self, seconds: float = 150) -> list[int]:
        """The exit codes; a process that is not done in time is killed and fails the test."""
        codes = self.launcher.ask({"wait": self.pids, "seconds": seconds})["codes"]
        if None in codes:
            self.hang(f"still running after {seconds} s: {codes}")
        return codes

    def hang(self, what: str) -> NoReturn:
        """Fail, showing where each process stands; then kill them."""
        running = [pid for pid, code in zip(self.pids, self.codes(), strict=True) if code is None]
        for pid in running:
            os.kill(pid, signal.SIGUSR1)
        time.sleep(0.5)
        text = self.text()
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        self.launcher.ask({"wait": running, "seconds": 10})
        raise AssertionError(f"{what}\n{text}")

    def codes(self) -> list[int | None]:
        """The exit codes of those that have ended, None for those that run."""
        codes: list[int | None] = self.launcher.ask({"wait": self.pids, "seconds": 0})["codes"]
        return codes

    def reach(self, folder: Path, rows: int, seconds: float = 150) -> None:
        """Wait until these processes have begun and the ledger has this many rows; an error when they do not."""
        end = time.monotonic() + seconds
        while not self.at(folder, rows):
            ended = None not in self.codes() and not self.at(folder, rows)
            assert not ended, f"ended with {self.codes()} before row {rows}\n{self.text()}"
            if time.monotonic() > end:
                self.hang(f"no row {rows} in {seconds} s")
            time.sleep(0.002)

    def at(self, folder: Path, rows: int) -> bool:
        """Whether these processes have begun, and the ledger has this many rows."""
        return len(events(folder, "start", "resume")) > self.earlier and n_rows(folder) >= rows

    def send(self, number: int, *ranks: int) -> None:
        """Send a signal to these ranks, to all when none is named; those that have ended do not mind."""
        for pid in [self.pids[rank] for rank in ranks] or self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """SIGKILL to all at one instant: none sees that another is gone."""
        self.send(signal.SIGSTOP)
        self.send(signal.SIGKILL)

    def heard(self, rank: int = 0) -> None:
        """Wait until this process has taken its first signal: it catches neither of the two any more."""
        both = 1 << signal.SIGTERM - 1 | 1 << signal.SIGINT - 1
        status = Path(f"/proc/{self.pids[rank]}/status")
        until(lambda: not int(re.findall(r"SigCgt:\s*(\w+)", status.read_text())[0], 16) & both)

    def text(self, rank: int | None = None) -> str:
        """What one process, or all of them, printed."""
        ranks = range(len(self.pids)) if rank is None else [rank]
        return "\n".join((self.output / f"{rank}.txt").read_text() for rank in ranks)


def compiler_python(folder: Path) -> str:
    """This Python by a path without blanks, through a link in `folder`: PyTorch's compiler does not quote its own."""
    if " " not in sys.prefix:
        return PYTHON
    link = folder / "python"
    link.symlink_to(sys.prefix)
    return str(link / "bin" / Path(PYTHON).name)


class Launcher:
    """Starts groups of processes quickly (see launch.py)."""

    def __init__(self, outputs: Path, home: Path, python: str = PYTHON) -> None:
        self.outputs, self.home, self.started = outputs, home, 0
        self.server = subprocess.Popen(
            [python, "-W", "error", str(Path(__file__).with_name("launch.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT / "tests",
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request, answered."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        answer: dict[str, Any] = json.loads(self.server.stdout.readline())
        return answer

    def start(self, world: int, call: str, arguments: dict[str, Any], **environment: str) -> Group:
        """`world` processes that call training.py's function `call`."""
        self.started += 1
        output = self.outputs / f"{self.started:04d}"
        output.mkdir(parents=True)
        request = {"world": world, "call": f"training:{call}", "arguments": arguments, "output": str(output)}
        pids = self.ask({**request, "environment": {"NEOGPT_HOME": str(self.home), **environment}})["pids"]
        return Group(self, pids, output)

    def train(self, world: int, stage: str, folder: Path, *settings: str, **options: Any) -> Group:
        """`world` processes that train `tiny(stage, *settings)` in `folder`; options as `run_here`'s."""
        environment = options.pop("environment", {})
        arguments = {"stage": stage, "folder": str(folder), "settings": settings, **options}
        earlier = len(events(folder, "start", "resume"))
        group = self.start(world, "run_here", arguments, **environment)
        group.earlier = earlier
        return group

    def neogpt(self, *args: str, world: int = 1, **environment: str) -> Group:
        """`neogpt ARGS` in `world` processes."""
        return self.start(world, "command_line", {"args": list(args)}, **environment)

    def close(self) -> None:
        """End the server, and with it all that it started."""
        self.server.kill()
        self.server.communicate()


def until(happens: Callable[[], bool], seconds: float = 150) -> None:
    """Wait for something to happen."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, f"did not happen in {seconds} s"
        time.sleep(0.002)


def reserved_port() -> socket.socket:
    """A socket that does not listen, whose TCP port the system gives to nobody until it is closed.

    Who names the port and sets SO_REUSEADDR, as torch's store does, can listen there meanwhile.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("", 0))
    return held


def kill_at_rows(group: Group, folder: Path, rows: int, delay: float = 0) -> None:
    """SIGKILL to all processes, a moment after the run's ledger has this many rows."""
    group.reach(folder, rows)
    time.sleep(delay)
    group.kill()
    codes = group.wait()
    assert set(codes) <= {-9, 0}, group.text()


def start_of(stage: str, bases: dict[str, Path]) -> list[str]:
    """The settings that name the stage's starting model."""
    return [] if stage == "pretrain" else ["--from", str(bases["pretrain"])]


def events(folder: Path, *names: str) -> list[dict[str, Any]]:
    """The rows of the events ledger that have one of these names; all rows when none is given."""
    rows = ledger.read(RunDir(folder).events)
    return [row for row in rows if not names or row["event"] in names]


def n_rows(folder: Path) -> int:
    """Whole lines in a run's metrics ledger."""
    path = RunDir(folder).metrics
    return path.read_bytes().count(b"\n") if path.exists() else 0


def saved(folder: Path) -> list[int]:
    """The steps whose checkpoint verifies."""
    found = []
    for path in sorted(RunDir(folder).checkpoints.glob("step-" + "[0-9]" * 8)):
        try:
            atomic.verify_manifest(path)
        except NeoGPTError:
            continue
        found.append(int(path.name.removeprefix("step-")))
    return sorted(found)


def outcome(folder: Path) -> dict[str, bytes]:
    """What a run computed: its ledgers and every file of its last checkpoint, byte for byte."""
    run = RunDir(folder)
    last = run.checkpoint(max(saved(folder)))
    files = [run.metrics, run.samples, *sorted(last.iterdir())]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.exists()}


def different(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """The names of files that differ or exist once (empty: all bytes are equal)."""
    return [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders that somebody forgot."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*.tmp-*")]


def evals_here(folder: str) -> int:
    """Every eval that processes share, in the files of `eval_subjects.prepare`; writes what this process got."""
    from unittest import mock

    import torch
    from eval_subjects import loaded, model_and_tokenizer

    from neogpt import evals, outcomes
    from neogpt.inference.engine import Engine
    from neogpt.train.parallel.distributed import connected, world_from_environment

    model, tokenizer = model_and_tokenizer()
    forwards, prompts, complete = [], [], Engine.complete

    def counted(engine: Any, asked: Any, *more: Any) -> Any:
        prompts.extend(asked)
        return complete(engine, asked, *more)

    model.transformer.ln_f.register_forward_hook(lambda *_: forwards.append(1))
    with (
        connected(world_from_environment(), "cpu") as world,
        torch.inference_mode(),
        mock.patch.object(Engine, "complete", counted),
    ):
        scores, rows = evals.evaluate(loaded(Path(folder)), model, tokenizer, world)
    parts = {name: [o.sums.tolist(), o.weights.tolist()] for name, o in outcomes.samples(scores).items()}
    found = {"scores": outcomes.means(scores), "parts": parts, "rows": rows}
    found |= {"forwards": len(forwards), "prompts": len(prompts)}
    Path(folder, f"{world.size}-{world.rank}.json").write_text(json.dumps(found))
    return 0
