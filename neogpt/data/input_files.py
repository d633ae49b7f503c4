"""Files named by a path that may be a file, a folder or a glob, read whatever their compression."""

import glob
import gzip
import io
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from neogpt.data.hub import PREFIX, fetch
from neogpt.errors import ConfigError, DataError
from neogpt.paths import local_data

COMPRESSED = ("", ".gz", ".xz", ".zst")
_GLOB = re.compile(r"[*?\[]")
_SLICE = re.compile(r"(.*)#(\d+)of(\d+)", re.DOTALL)


def expand(path: str, suffixes: Sequence[str]) -> list[str]:
    """The files that `path` means, sorted: itself, all below a folder, or all that match a glob.

    Only files whose name ends in one of `suffixes` count, unless `path` names the file itself. Names that
    begin with a dot are passed over below a folder. `hf://datasets/OWNER/NAME` is a data set of the Hugging Face
    Hub (see `hub.py`). Errors: DataError says what was found instead.
    """
    if not path:
        raise ConfigError(
            "no input is named", "a file, a folder or a glob", "--source.path PATH", code="data.no_input"
        )
    root = fetch(path, suffixes) if path.startswith(PREFIX) else Path(path).expanduser()
    if root.is_file():
        return [str(root)]
    if root.is_dir():
        found = [p for p in root.rglob("*") if not _hidden(p.relative_to(root))]
    elif _GLOB.search(path):
        found = [Path(p) for p in glob.glob(str(root), recursive=True)]
    else:
        raise DataError(
            f"there is no file or folder {path}",
            "a file, a folder or a glob",
            "--source.path PATH",
            code="data.no_such_file",
        )
    files = [p for p in found if p.is_file()]
    wanted = sorted(
        (p for p in files if p.name.lower().endswith(tuple(suffixes))), key=lambda p: p.as_posix()
    )
    if not wanted:
        raise DataError(
            f"{path} has no file that this source reads ({_census(files)})",
            " ".join(suffixes),
            code="data.no_files",
        )
    return [str(p) for p in wanted]


def default_path(path: str, name: str, hub: str) -> str:
    """`path`; where it is empty, the file `name` in the folder NEOGPT_DATA, else the data set on the Hub."""
    folder = local_data()
    return path or (str(folder / name) if folder and (folder / name).is_file() else hub)


def slices(file: str, count: int) -> list[str]:
    """The parts of a file that is cut into `count`: the file itself, or `file#0of3`, `file#1of3`, ..."""
    return [f"{file}#{i}of{count}" for i in range(count)] if count > 1 else [file]


def part_file(part: str) -> Path:
    """The file of a part: a part is a path, or `path#0of3` for the first third of a parquet file."""
    match = _SLICE.fullmatch(part)
    return Path(match[1]) if match and not Path(part).exists() else Path(part)


def part_slice(part: str) -> tuple[int, int] | None:
    """Which slice of how many a part is; None for a whole file."""
    match = _SLICE.fullmatch(part)
    return (int(match[2]), int(match[3])) if match and not Path(part).exists() else None


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file open for reading, decompressed by its suffix; DataError where it is missing or damaged."""
    try:
        with _open(path) as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"there is no file {path}", "a file to read", code="data.no_such_file") from None
    except PermissionError:
        raise DataError(f"{path} may not be read", "read permission", code="data.unreadable") from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read: {error}", "a whole, undamaged file", code="data.unreadable"
        ) from None


def _open(path: Path) -> IO[bytes]:
    match path.suffix.lower():
        case ".gz":
            return cast(IO[bytes], gzip.open(path))
        case ".xz":
            return cast(IO[bytes], lzma.open(path))
        case ".zst":
            return _open_zstd(path)
    return open(path, "rb")


def _open_zstd(path: Path) -> IO[bytes]:
    reader = need_pyarrow(f"to read {path.name}").CompressedInputStream(str(path), "zstd")
    return cast(IO[bytes], io.BufferedReader(reader, 1 << 20))


def need_pyarrow(why: str) -> Any:
    """The pyarrow module, which only the `data` extra installs; ConfigError without it."""
    try:
        import pyarrow  # extra: data
    except ImportError:
        raise ConfigError(
            f"pyarrow is needed {why}",
            "the extra `data`",
            "pip install 'neogpt[data]'",
            code="cli.extra_missing",
        ) from None
    return pyarrow


def _hidden(relative: Path) -> bool:
    return any(piece.startswith(".") for piece in relative.parts)


def _census(files: list[Path]) -> str:
    """What kinds of file there are, for an error: "it has 3 .csv, 1 .pdf"."""
    counts = Counter(p.suffix or "without suffix" for p in files)
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(5))
    return f"it has {kinds}" if kinds else "it has no files"
