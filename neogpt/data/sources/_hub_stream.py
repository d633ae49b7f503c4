"""Files of a data set on the Hugging Face Hub: listed once, fetched when needed, taken up again after a break.

Files lie in huggingface_hub's own cache (HF_HOME), so what is there is not fetched again, by nobody. A partial
file stays as `blobs/SHA256.incomplete`; huggingface_hub itself would throw it away with the process. The
transport is plain HTTP with ranges, which every mirror (HF_ENDPOINT) speaks, not Xet.
"""

import contextlib
import functools
import importlib
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from neogpt import atomic, paths
from neogpt.config import digest
from neogpt.data import fingerprint
from neogpt.errors import ConfigError, DataError
from neogpt.paths import cache_dir

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ATTEMPTS = 8
_PAUSE_S = 1.0
"""Doubled after each attempt in a row that brought nothing: two minutes in all."""
_TIMEOUT_S = 60.0
ResultT = TypeVar("ResultT")


class File(NamedTuple):
    """A file of a commit, as the Hub publishes it."""

    name: str
    bytes: int
    sha256: str


@functools.cache
def commit(repo: str, revision: str) -> str:
    """The commit that a branch or tag names now; offline, the one that it named last."""
    if _COMMIT.fullmatch(revision):
        return revision
    note = _note("commit", repo, revision)
    if paths.is_offline():
        if note.exists():
            return note.read_text("utf-8")
        raise _offline(f"which commit {repo} has at {revision}")
    found = _ask(lambda: _api().repo_info(repo, repo_type="dataset", revision=revision, timeout=30), repo)
    atomic.write_text(note, str(found.sha))
    return str(found.sha)


@functools.cache
def listing(repo: str, revision: str, folder: str) -> tuple[File, ...]:
    """The parquet files below `folder` at a commit, sorted; DataError names the folders there are instead."""
    note = _note("files", repo, revision, folder)
    if note.exists():
        return tuple(File(*entry) for entry in json.loads(note.read_text("utf-8")))
    if paths.is_offline():
        raise _offline(f"which files {repo} has in {folder}")
    entries = _tree(repo, revision, folder, recursive=True)
    files = sorted(File(e.path, e.size, e.lfs.sha256) for e in entries if getattr(e, "lfs", None))
    if not (files := [file for file in files if file.name.endswith(".parquet")]):
        raise _no_folder(repo, revision, folder)
    atomic.write_text(note, json.dumps(files))
    return tuple(files)


def fetch(repo: str, revision: str, file: File) -> Path:
    """The local path of a file that has the published size and sha256, downloaded if there is none.

    Errors: DataError, naming the file, when it cannot be had or is not what the Hub published.
    """
    path = cached(repo, revision, file)
    if path and fingerprint.sha256(path) == file.sha256:
        return path
    if paths.is_offline():
        raise _damaged(file, path) if path else _offline(f"{file.name} of {repo}")
    store = _store(repo)
    blob = store / "blobs" / file.sha256
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock = store.parent / ".locks" / store.name / f"{file.sha256}.lock"  # huggingface_hub's own for this file
    with atomic.lock(lock, f"the download of {file.name}", wait=True):
        if path or not blob.exists() or blob.stat().st_size != file.bytes:
            _download(repo, revision, file, blob)
    return _linked(store / "snapshots" / revision / file.name, blob)


def cached(repo: str, revision: str, file: File) -> Path | None:
    """Where the cache has a file of the published size; its content is not looked at."""
    found = need_hub().try_to_load_from_cache(repo, file.name, revision=revision, repo_type="dataset")
    if isinstance(found, str) and os.path.getsize(found) == file.bytes:
        return Path(found)
    return None


def drop(repo: str, revision: str, file: File) -> None:
    """Delete a file from the cache."""
    if path := cached(repo, revision, file):
        path.unlink()
    (_store(repo) / "blobs" / file.sha256).unlink(missing_ok=True)


def _download(repo: str, revision: str, file: File, blob: Path) -> None:
    """Fill `blob`, going on where an earlier attempt ended."""
    partial = Path(f"{blob}.incomplete")
    partial.touch()
    if _size(partial) > file.bytes:
        os.truncate(partial, 0)
    _ask(lambda: _receive(repo, revision, file, partial), file.name, lambda: _size(partial))
    if (found := atomic.sha256_file(partial)) != file.sha256:
        partial.unlink()
        raise DataError(
            f"{file.name} of {repo} was received with sha256 {found}, and thrown away",
            f"{file.sha256}, which the Hub publishes",
            "the same command again; if it stays, the mirror (HF_ENDPOINT) or a proxy changes files",
            code="data.wrong_checksum",
        )
    atomic.fsync(partial)
    atomic.failpoint("hub.received")
    os.replace(partial, blob)
    atomic.fsync(blob.parent)


def _receive(repo: str, revision: str, file: File, partial: Path) -> None:
    """Append what is missing; ConnectionError when the answer ends before the file does."""
    hub = need_hub()
    endpoint = hub.constants.ENDPOINT
    url = hub.hf_hub_url(repo, file.name, repo_type="dataset", revision=revision, endpoint=endpoint)
    size = _size(partial)
    if size == file.bytes:
        return
    headers = {**hub.utils.build_hf_headers(), "Accept-Encoding": "identity", "Range": f"bytes={size}-"}
    with (
        hub.get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT_S) as answer,
        open(partial, "ab") as target,
    ):
        hub.utils.hf_raise_for_status(answer)
        if answer.status_code != 206:  # the whole file comes, whatever was asked for
            target.truncate(0)
        for chunk in answer.iter_bytes():
            target.write(chunk)
            target.flush()  # what came is not fetched again, also after a kill
            atomic.failpoint("hub.receiving")
    if (size := _size(partial)) != file.bytes:
        raise ConnectionError(f"{size:,} of {file.bytes:,} bytes came")


