"""What there is: recipes, sources, objectives, rewards, evals, and runs on this disk."""

import json
from pathlib import Path
from typing import Annotated, Literal

import tyro

from neogpt import config, evals, ledger, plugins
from neogpt.cli import _flags
from neogpt.paths import RunDir

Kind = Literal["recipes", "sources", "objectives", "rewards", "evals", "runs", "all"]
_PACKAGES = {
    "recipes": "neogpt.recipes",
    "sources": "neogpt.data.sources",
    "objectives": "neogpt.objectives",
    "rewards": "neogpt.objectives.rl.rewards",
    "evals": "neogpt.evals",
}


def run(args: list[str]) -> int:
    """`neogpt list [recipes|sources|objectives|rewards|evals|runs]`."""
    given = _flags.bare(args, "--json")
    tyro.cli(_list, args=given, prog="neogpt list", config=(tyro.conf.FlagCreatePairsOff,))
    return 0


def _list(
    kind: Annotated[Kind, tyro.conf.Positional] = "all",
    /,
    folder: Path = Path("runs"),
    json: bool = False,
) -> None:
    """What there is: recipes, sources, objectives, rewards, evals, and runs on this disk.

    examples: neogpt list recipes        neogpt list runs --folder runs --json

    Args:
        kind: which of them.
        folder: where to look for runs.
        json: print JSON.
    """
    kinds = [*_PACKAGES, "runs"] if kind == "all" else [kind]
    found = {k: _runs(folder) if k == "runs" else _plugins(k) for k in kinds}
    if json:
        _print_json(found)
        return
    for name, rows in found.items():
        print(f"{name}:" if rows else f"{name}: none")
        width = max(map(len, rows), default=0)
        for row, text in rows.items():
            print(f"  {row:<{width}}  {text}")


def _plugins(kind: str) -> dict[str, str]:
    package = _PACKAGES[kind]
    found = {name: plugins.summary(package, name) for name in plugins.names(package)}
    return {name: f"{text} {_options(name)}" if kind == "evals" else text for name, text in found.items()}


def _options(name: str) -> str:
    """An eval's options and what they are by default: [limit=0,style=build-nanogpt], as an entry takes them."""
    found = evals.options(name).items()
    texts = (f"{key}={','.join(value) if isinstance(value, tuple) else value}" for key, value in found)
    return f"[{','.join(texts)}]"


def _runs(folder: Path) -> dict[str, str]:
    """Each run below `folder` -> its stage, recipe and how far it came."""
    rows = {}
    for path in sorted(folder.rglob("config.toml")):
        run = RunDir(path.parent)
        values = config.read_toml(path)
        steps = [row["step"] for row in ledger.read(run.metrics) if "step" in row]
        done = f"step {steps[-1] if steps else 0} of {values.get('steps')}"
        rows[str(run.root)] = f"{values.get('stage')} {values.get('recipe')}, {done}"
    return rows


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))
