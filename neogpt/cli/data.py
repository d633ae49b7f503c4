"""Prepare, check and look at training data."""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import tyro
from rich.console import Console
from rich.progress import Progress as Bars
from tyro.conf import FlagConversionOff, OmitArgPrefixes

from neogpt import plugins
from neogpt.config import DataConfig
from neogpt.data.source import PACKAGE, HasDocuments, Source, need, source_by_name, sources_with
from neogpt.errors import ConfigError

SourceT = TypeVar("SourceT", bound=Source)
_USAGE = """usage: neogpt data prepare [--source] SOURCE [SETTINGS]      text -> token shards
       neogpt data verify DIR [--json]           check every byte of prepared data
       neogpt data show DIR [--json]             counts, and the first documents as text

sources:
{sources}

examples: neogpt data prepare text --path my-books/ --tokenizer gpt2
          neogpt data show my-books-shards --documents 5
"""
_PREPARE = """{summary} Add --json to print the result as JSON.

examples: neogpt data prepare {name} --tokenizer gpt2
          neogpt data prepare {name} --val-fraction 0.01 --out shards --workers 2
"""


def run(args: list[str]) -> int:
    """`neogpt data prepare|verify|show ...`."""
    if not args or args[0] in ("-h", "--help"):
        print(_USAGE.format(sources=_sources()), end="")
        return 0
    verbs: dict[str, Callable[[list[str]], int]] = {"prepare": prepare, "verify": verify, "show": show}
    if args[0] not in verbs:
        raise plugins.unknown("data command", args[0], list(verbs))
    return verbs[args[0]](args[1:])


@dataclass(frozen=True, kw_only=True)
class Prepare(Generic[SourceT]):
    """Settings of `data prepare`; a training run with the same ones finds what was prepared into the cache."""

    source: SourceT
    data: DataConfig = field(default_factory=DataConfig)
    out: str = ""
    """Folder to write, for other programs; empty: one in the cache (NEOGPT_HOME), where training looks."""
    workers: int = 0
    """Processes; 0: as many as the cores, and the amount of text, are worth."""
    keep_files: bool = True
    """Keep what the source downloads; False: delete each file once its tokens are durable."""
    executor: Literal["here", "local", "slurm", "ray"] = "here"
    """What tokenizes: processes of this machine, or one of datatrove's executors (extra `cluster`)."""
    tasks: int = 16
    """Tasks that an executor is given."""
    partition: str = ""
    """Partition of Slurm's that takes the tasks."""
    time: str = "24:00:00"
    """Time limit of a Slurm task."""
    memory_gb: float = 2
    """Memory to ask of Slurm or Ray for each task."""


def prepare(args: list[str]) -> int:
    """`neogpt data prepare SOURCE [--path P] [--tokenizer T] [--out DIR] ...`."""
    if not args or args[0] in ("-h", "--help"):
        print(f"usage: neogpt data prepare SOURCE [SETTINGS]\n\nsources:\n{_sources()}")
        print("\nexamples: neogpt data prepare tinyworld --tokenizer trained")
        print("          neogpt data prepare text --path my-books/ --tokenizer gpt2 --out shards")
        return 0
    as_json = "--json" in args
    settings = _settings([arg for arg in args if arg != "--json"])
    _validate(settings)
    from neogpt.data.build_tokenizer import tokenizer_for  # start-up time
    from neogpt.data.prepare import parts_of
    from neogpt.data.prepare import prepare as make

    start = time.monotonic()
    parts_of(
        need(settings.source, HasDocuments)
    )  # says what is wrong with the input before a tokenizer is fetched
    tokenizer = tokenizer_for(settings.data, settings.source)
    with _Progress() as progress:
        out = Path(settings.out).absolute() if settings.out else None
        options = {"keep_files": settings.keep_files, "run": _engine(settings)}
        folder = make(settings.source, settings.data, tokenizer, out, settings.workers, progress, **options)
    found = _checked(folder)
    if as_json:
        print(json.dumps({"folder": str(folder), "seconds": round(time.monotonic() - start, 3), **found}))
        return 0
    print(f"{folder}\n{_rows(found['quarantine'])}")
    for row in found["quarantine"]["shown"][:5]:
        print(f"  {row['file']}:{row['line']}: {_printable(row['reason'])}")
    print(f"done: {_summary(found)} ({time.monotonic() - start:.1f} s)")
    return 0


