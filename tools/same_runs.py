"""Shows that a change to the code changes no number: the same runs in two checkouts, their ledgers byte by byte.

    python tools/same_runs.py OLD NEW [--python PY] [--quick] [--only NAME] [--work DIR]

OLD and NEW are checkouts (`git worktree add ../old COMMIT` makes one). In each, with its own caches and one thread:
the demo's five stages, an SFT on Dolly (skipped without NEOGPT_DATA), and a pretraining by two processes. Settings
and metrics that were renamed on the way stand in the tables below; each checkout is asked by the name it knows. One
line a ledger; exit code 1 where any differs or a run failed. --quick takes a few steps of each run.
"""

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

FLAGS = [
    # every name that a setting used below has had, the newest first
    ("--objective.sft-coef", "--objective.sft"),
]
KEYS = [
    # (how metrics.jsonl called it, how it calls it now); a / at the end renames all that begin so
    ("canary/", "guardrail/"),
    ("border/", "over_refusal/"),
]
STAGES = ("pretrain", "sft", "dpo", "rl")
_KEY = re.compile(rb'"((?:[^"\\]|\\.)*)": ')


@dataclass(frozen=True)
class Run:
    """One command, the ledgers that it leaves (by folder), and what it needs."""

    name: str
    command: tuple[str, ...]
    folders: tuple[str, ...]
    stage: str
    processes: int = 1
    data: bool = False
    """Whether it reads NEOGPT_DATA."""


def runs(quick: bool) -> list[Run]:
    """In the order in which they can be made."""
    one = ("--threads", "1", "--seed", "0")
    short = (*one, "--save.every", "0", "--eval.every", "0", "--eval.val-samples", "16")
    if quick:
        few = {"pretrain": ("--steps", "12"), "rl": ("--steps", "2"), None: ("--steps", "4")}
        origins = {"pretrain": None, "sft": "pretrain", "dpo": "sft", "dpo-red-team": "sft", "rl": "dpo"}
        lesson = ("--source.pairs", "red-team", "--objective.sft", "1.0")
        demo = []
        for name, origin in origins.items():
            stage = name.removesuffix("-red-team")
            start = ("--from", f"demo/{origin}") if origin else ()
            more = (*start, *(lesson if stage != name else ()), *few.get(stage, few[None]), *short)
            command = (stage, "tinyworld", "--run", f"demo/{name}", *more)
            demo.append(Run(f"demo/{name}", command, (f"demo/{name}",), stage))
    else:
        folders = tuple(f"demo/{name}" for name in (*STAGES[:3], "dpo-red-team", "rl"))
        demo = [Run("demo", ("demo", "--run", "demo", "--threads", "1"), folders, "pretrain")]
    steps = ("--steps", "3", *short) if quick else ("--steps", "40", "--eval.every", "20", *one)
    dolly = ("sft", "sft-dolly", "--run", "dolly", "--from", "demo/pretrain", *steps)
    steps = ("--steps", "4", *short) if quick else ("--steps", "60", "--eval.every", "30", *one)
    two = ("pretrain", "tinyworld", "--run", "two", *steps)
    return [
        *demo,
        Run("dolly", dolly, ("dolly",), "sft", data=True),
        Run("two", two, ("two",), "pretrain", processes=2),
    ]


class Checkout:
    """A checkout, and the folder in which its runs are made."""

    def __init__(self, root: Path, work: Path, python: str) -> None:
        self.root, self.work, self.python = root.resolve(), work, python
        self.work.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        home = str(self.work / "home")
        more = {"PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1", "NEOGPT_HOME": home, "COLUMNS": "200"}
        self.environment = kept | more | {"NEOGPT_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
        self.help = functools.cache(self._help)
        found = self._python("-c", "import neogpt; print(neogpt.__file__)").stdout.strip()
        if Path(found).parent.parent != self.root:
            raise SystemExit(f"same_runs: {self.root} is no checkout of NeoGPT: python imports {found!r}")

    def _python(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self.python, *arguments], cwd=self.work, env=self.environment, capture_output=True, text=True
        )

    def _help(self, stage: str) -> str:
        return self._python("-m", "neogpt", stage, "tinyworld", "--help").stdout

    def make(self, run: Run) -> str:
        """Make it; what it printed where it failed, else nothing."""
        command = [spelled(argument, self.help(run.stage)) for argument in run.command]
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(run.processes)]
        start = [*launch, "-m", "--", "neogpt"] if run.processes > 1 else ["-m", "neogpt"]
        done = self._python(*start, *command)
        # 6: a score fell, which the two must agree on, too; the ledgers show it.
        return "" if done.returncode in (0, 6) else f"exit code {done.returncode}\n{done.stderr[-2000:]}"


