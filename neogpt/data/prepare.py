"""Documents to shards: tokenise the parts, then gather all documents in shuffled order.

The shards' bytes depend on the settings and the input alone: not on workers, on the order in which they finish,
or on interruptions. Finished parts of an interrupted run are taken up again by the next.
"""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from neogpt import atomic, config, plugins
from neogpt.config import DataConfig, SourceConfig
from neogpt.data import identity, tokenise
from neogpt.data import workers as processes
from neogpt.data.gather import gather
from neogpt.data.records import Quarantine
from neogpt.data.shard_file import MAX_TOKENS, MAX_VOCAB
from neogpt.data.shards import INFO, SPLITS, read_info
from neogpt.data.tokenise import PART, Task
from neogpt.errors import ConfigError, DataError
from neogpt.paths import cache_dir
from neogpt.tokenizer import Tokenizer

_FORMAT = 1
"""Raise it when the same settings and input begin to give other bytes."""
Progress = Callable[[str, int, int], None]
"""progress(phase, done, total): phase "tokenise" counts parts, "shuffle" documents."""


def prepare(
    source_name: str,
    source_config: SourceConfig,
    data_config: DataConfig,
    tokenizer: Tokenizer,
    folder: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    keep_files: bool = True,
    run: processes.Run = processes.run,
) -> Path:
    """The folder of token shards for these settings, made if it is not there yet.

    `workers` processes tokenise; 0 takes as many as cores and input are worth. More than one needs a main module
    that can be imported (`if __name__ == "__main__"`). Files that the source downloads stay in its cache unless
    `keep_files` is false: then each is deleted as soon as its part of the work is durable. `run` does the tasks:
    processes of this machine, or a cluster's (`cluster.Cluster.run`).

    Without `folder` it lies in the cache under a name that holds its key: a hash of every setting, the
    tokenizer's fingerprint and each input file's name, size and sha256. Errors: ConfigError for settings that
    cannot work, or a `folder` with something else in it; DataError for input that cannot be used.
    """
    _check(data_config, tokenizer)
    source_config = identity.resolved(source_name, source_config)
    parts = parts_of(source_name, source_config)
    facts = _facts(source_name, source_config, data_config, tokenizer, parts)
    key = config.digest(facts)
    cache = cache_dir() / "data"
    folder = Path(folder) if folder else cache / f"{source_name}-{key[:12]}"
    work = folder.with_name(f"{folder.name}.parts")
    if _is_finished(folder, key) and not work.exists():
        return folder
    lock = folder.with_name(f"{folder.name}.lock")
    with _writing(folder), atomic.lock(lock, f"the data set {folder}", wait=True):
        if not _is_finished(folder, key):
            if folder.parent != cache:
                _refuse_other(folder, facts)
            atomic.sweep(folder.parent, folder.name)
            tasks = _tasks(source_name, source_config, data_config, parts, work / key[:12])
            release = _release(source_name, source_config, keep_files)
            start = partial(run, tokenizer=tokenizer, n_workers=workers, release=release)
            _make(folder, {"key": key, **facts}, tasks, data_config, tokenizer, progress, start)
            for file in dict.fromkeys(file for task in tasks for file in processes.files_of(task)):
                release(file)  # also what an interrupted run had left
        shutil.rmtree(work, ignore_errors=True)
    return folder


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """DataError where the disk is full or may not be written."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write {folder}: {error.strerror or error}",
            "space on a disk that may be written",
            "free some (finished parts are kept), or name another place with --out or NEOGPT_HOME",
        ) from error


def _release(source_name: str, source: SourceConfig, keep_files: bool) -> Callable[[str], None]:
    """What is done with a file that is not needed any more."""
    drop = getattr(plugins.get("neogpt.data.sources", source_name), "drop", None)
    return (lambda file: drop(source, file)) if drop and not keep_files else (lambda _: None)


def parts_of(source_name: str, source_config: SourceConfig) -> list[str]:
    """The parts of a source of documents; ConfigError for a source without, DataError for absent input."""
    source = plugins.get("neogpt.data.sources", source_name)
    if not hasattr(source, "documents"):
        raise ConfigError(f"the source {source_name} has no documents to prepare", "a source of plain text")
    parts = list(source.parts(source_config))
    if not parts:
        raise DataError(f"the source {source_name} has no parts", "at least one file or part")
    return parts


def _check(data: DataConfig, tokenizer: Tokenizer) -> None:
    if not 0 <= data.val_fraction < 1:
        raise ConfigError(f"val_fraction is {data.val_fraction}", "from 0 up to, not including, 1")
    if not 1 <= data.shard_tokens <= MAX_TOKENS // 2:
        raise ConfigError(f"shard_tokens is {data.shard_tokens}", f"from 1 to {MAX_TOKENS // 2}")
    if tokenizer.vocab_size > MAX_VOCAB:
        raise ConfigError(f"the tokenizer has {tokenizer.vocab_size} ids", f"at most {MAX_VOCAB} (uint16)")


def _facts(
    source_name: str, source: SourceConfig, data: DataConfig, tokenizer: Tokenizer, parts: list[str]
) -> dict[str, Any]:
    """Everything that the prepared bytes depend on; its hash is the key."""
    return {
        "format": _FORMAT,
        "settings": {**identity.settings(source_name, source), "data": dataclasses.asdict(data)},
        "tokenizer": {
            "fingerprint": tokenizer.fingerprint,
            "vocab_size": tokenizer.vocab_size,
            "eot_id": tokenizer.eot_id,
        },
        "inputs": identity.inputs(source_name, source, parts),
    }


def _is_finished(folder: Path, key: str) -> bool:
    """True when the folder holds this very data set with all its files at their sizes."""
    try:
        files = atomic.read_manifest(folder)
        whole = all((folder / name).stat().st_size == size for name, (size, _) in files.items())
        return whole and bool(read_info(folder)["key"] == key)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError):
        return False


def _refuse_other(folder: Path, facts: dict[str, Any]) -> None:
    """ConfigError when the folder holds something else, which is then not ours to replace."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        found = read_info(folder)
    except DataError:
        raise ConfigError(
            f"{folder} exists and is not a prepared data set", "a new or empty folder", "another --out"
        ) from None
    if changed := config.differences({k: found.get(k) for k in facts}, facts):
        first = "".join(f"\n    {line}" for line in changed[:5])
        raise ConfigError(
            f"{folder} holds a data set of other settings or input:{first}",
            "a new or empty folder",
            "another --out, or delete that folder",
        )