def _size(path: Path) -> int:
    return path.stat().st_size


def _linked(place: Path, blob: Path) -> Path:
    """`place` in the snapshot of a commit, as a link to the blob; the cache's layout is huggingface_hub's.

    A hard link where the system gives no others, as Windows does to most users.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f"{place.name}.{os.getpid()}.tmp")
    try:
        temporary.symlink_to(os.path.relpath(blob, place.parent))
    except OSError:
        temporary.hardlink_to(blob)
    os.replace(temporary, place)
    return place


def _store(repo: str) -> Path:
    hub = need_hub()
    return Path(hub.constants.HF_HUB_CACHE) / f"datasets--{repo.replace('/', '--')}"


def _tree(repo: str, revision: str, folder: str, recursive: bool) -> list[Any]:
    """What stands in a folder; nothing when there is no such folder."""

    def ask() -> list[Any]:
        with contextlib.suppress(need_hub().errors.EntryNotFoundError):
            place: dict[str, Any] = {"revision": revision, "repo_type": "dataset", "recursive": recursive}
            return list(_api().list_repo_tree(repo, folder or None, **place))
        return []

    return _ask(ask, repo, attempts=1)  # huggingface_hub asks this one again by itself


def _no_folder(repo: str, revision: str, folder: str) -> DataError:
    above = folder.rpartition("/")[0]
    names = sorted(entry.path for entry in _tree(repo, revision, above, recursive=False))
    shown = ", ".join(names[:8]) + (f", ... {names[-1]} ({len(names)} in all)" if len(names) > 8 else "")
    return DataError(
        f"{repo} has no parquet files in {folder} at {revision[:12]}",
        f"one of: {shown}",
        "another --source.name",
        code="data.no_files",
    )


def _ask(
    question: Callable[[], ResultT],
    what: str,
    held: Callable[[], int] = lambda: 0,
    attempts: int = _ATTEMPTS,
) -> ResultT:
    """The Hub's answer, asked again for a while where that may help; DataError where it does not.

    Attempts in which `held`, the bytes that are there, grew do not count against it.
    """
    failures, before = 0, held()
    while True:
        try:
            return question()
        except (*_broken_connection(), need_hub().errors.HfHubHTTPError) as error:
            if _is_final(error):
                raise _download_error(error, what) from None
            failures, before = (1 if held() > before else failures + 1), held()
            if failures == attempts:
                raise _unreachable(error, what) from None
        time.sleep(_PAUSE_S * 2 ** (failures - 1))


def _broken_connection() -> tuple[type[Exception], ...]:
    """What a lost connection raises: the transport errors of whichever HTTP library huggingface_hub uses."""
    library = type(need_hub().get_session()).__module__.partition(".")[0]
    return ConnectionError, importlib.import_module(library).TransportError


def _is_final(error: Exception) -> bool:
    """Whether the server said no; it is only busy at 408, 429 and 5xx."""
    answer = getattr(error, "response", None)
    return answer is not None and answer.status_code < 500 and answer.status_code not in (408, 429)


def _download_error(error: Any, what: str) -> DataError:
    code = error.response.status_code
    if code in (401, 403):
        return DataError(
            f"the Hub does not give {what} ({code})",
            "a name that exists and a token that may read it",
            "HF_TOKEN",
            code="data.hub_refuses",
        )
    if what.endswith(".parquet"):
        return DataError(
            f"the Hub has no file {what} ({code}), which it lists",
            "every file of the commit",
            "HF_ENDPOINT for another mirror, another --source.revision, or --source.path for a folder of the files",
            code="data.hub_lacks",
        )
    return DataError(
        f"the Hub has no {what} ({code})",
        "a data set and a revision that exist",
        "--source.revision",
        code="data.hub_lacks",
    )


def _unreachable(error: Exception, what: str) -> DataError:
    return DataError(
        f"{what} cannot be had from the Hub: {str(error).partition(chr(10))[0] or type(error).__name__}",
        "an answer within a few minutes (what was received is kept)",
        "the same command later, HF_ENDPOINT for a mirror, or --source.path for a folder of the same files",
        code="data.hub_unreachable",
    )


def _offline(what: str) -> DataError:
    return DataError(
        f"it is not known offline {what}" if what.startswith("which") else f"{what} is not in the cache",
        "what an earlier call fetched (HF_HUB_OFFLINE or NEOGPT_OFFLINE forbids the network)",
        "--source.path FOLDER with the same parquet files, or once without the switch",
        code="data.not_cached",
    )


def _damaged(file: File, path: Path) -> DataError:
    return DataError(
        f"{path} is damaged: its sha256 differs",
        f"{file.sha256}, which the Hub publishes",
        code="data.wrong_checksum",
    )


def _note(kind: str, *what: str) -> Path:
    """Where an answer of the Hub is remembered."""
    folder = cache_dir() / "hub"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{kind}-{digest({'what': [need_hub().constants.ENDPOINT, *what]})[:16]}"


def _api() -> Any:
    hub = need_hub()
    return hub.HfApi(endpoint=hub.constants.ENDPOINT)


def need_hub() -> Any:
    """The huggingface_hub module, which only the `data` extra installs; ConfigError without it."""
    try:
        import huggingface_hub  # extra: data
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError:
        raise ConfigError(
            "huggingface_hub is needed to read from the Hub",
            "the extra `data`",
            "pip install 'neogpt[data]'",
            code="cli.extra_missing",
        ) from None
    return huggingface_hub