def spelled(argument: str, help_text: str) -> str:
    """A setting by the name that this help knows it under; anything else as it is."""
    names = next((names for names in FLAGS if argument in names), (argument,))
    return next((name for name in names if re.search(rf"{re.escape(name)}(?![\w.-])", help_text)), argument)


def renamed(line: bytes) -> bytes:
    """A ledger's line with each key as it is called now; all other bytes stay."""

    def now(match: "re.Match[bytes]") -> bytes:
        key = match[1].decode()
        for old, new in KEYS:
            if key == old or (old.endswith("/") and key.startswith(old)):
                key = new + key.removeprefix(old)
        return b'"' + key.encode() + b'": '

    return _KEY.sub(now, line)


def difference(old: Path, new: Path) -> str:
    """The first place where two ledgers differ; nothing where all bytes are equal, but for renamed keys."""
    if missing := [str(path) for path in (old, new) if not path.is_file()]:
        return f"there is no {' and no '.join(missing)}"
    before, after = (path.read_bytes().splitlines(keepends=True) for path in (old, new))
    for number, (a, b) in enumerate(zip(before, after, strict=False), 1):
        if (a := renamed(a)) != (b := renamed(b)):
            return f"row {number}: {_first_change(a, b)}"
    if len(before) != len(after):
        return f"{len(before)} rows against {len(after)}"
    return ""


def _first_change(a: bytes, b: bytes) -> str:
    try:
        ours, theirs = (json.loads(line, object_pairs_hook=list) for line in (a, b))
        step = dict(ours).get("step")
        for one, other in zip(ours, theirs, strict=False):
            if one != other:
                return f"(step {step}) {_shown(one)} against {_shown(other)}"
        if len(ours) != len(theirs):
            longer = max(ours, theirs, key=len)
            return f"(step {step}) only one has {longer[min(len(ours), len(theirs))][0]}"
    except (ValueError, TypeError):
        pass
    return f"{a!r} against {b!r}"


def _shown(pair: list[object]) -> str:
    return f"{pair[0]}: {json.dumps(pair[1])}"


def report(name: str, old: Path, new: Path) -> bool:
    """Print a ledger's line; whether it is equal."""
    found = difference(old, new)
    if found:
        print(f"DIFFERENT  {name}  {found}", flush=True)
    else:
        size = new.stat().st_size
        print(f"equal      {name}  {new.read_bytes().count(10)} rows, {size:,} bytes", flush=True)
    return not found


def main(arguments: list[str] | None = None) -> int:
    """Make the runs and compare; 0 when every ledger is equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--python", default=sys.executable, help="the interpreter for both")
    parser.add_argument("--quick", action="store_true", help="a few steps of each")
    parser.add_argument(
        "--only", default="", help="runs whose names contain this; --work has those they start from"
    )
    parser.add_argument("--work", type=Path, help="an empty folder in which the runs stay")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        work = (options.work or Path(scratch)).resolve()
        both = [Checkout(getattr(options, name), work / name, options.python) for name in ("old", "new")]
        equal = [_compare(run, both) for run in runs(options.quick) if options.only in run.name]
    print(f"{sum(equal)} of {len(equal)} runs are the same")
    return 0 if all(equal) else 1


def _compare(run: Run, both: list[Checkout]) -> bool:
    if run.data and not os.environ.get("NEOGPT_DATA"):
        print(f"skipped    {run.name}  it reads NEOGPT_DATA, which is not set", flush=True)
        return True
    began = time.monotonic()
    for checkout in both:
        if failure := checkout.make(run):
            print(f"FAILED     {run.name}  in {checkout.root}: {failure}", flush=True)
            return False
    ledgers = [(f, *(checkout.work / f / "metrics.jsonl" for checkout in both)) for f in run.folders]
    same = [report(*each) for each in ledgers]
    print(f"           {run.name}: made twice in {time.monotonic() - began:.0f} s", flush=True)
    return all(same)


if __name__ == "__main__":
    sys.exit(main())