def _tasks(name: str, source: SourceConfig, data: DataConfig, parts: list[str], work: Path) -> list[Task]:
    plan = tokenise.groups(parts)
    return [Task(name, source, data.val_fraction, group, work / f"{i:06d}") for i, group in enumerate(plan)]


def _make(
    folder: Path,
    facts: dict[str, Any],
    tasks: list[Task],
    data: DataConfig,
    tokenizer: Tokenizer,
    progress: Progress | None,
    run: Callable[..., None],
) -> None:
    """Tokenise what is missing, check what was found, and write the folder."""
    work = tasks[0].folder.parent
    work.mkdir(parents=True, exist_ok=True)
    processes.wait_for_orphans(work)
    atomic.sweep(work)
    tell = _Counter("tokenise", len(tasks), progress)
    left = [task for task in tasks if not tokenise.is_done(task)]
    tell(len(tasks) - len(left))
    run(left, done=lambda _: tell(1))
    try:
        _check_unchanged(tasks, facts["inputs"])
        bad, shards, documents = _survey(tasks, data)
    except DataError:
        shutil.rmtree(
            work.parent, ignore_errors=True
        )  # mended input has another key: nobody will ask for these
        raise
    tell = _Counter("shuffle", sum(documents.values()), progress)
    with atomic.directory(folder, "data") as temporary:
        splits = {}
        for split in SPLITS:
            atomic.failpoint(f"data.gather.{split}")
            entries = gather(shards[split], temporary, split, data.shuffle_seed, data.shard_tokens, tell)
            tokens = sum(entry["tokens"] for entry in entries)
            splits[split] = {"documents": documents[split], "tokens": tokens, "shards": entries}
        tokenizer.save(temporary / "tokenizer")
        atomic.write_json(temporary / INFO, {**facts, "splits": splits, "quarantine": bad.to_dict()})


def _check_unchanged(tasks: list[Task], inputs: list[dict[str, Any]]) -> None:
    """DataError when a file is not what it was when the key was made."""
    now = identity.inputs(
        tasks[0].source_name, tasks[0].source, [part for task in tasks for part in task.parts]
    )
    if changed := [old["name"] for old, new in zip(inputs, now, strict=False) if old != new]:
        raise DataError(
            f"{changed[0]} changed while it was read", "input that stays as it is", "prepare again"
        )


def _survey(tasks: list[Task], data: DataConfig) -> tuple[Quarantine, dict[str, list[Path]], dict[str, int]]:
    """The rows' fate, each split's shards in canonical order, and its documents; DataError for unusable input."""
    bad = Quarantine()
    shards: dict[str, list[Path]] = {split: [] for split in SPLITS}
    documents = dict.fromkeys(SPLITS, 0)
    for task in tasks:
        part = json.loads((task.folder / PART).read_text("utf-8"))
        bad.merge(Quarantine.from_dict(part["quarantine"]))
        for split in SPLITS:
            shards[split] += [task.folder / entry["file"] for entry in part["splits"][split]]
            documents[split] += sum(entry["documents"] for entry in part["splits"][split])
    bad.check()
    _check_documents(documents, data.val_fraction, bad)
    return bad, shards, documents


def _check_documents(documents: dict[str, int], fraction: float, bad: Quarantine) -> None:
    total = sum(documents.values())
    if not total:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in bad.reasons.most_common(3))
        raise DataError(
            f"there are no documents: {bad.rows} rows ({reasons or 'none'})", "at least two documents"
        )
    if documents["train"] and (documents["val"] or not fraction):
        return
    missing = "training" if not documents["train"] else "validation"
    enough = f"--data.val-fraction {min(0.5, round(10 / total, 4))}, or " if total > 1 else ""
    raise DataError(
        f"there are no {missing} documents among {total}; val_fraction is {fraction}",
        "at least one of each kind (which one is held out, a hash of its text decides)",
        f"{enough}more and smaller documents (source text: --source.unit passage)",
    )


class _Counter:
    """Adds up what is done and reports it."""

    def __init__(self, phase: str, total: int, progress: Progress | None) -> None:
        self.phase, self.total, self.progress, self.done = phase, total, progress, 0

    def __call__(self, more: int) -> None:
        self.done += more
        if self.progress:
            self.progress(self.phase, self.done, self.total)
