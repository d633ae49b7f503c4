"""What a fresh machine gets: pinned versions, an installation that happens once, a wheel that runs."""

import importlib
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import neogpt

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


# Pins


def pinned() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.partition("==") for line in lines if line and not line.startswith("#")]
    return {name.lower().replace("_", "-"): Version(version) for name, _, version in pins}


def test_every_dependency_is_pinned_within_its_range() -> None:
    project = PROJECT["project"]
    extras = chain.from_iterable(project["optional-dependencies"].values())
    wanted = [*project["dependencies"], *extras, *PROJECT["build-system"]["requires"]]
    for requirement in map(Requirement, wanted):
        if requirement.name != "neogpt":
            assert requirement.specifier.contains(pinned()[requirement.name.lower()]), requirement.name


def test_pins_name_no_build_of_torch() -> None:
    """`torch==2.13.0+cpu` could not be installed where the index has only the CUDA build, and vice versa."""
    assert [name for name, version in pinned().items() if version.local] == []


# Installation


@pytest.fixture
def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """tools/install.py in a checkout of its own, with `install` and `make_venv` only noted."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    module = importlib.import_module("install")
    root = tmp_path / "neo gpt"
    (root / "tools").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", "tools/install.py"):
        (root / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(module, "VENV", root / ".venv")
    monkeypatch.setattr(module, "PYTHON", root / ".venv" / "bin" / "python")
    module.done = []
    monkeypatch.setattr(module, "install", lambda extras: module.done.append(extras))

    def make_venv() -> None:
        module.done.append("venv")
        (root / ".venv" / "bin").mkdir(parents=True)
        module.PYTHON.symlink_to(sys.executable)

    monkeypatch.setattr(module, "make_venv", make_venv)
    return module


def test_the_second_installation_does_nothing(installer, capsys: pytest.CaptureFixture[str]) -> None:
    installer.main(["plot"])
    assert installer.done == ["venv", ["plot"]]
    assert "installed in" in capsys.readouterr().out
    installer.main(["plot"])
    assert len(installer.done) == 2
    assert capsys.readouterr().out == ""


def test_what_changes_an_installation_is_noticed(installer) -> None:
    installer.main(["dev"])
    installer.main(["plot"])  # dev holds it
    assert installer.done == ["venv", ["dev"]]
    with open(installer.ROOT / "constraints.txt", "a") as file:
        file.write("one-more==1.0\n")
    installer.main(["plot"])
    installer.main(["dev"])
    assert installer.done[2:] == [["plot"], ["dev"]]


def test_an_interrupted_or_moved_installation_is_made_again(installer, monkeypatch) -> None:
    def interrupted(extras: list[str]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(installer, "install", interrupted)
        with pytest.raises(KeyboardInterrupt):
            installer.main(["dev"])
    installer.main(["dev"])
    assert installer.done == ["venv", ["dev"]]
    before = installer.key()
    monkeypatch.setattr(installer, "ROOT", installer.ROOT.rename(installer.ROOT.with_name("moved")))
    assert installer.key() != before


# Wheel


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """The wheel of a copy of this checkout (a build writes into its source)."""
    copy = folder / "neo gpt"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "neogpt", copy / "neogpt", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "dist", ".", cwd=copy)
    return next((copy / "dist").glob("neogpt-*.whl"))


def test_a_wheel_installs_and_runs_elsewhere(tmp_path: Path) -> None:
    """In an environment of its own that borrows this one's dependencies, but not its editable neogpt."""
    wheel = build_wheel(tmp_path)
    shipped = set(zipfile.ZipFile(wheel).namelist())
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "neogpt").rglob("*.py")}
    assert code | {"neogpt/py.typed"} <= shipped

    venv = tmp_path / "venv"
    python = venv / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=tmp_path)
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=tmp_path)
    site = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    )
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))

    where = run(python, "-c", "import neogpt; print(neogpt.__file__, neogpt.__version__)", cwd=tmp_path)
    assert where.split() == [str(site / "neogpt" / "__init__.py"), neogpt.__version__]
    assert "demo" in run(venv / "bin" / "neogpt", "--help", cwd=tmp_path)
