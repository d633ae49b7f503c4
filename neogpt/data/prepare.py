"""Documents to shards: tokenize the parts, then gather all documents in shuffled order.

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

from neogpt import atomic, compared, config
from neogpt.config import DataConfig
from neogpt.data import fingerprint, tokenize
from neogpt.data import workers as processes
from neogpt.data.shard_file import MAX_TOKENS, MAX_VOCAB
from neogpt.data.shards import INFO, SPLITS, read_info
from neogpt.data.shuffle_into_shards import shuffle_into_shards
from neogpt.data.source import HasDocuments, Remote, Source, need
from neogpt.data.tokenize import PART, Task
from neogpt.errors import ConfigError, DataError
from neogpt.paths import cache_dir
from neogpt.records import RowStats
from neogpt.tokenizer import Tokenizer

_FORMAT = 1
"""Raise it when the same settings and input begin to give other bytes."""
Progress = Callable[[str, int, int], None]
"""progress(phase, done, total): phase "tokenize" counts parts, "shuffle" documents."""


def prepare(
    source: Source,
    data_config: DataConfig,
    tokenizer: Tokenizer,
    folder: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    keep_files: bool = True,
    run: processes.Run = processes.run,
) -> Path:
    """The folder of token shards for these settings, made if it is not there yet.

    `workers` processes tokenize; 0 takes as many as cores and input are worth. More than one needs a main module
    that can be imported (`if __name__ == "__main__"`). Files that the source downloads stay in its cache unless
    `keep_files` is false: then each is deleted as soon as its part of the work is durable. `run` does the tasks:
    processes of this machine, or a cluster's (`cluster.Cluster.run`).

    Without `folder` it lies in the cache under a name that holds its key: a hash of every setting, the
    tokenizer's fingerprint and each input file's name, size and sha256. Errors: ConfigError for settings that
    cannot work, or a `folder` with something else in it; DataError for input that cannot be used.
    """
    _check(data_config, tokenizer)
    text = fingerprint.resolved(need(source, HasDocuments))
    parts = parts_of(text)
    facts = _facts(text, data_config, tokenizer, parts)
    key = config.digest(facts)
    cache = cache_dir() / "data"
    folder = Path(folder) if folder else cache / f"{source.kind}-{key[:12]}"
    work = folder.with_name(f"{folder.name}.parts")
    if _is_finished(folder, key) and not work.exists():
        return folder
    lock = folder.with_name(f"{folder.name}.lock")
    with _writing(folder), atomic.lock(lock, f"the data set {folder}", wait=True):
        if not _is_finished(folder, key):
            if folder.parent != cache:
                _validate_other(folder, facts)
            atomic.sweep(folder.parent, folder.name)
            tasks = _tasks(text, data_config, parts, work / key[:12])
            release = _release(text, keep_files)
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
            code="data.not_written",
        ) from error


def _release(source: HasDocuments, keep_files: bool) -> Callable[[str], None]:
    """What is done with a file that is not needed any more."""
    return source.drop if isinstance(source, Remote) and not keep_files else lambda _: None


def parts_of(source: HasDocuments) -> list[str]:
    """The parts of a source of documents; DataError for absent input."""
    parts = source.parts()
    if not parts:
        raise DataError(
            f"the source {source.kind} has no parts", "at least one file or part", code="data.no_parts"
        )
    return parts


def _check(data: DataConfig, tokenizer: Tokenizer) -> None:
    if not 0 <= data.val_fraction < 1:
        raise ConfigError(
            f"val_fraction is {data.val_fraction}",
            "from 0 up to, not including, 1",
            code="config.out_of_range",
        )
    if not 1 <= data.shard_tokens <= MAX_TOKENS // 2:
        raise ConfigError(
            f"shard_tokens is {data.shard_tokens}", f"from 1 to {MAX_TOKENS // 2}", code="config.out_of_range"
        )
    if tokenizer.vocab_size > MAX_VOCAB:
        raise ConfigError(
            f"the tokenizer has {tokenizer.vocab_size} ids",
            f"at most {MAX_VOCAB} (uint16)",
            code="data.vocabulary_too_large",
        )


def _facts(source: HasDocuments, data: DataConfig, tokenizer: Tokenizer, parts: list[str]) -> dict[str, Any]:
    """Everything that the prepared bytes depend on; its hash is the key."""
    return {
        "format": _FORMAT,
        "settings": {**fingerprint.settings(source), "data": dataclasses.asdict(data)},
        "tokenizer": {
            "fingerprint": tokenizer.fingerprint,
            "vocab_size": tokenizer.vocab_size,
            "eot_id": tokenizer.eot_id,
        },
        "inputs": fingerprint.inputs(source, parts),
    }


def _is_finished(folder: Path, key: str) -> bool:
    """True when the folder holds this very data set with all its files at their sizes."""
    try:
        files = atomic.read_manifest(folder)
        whole = all((folder / name).stat().st_size == size for name, (size, _) in files.items())
        return whole and bool(read_info(folder)["key"] == key)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError):
        return False


def _validate_other(folder: Path, facts: dict[str, Any]) -> None:
    """ConfigError when the folder holds something else, which is then not ours to replace."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        found = read_info(folder)
    except DataError:
        raise ConfigError(
            f"{folder} exists and is not a prepared data set",
            "a new or empty folder",
            "another --out",
            code="data.folder_taken",
        ) from None
    if changed := compared.differences({k: found.get(k) for k in facts}, facts):
        first = "".join(f"\n    {line}" for line in changed[:5])
        raise ConfigError(
            f"{folder} holds a data set of other settings or input:{first}",
            "a new or empty folder",
            "another --out, or delete that folder",
            code="data.other_settings",
        )