def _validate(settings: Prepare[Source]) -> None:
    """ConfigError for what no input could make work, before the input is asked for."""
    for name, least, usual in (("workers", 0, 0), ("tasks", 1, 16)):
        if (value := getattr(settings, name)) < least:
            raise ConfigError(
                f"--{name} {value}",
                f"a whole number from {least} up",
                f"--{name} {usual}",
                code="config.out_of_range",
            )
    if not 0 < settings.memory_gb < math.inf:
        raise ConfigError(
            f"--memory-gb {settings.memory_gb}",
            "a number above 0",
            "--memory-gb 2",
            code="config.out_of_range",
        )
    if settings.executor == "slurm" and not settings.partition:
        raise ConfigError(
            "Slurm needs to know where to run",
            "a partition",
            "--partition NAME (see `sinfo`)",
            code="cli.no_partition",
        )


def _engine(settings: Prepare[Source]) -> Any:
    """What does the tasks of a preparation; ConfigError where it is not installed."""
    if settings.executor == "here":
        from neogpt.data import workers  # start-up time

        return workers.run
    os.environ.setdefault("LOGURU_LEVEL", "WARNING")  # datatrove tells of each step it takes
    try:
        from neogpt.data.cluster import Cluster  # extra: cluster
    except ImportError as error:
        raise ConfigError(
            f"{error.name} is needed for --executor {settings.executor}",
            "the extra `cluster`",
            "pip install 'neogpt[cluster]'",
            code="cli.extra_missing",
        ) from None
    return Cluster(
        executor=settings.executor,
        tasks=settings.tasks,
        partition=settings.partition,
        time=settings.time,
        memory_gb=settings.memory_gb,
    ).run


def verify(args: list[str]) -> int:
    """`neogpt data verify DIR [--json]`."""
    options = _parser("verify", "neogpt data verify ~/shards").parse_args(args)
    found = _checked(options.folder)
    print(json.dumps({"folder": str(options.folder), **found}) if options.json else f"ok: {_summary(found)}")
    return 0


def show(args: list[str]) -> int:
    """`neogpt data show DIR [--split val] [--documents N] [--characters N] [--unigram] [--json]`."""
    parser = _parser("show", "neogpt data show ~/shards --split val --documents 5")
    parser.add_argument("--split", choices=("train", "val"), default="train")
    parser.add_argument("--documents", type=int, default=3, help="how many documents (default 3)")
    parser.add_argument("--characters", type=int, default=400, help="how much of each (default 400)")
    parser.add_argument("--unigram", action="store_true", help="the loss that token frequencies alone reach")
    options = parser.parse_args(args)
    found = _look(options.folder, options.split, options.documents, options.characters)
    if options.unigram:
        found["unigram_loss"] = _unigram(options.folder)
    if options.json:
        print(json.dumps(found))
        return 0
    tokenizer = found["tokenizer"]
    print(f"{options.folder}\n  key {found['key']}\n  {_rows(found['quarantine'])}")
    print(f"  tokenizer: {tokenizer['vocab_size']:,} ids, fingerprint {tokenizer['fingerprint'][:12]}")
    for split, counts in found["splits"].items():
        print(f"  {split}: " + ", ".join(f"{counts[k]:,} {k}" for k in ("documents", "tokens", "shards")))
    if options.unigram:
        print(
            f"  unigram: {found['unigram_loss']:.4f} nats a held-out token; a language model must go well below"
        )
    for document in found["documents"]:
        print(f"\n--- {options.split} document {document['number']}, {document['tokens']:,} tokens")
        print(_printable(document["text"]))
    return 0


def _settings(args: Sequence[str]) -> Prepare[Source]:
    """The flags over the source's defaults. A flag may carry the prefix that a training run gives it."""
    source_name, args = _named(args)
    default = Prepare(source=source_by_name(source_name)())
    kind: type[Prepare[Source]] = Prepare[type(default.source)]  # type: ignore[misc, assignment]
    return tyro.cli(
        kind,
        default=default,
        args=[arg.replace("--source.", "--", 1).replace("--data.", "--", 1) for arg in args],
        prog=f"neogpt data prepare {source_name}",
        description=_PREPARE.format(summary=plugins.summary(PACKAGE, source_name), name=source_name),
        config=(OmitArgPrefixes, FlagConversionOff),
    )


