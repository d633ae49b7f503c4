"""An interpreter without what only POSIX has, on files that behave as Windows': near it, and not Windows itself.

`imitate()` comes before anything of neogpt is imported. Libraries are imported first, since they have their own ways
on Windows; `filelock` keeps flock, as it has LockFileEx there. From then on modules such as fcntl, functions such as
os.fork and signals such as SIGKILL are not there; a folder cannot be opened; what was opened for reading cannot be
flushed; a file that is open or mapped cannot be renamed, replaced or deleted; nothing is renamed over what exists;
nobody may make symbolic links; and text without a named encoding is an error in neogpt.
"""

import ast
import contextlib
import errno
import importlib
import os
import shutil
import signal
import sys
import tempfile  # noqa: F401 (as those below: they look at the system when they are imported)
import uuid  # noqa: F401
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import popen_spawn_posix, resource_tracker  # noqa: F401
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MODULES = "crypt curses fcntl grp nis pty pwd readline resource spwd syslog termios tty".split()
FUNCTIONS = """chown chroot confstr fchdir fchmod fchown fdatasync fork forkpty fpathconf fstatvfs getegid
 geteuid getgid getgroups getloadavg getpgid getpgrp getpriority getresuid getsid getuid initgroups killpg
 lchown lockf mkfifo mknod nice openpty pathconf pidfd_open pipe2 posix_fadvise posix_fallocate posix_spawn
 posix_spawnp pread preadv pwrite pwritev readv register_at_fork sched_getaffinity sched_setaffinity sched_yield
 sendfile setegid seteuid setgid setpgid setpriority setsid setuid splice statvfs sync sysconf tcgetpgrp
 tcsetpgrp ttyname uname wait wait3 wait4 waitid writev O_CLOEXEC O_DIRECTORY O_DSYNC O_NOATIME O_NOCTTY
 O_NOFOLLOW O_NONBLOCK O_PATH O_SYNC""".split()
SIGNALS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"}
SIGNAL_FUNCTIONS = (
    "alarm getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending".split()
)


def imitate() -> None:
    """Make this interpreter such a one."""
    for name in libraries():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    _take_away()
    _restrict_files()
    warnings.filterwarnings("error", category=EncodingWarning, module="neogpt")


def libraries() -> list[str]:
    """What neogpt's files import at their top, but for neogpt and itself."""
    found = {"filelock", "safetensors.torch", "torch.distributed.fsdp"}
    for path in (ROOT / "neogpt").rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return sorted(name for name in found if name.partition(".")[0] not in ("neogpt", *MODULES))


def _take_away() -> None:
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    statvfs = os.statvfs
    for name in FUNCTIONS:
        vars(os).pop(name, None)

    def disk_usage(path: Any) -> Any:
        facts = statvfs(path)
        total, free = facts.f_frsize * facts.f_blocks, facts.f_frsize * facts.f_bavail
        return shutil._ntuple_diskusage(total, total - free, free)  # type: ignore[attr-defined]

    shutil.disk_usage = disk_usage  # Python has another one on Windows
    for name in list(vars(signal)):
        if (name.startswith("SIG") and name not in SIGNALS) or name in SIGNAL_FUNCTIONS:
            delattr(signal, name)


def _restrict_files() -> None:
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    rename, open_, fsync = os.rename, os.open, os.fsync

    def careful_rename(source: Any, target: Any, **_: Any) -> None:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "it exists", os.fspath(target))
        _demand_closed(source)
        rename(source, target)

    def careful_open(path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "it is a folder", os.fspath(path))
        return open_(path, flags, mode, **options)

    def careful_fsync(descriptor: int) -> None:
        facts = Path(f"/proc/self/fdinfo/{descriptor}").read_text("utf-8")
        flags = next(int(line.split()[1], 8) for line in facts.splitlines() if line.startswith("flags:"))
        if flags & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "it was opened for reading")
        fsync(descriptor)

    def no_links(*_: Any, **__: Any) -> None:
        raise OSError(errno.EINVAL, "a required privilege is not held by the client")

    os.replace, os.unlink, os.remove = map(_when_closed, (os.replace, os.unlink, os.remove))
    os.rename, os.open, os.fsync, os.symlink = careful_rename, careful_open, careful_fsync, no_links


def _when_closed(function: Callable[..., None]) -> Callable[..., None]:
    def careful(*paths: Any, **options: Any) -> None:
        for path in paths:
            _demand_closed(path)
        function(*paths, **options)

    return careful


def _demand_closed(path: Any) -> None:
    """PermissionError where the file, or one in the folder, is open or mapped."""
    wanted = os.path.abspath(os.fspath(path))
    for held in _held_files():
        if held == wanted or held.startswith(wanted + os.sep):
            raise PermissionError(errno.EACCES, "another process has it open (it is this one)", held)


def _held_files() -> Iterator[str]:
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            yield os.readlink(f"/proc/self/fd/{descriptor}")
    for line in Path("/proc/self/maps").read_text("utf-8").splitlines():
        yield line.partition("/")[1] + line.partition("/")[2]