def _tasks(source: HasDocuments, data: DataConfig, parts: list[str], work: Path) -> list[Task]:
    plan = tokenize.groups(parts)
    return [Task(source, data.val_fraction, group, work / f"{i:06d}") for i, group in enumerate(plan)]


def _make(
    folder: Path,
    facts: dict[str, Any],
    tasks: list[Task],
    data: DataConfig,
    tokenizer: Tokenizer,
    progress: Progress | None,
    run: Callable[..., None],
) -> None:
    """Tokenize what is missing, check what was found, and write the folder."""
    work = tasks[0].folder.parent
    work.mkdir(parents=True, exist_ok=True)
    processes.wait_for_orphans(work)
    atomic.sweep(work)
    count = _Counter("tokenize", len(tasks), progress)
    left = [task for task in tasks if not tokenize.is_done(task)]
    count(len(tasks) - len(left))
    run(left, done=lambda _: count(1))
    try:
        _check_unchanged(tasks, facts["inputs"])
        bad, shards, documents = _survey(tasks, data)
    except DataError:
        shutil.rmtree(
            work.parent, ignore_errors=True
        )  # mended input has another key: nobody will ask for these
        raise
    count = _Counter("shuffle", sum(documents.values()), progress)
    with atomic.directory(folder, "data") as temporary:
        splits = {}
        for split in SPLITS:
            atomic.failpoint(f"data.shuffle.{split}")
            entries = shuffle_into_shards(
                shards[split], temporary, split, data.shuffle_seed, data.shard_tokens, count
            )
            tokens = sum(entry["tokens"] for entry in entries)
            splits[split] = {"documents": documents[split], "tokens": tokens, "shards": entries}
        tokenizer.save(temporary / "tokenizer")
        atomic.write_json(temporary / INFO, {**facts, "splits": splits, "quarantine": bad.to_dict()})


def _check_unchanged(tasks: list[Task], inputs: list[dict[str, Any]]) -> None:
    """DataError when a file is not what it was when the key was made."""
    now = fingerprint.inputs(tasks[0].source, [part for task in tasks for part in task.parts])
    if changed := [old["name"] for old, new in zip(inputs, now, strict=False) if old != new]:
        raise DataError(
            f"{changed[0]} changed while it was read",
            "input that stays as it is",
            "prepare again",
            code="data.changed_while_read",
        )


def _survey(tasks: list[Task], data: DataConfig) -> tuple[RowStats, dict[str, list[Path]], dict[str, int]]:
    """The rows' fate, each split's shards in canonical order, and its documents; DataError for unusable input."""
    bad = RowStats()
    shards: dict[str, list[Path]] = {split: [] for split in SPLITS}
    documents = dict.fromkeys(SPLITS, 0)
    for task in tasks:
        part = json.loads((task.folder / PART).read_text("utf-8"))
        bad.merge(RowStats.from_dict(part["quarantine"]))
        for split in SPLITS:
            shards[split] += [task.folder / entry["file"] for entry in part["splits"][split]]
            documents[split] += sum(entry["documents"] for entry in part["splits"][split])
    bad.check()
    _check_documents(documents, data.val_fraction, bad)
    return bad, shards, documents


def _check_documents(documents: dict[str, int], fraction: float, bad: RowStats) -> None:
    total = sum(documents.values())
    if not total:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in bad.reasons.most_common(3))
        raise DataError(
            f"there are no documents: {bad.rows} rows ({reasons or 'none'})",
            "at least two documents",
            code="data.no_documents",
        )
    if documents["train"] and (documents["val"] or not fraction):
        return
    missing = "training" if not documents["train"] else "validation"
    enough = f"--data.val-fraction {min(0.5, round(10 / total, 4))}, or " if total > 1 else ""
    raise DataError(
        f"there are no {missing} documents among {total}; val_fraction is {fraction}",
        "at least one of each kind (which one is held out, a hash of its text decides)",
        f"{enough}more and smaller documents (source text: --source.unit passage)",
        code="data.no_documents",
    )


class _Counter:
    """Adds up what is done and reports it."""

    def __init__(self, phase: str, total: int, progress: Progress | None) -> None:
        self.phase, self.total, self.progress, self.done = phase, total, progress, 0

    def __call__(self, more: int) -> None:
        self.done += more
        if self.progress:
            self.progress(self.phase, self.done, self.total)