def _named(args: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The source's name, typed as SOURCE or as `--source NAME` wherever it stands, and the other arguments."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--source", default="")
    own, left = parser.parse_known_args(args)
    if own.source:
        return own.source, left
    if not left or left[0].startswith("-"):
        raise ConfigError(
            "neogpt data prepare needs a source",
            f"one of {', '.join(sources_with(HasDocuments))}",
            code="cli.no_source",
        )
    return left[0], left[1:]


def _checked(folder: Path) -> dict[str, Any]:
    """What `verify` and dataset.json say; DataError for anything that is not as it should be."""
    from neogpt.data.shards import read_info  # start-up time
    from neogpt.data.verify import verify as check

    return {"splits": check(folder), "quarantine": read_info(folder)["quarantine"]}


def _unigram(folder: Path) -> float:
    from neogpt.data.shards import TokenData  # start-up time
    from neogpt.data.unigram import unigram_loss

    return unigram_loss(TokenData(folder, "train"), TokenData(folder, "val"))


def _look(folder: Path, split: str, documents: int, characters: int) -> dict[str, Any]:
    """Counts, and the first documents decoded."""
    from neogpt.data.shards import TokenData, read_info  # start-up time
    from neogpt.tokenizer import Tokenizer

    info = read_info(folder)
    tokenizer = Tokenizer.load(folder / "tokenizer")
    data = TokenData(folder, split)
    shown = []
    for number in range(min(documents, data.n_documents)):
        ids = data.document(number)
        text = tokenizer.decode(ids[1 : characters + 2].tolist())[:characters]
        shown.append({"number": number, "tokens": len(ids), "text": text})
    splits = {name: {**counts, "shards": len(counts["shards"])} for name, counts in info["splits"].items()}
    facts = {"folder": str(folder), "key": info["key"], "fingerprint": data.fingerprint}
    kept = {name: info[name] for name in ("settings", "inputs", "tokenizer", "quarantine")}
    return {**facts, **kept, "splits": splits, "split": split, "documents": shown}


def _summary(found: dict[str, Any]) -> str:
    splits = found["splits"].values()
    shards, documents, tokens = (sum(s[k] for s in splits) for k in ("shards", "documents", "tokens"))
    held = found["splits"]["val"]["documents"]
    return f"{shards:,} shards, {documents:,} documents ({held:,} held out), {tokens:,} tokens, manifest ok"


def _rows(quarantine: dict[str, Any]) -> str:
    reasons = "; ".join(f"{count:,} x {reason}" for reason, count in quarantine["reasons"].items())
    counts = (
        f"{quarantine['rows']:,} rows: {quarantine['broken']:,} broken, {quarantine['refused']:,} of no use"
    )
    return f"{counts} ({reasons})" if reasons else counts


def _printable(text: str) -> str:
    """The text without control characters, which could drive the terminal that shows it."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _sources() -> str:
    found = sources_with(HasDocuments)
    width = max(map(len, found))
    return "\n".join(f"  {name:<{width}}  {plugins.summary(PACKAGE, name)}" for name in found)


def _parser(verb: str, example: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"neogpt data {verb}",
        epilog=f"examples: {example}\n          neogpt data {verb} ~/shards --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="a folder that `neogpt data prepare` wrote")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


class _Progress:
    """A bar on a terminal, a line every ten seconds elsewhere."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bars = Bars(console=console, transient=True) if console.is_terminal else None
        self._tasks: dict[str, Any] = {}
        self._printed = time.monotonic()

    def __enter__(self) -> "_Progress":
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.stop()

    def __call__(self, phase: str, done: int, total: int) -> None:
        if self._bars:
            if phase not in self._tasks:
                self._tasks[phase] = self._bars.add_task(phase, total=total)
            self._bars.update(self._tasks[phase], completed=done)
        elif time.monotonic() - self._printed > 10:
            self._printed = time.monotonic()
            print(f"{phase} {done:,}/{total:,}", file=sys.stderr, flush=True)
