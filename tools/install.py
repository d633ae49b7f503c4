"""Make `.venv` beside this checkout and install NeoGPT into it, once; standard library only.

`python3 tools/install.py EXTRA...` is what `make demo` and `make test` call first. Versions come from
constraints.txt. A stamp inside `.venv`, named by a hash of everything the installation depends on, makes the
second call a no-op; it is written last, so an interrupted installation is done again.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
OLDEST = (3, 11)


def say(text):
    print(f"neogpt: {text}", flush=True)


def fail(what, remedy):
    sys.exit(f"neogpt: {what}\n  try: {remedy}")


def run(*command, **options):
    return subprocess.run([str(part) for part in command], cwd=str(ROOT), check=True, **options)


def key():
    """Names one state of the installation: its inputs, and the place that an editable install points to."""
    parts = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt", "tools/install.py")]
    return hashlib.sha256(b"\0".join([*parts, bytes(ROOT)])).hexdigest()[:16]


def stamps(extras):
    """The stamps that say these extras are installed; `dev` holds every other."""
    return [VENV / f".neogpt-{name}-{key()}" for name in dict.fromkeys(["+".join(extras), "dev"])]


def is_alive():
    """Whether the environment's interpreter still runs (a moved or half-made one does not)."""
    try:
        run(PYTHON, "-c", "", stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def make_venv():
    """A virtual environment with pip, also where the system's Python comes without ensurepip (Debian)."""
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:3]))
        fail(f"Python 3.11 or newer is needed, this is {found}", "make demo PYTHON=python3.12")
    say(f"making .venv with {sys.executable} (Python {sys.version.split()[0]})")
    shutil.rmtree(str(VENV), ignore_errors=True)
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        run(sys.executable, "-m", "venv", VENV, **quiet)
    except subprocess.CalledProcessError as no_ensurepip:
        try:
            run(sys.executable, "-m", "venv", "--clear", "--without-pip", VENV, **quiet)
            run(sys.executable, "-m", "pip", "--python", PYTHON, "install", "--quiet", "pip", **quiet)
        except subprocess.CalledProcessError:
            output = (no_ensurepip.output or b"").decode(errors="replace").strip()
            fail(
                f"this Python cannot make a virtual environment:\n{output}",
                "sudo apt install python3-venv (Debian, Ubuntu), or make demo PYTHON=another-python3",
            )


def install(extras):
    """NeoGPT itself, editable, and its dependencies at the pinned versions."""
    wanted = f".[{','.join(extras)}]"
    say(f"installing {wanted} at the versions of constraints.txt; PyTorch makes this a minute or a few")
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install"]
    pip += [] if sys.stdout.isatty() else ["--quiet"]
    try:
        # The build tool is pinned as well, which pip's isolated builds would not do.
        run(*pip, "-c", "constraints.txt", "setuptools")
        run(*pip, "-c", "constraints.txt", "--no-build-isolation", "-e", wanted)
    except subprocess.CalledProcessError:
        fail("the installation did not finish; pip says why above", "the same command, or `make clean` first")


def main(extras):
    if is_alive() and any(stamp.exists() for stamp in stamps(extras)):
        return
    began = time.monotonic()
    if not is_alive():
        make_venv()
    install(extras)
    stamps(extras)[0].touch()
    say(f"installed in {time.monotonic() - began:.0f} s; the next time this step does nothing")


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    main(sorted(sys.argv[1:]) or ["plot"])
