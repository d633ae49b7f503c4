"""What pretrain, sft and dpo share: read the flags, watch the run, call the loop."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neogpt import config, plugins
from neogpt.cli import _settings
from neogpt.config import AnyRun
from neogpt.errors import ConfigError
from neogpt.paths import RunDir

if TYPE_CHECKING:
    from neogpt.train.trackers.base import BackgroundTracker


def run(stage: str, args: Sequence[str]) -> int:
    """`neogpt STAGE RECIPE [--source NAME] [--run DIR] [--resume [auto|DIR]] [--config FILE] [--dry-run] ...`."""
    own, flags = _own_flags(stage).parse_known_args(args)
    if own.recipe is None and {"-h", "--help"} & set(flags):
        print(f"{_usage(stage, 'RECIPE')}\n{_recipe_lines(stage)}")
        return 0
    if own.recipe is None or own.recipe.startswith("-"):
        raise ConfigError(
            f"neogpt {stage} needs a recipe", f"one of {', '.join(recipes(stage))}", code="cli.no_recipe"
        )
    default = recipe(stage, own.recipe)
    if "-h" in flags or "--help" in flags:
        print(_usage(stage, own.recipe))
    file = Path(own.config) if own.config else None
    settings = config.parse(default, flags, file, prog=f"neogpt {stage} {own.recipe}", typed=own.source)
    _settings.check(settings, flags)
    folder = Path(own.run or f"runs/{_folder_name(stage, own.recipe)}")
    command = shlex.join(["neogpt", stage, *args])
    if own.dry_run:
        return _dry_run(settings, folder)
    start(settings, folder, own.resume or "", command)
    return 0


def start(settings: AnyRun, folder: Path, resume: str = "", command: str = "") -> None:
    """Train with the progress lines, the trackers, the sheet of samples and the recipe's evals."""
    from neogpt.cli._progress import Progress  # start-up time
    from neogpt.evals import evaluator
    from neogpt.report.samples import SampleSheet
    from neogpt.train.run import train
    from neogpt.train.run_log import Tracker

    progress, trackers = Progress(), trackers_of(settings, folder)
    shown: list[Tracker] = [progress, SampleSheet(RunDir(folder)), *trackers]
    try:
        train(settings, folder, resume, evaluator(settings), shown, command)
    finally:
        progress.close()
        for tracker in trackers:
            tracker.close()


def trackers_of(settings: AnyRun, folder: Path) -> "list[BackgroundTracker]":
    """Those that the settings name; nothing is imported or begun before the run is."""
    names = _settings.trackers(settings)
    return [plugins.get(_settings.TRACKERS, name).build(RunDir(folder)) for name in names]


def recipes(stage: str) -> list[str]:
    """The recipes that have this stage."""
    found = plugins.names("neogpt.recipes")
    return [name for name in found if hasattr(plugins.get("neogpt.recipes", name), stage)]


def _recipe_lines(stage: str) -> str:
    found = {name: plugins.summary("neogpt.recipes", name) for name in recipes(stage)}
    width = max(map(len, found))
    lines = [f"  {name:<{width}}  {line}" for name, line in found.items()]
    return "\n".join(["recipes (neogpt " + stage + " RECIPE --help lists their settings):", *lines])


def recipe(stage: str, name: str) -> AnyRun:
    """The defaults that the recipe's function for this stage gives."""
    module = plugins.get("neogpt.recipes", name)
    if not hasattr(module, stage):
        raise plugins.unknown(f"recipe for {stage}", name, recipes(stage))
    settings: AnyRun = getattr(module, stage)()
    return settings


def _folder_name(stage: str, name: str) -> str:
    """`runs/RECIPE`, with the stage where a recipe has several."""
    module = plugins.get("neogpt.recipes", name)
    others = [
        other for other in plugins.names("neogpt.objectives") if other != stage and hasattr(module, other)
    ]
    return f"{name}-{stage}" if others else name


def _own_flags(stage: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"neogpt {stage}", add_help=False, allow_abbrev=False)
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("--source", default="")
    parser.add_argument("--run")
    parser.add_argument("--resume", nargs="?", const="auto")
    parser.add_argument("--config")
    parser.add_argument("--dry-run", action="store_true")
    return parser


def _usage(stage: str, name: str) -> str:
    folder = name if name == "RECIPE" else _folder_name(stage, name)
    return f"""usage: neogpt {stage} {name} [--source NAME] [--run DIR] [--resume [auto|DIR]] [--config FILE]
       [--dry-run] [SETTINGS]

  --source NAME        another data source than the recipe's (neogpt list sources); --help then lists its settings
  --run DIR            the run's folder (default: runs/{folder})
  --resume [auto|DIR]  go on from the newest whole checkpoint (or begin), or from one (what came later is removed)
  --config FILE        TOML settings; flags go over them, they go over the recipe
  --dry-run            check the settings as far as no data is needed, print them as TOML and stop

examples: neogpt {stage} {name} --run runs/mine --steps 60 --seed 7
          torchrun --nproc-per-node 2 -m -- neogpt {stage} {name} --run runs/mine --resume auto
"""


def _dry_run(settings: AnyRun, folder: Path) -> int:
    import tomli_w  # start-up time

    sys.stdout.write(f"# run: {folder}\n{tomli_w.dumps(config.to_dict(settings))}")
    return 0
