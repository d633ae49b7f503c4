"""`neogpt study scaling grid`: train a grid of runs and write the table that the law is fitted to."""

import argparse
import json
import sys
from pathlib import Path

from neogpt.errors import ConfigError
from neogpt.studies.scaling import grid, points, runner
from neogpt.studies.scaling.grid import Job, Spec

_USAGE = """usage: neogpt study scaling grid [RECIPE] --folder DIR [--sizes SIZE ...] [--tokens N ...] [--seeds N ...]
                                 [--executor here|slurm|ray] [--dry-run] [--json] [-- SETTINGS]

  RECIPE           what all runs begin as (neogpt list recipes); without it DIR's grid goes on
  --folder DIR     the grid's folder: a folder a run, grid.json, points.csv
  --sizes SIZE     LAYERSxWIDTH or LAYERSxWIDTHxHEADS
  --tokens N       horizons, in training tokens
  --seeds N        seeds of weights and data order (default: 0)
  --executor NAME  here (one chain after another), slurm or ray: a chain is the runs of one size and seed
  --partition P --time T --cpus N    what a job of Slurm or Ray asks for
  --chain K        train one chain alone
  --dry-run        say what would be trained
  --json           print JSON
  SETTINGS         flags of neogpt pretrain RECIPE that all runs share, behind --

With the WSD schedule a longer run goes on from the flat part of a shorter one, with the bits it would have had
from scratch. Stopped or killed, the same command goes on.

example: neogpt study scaling grid laptop --folder runs/grid --sizes 2x64 4x128 6x192 --tokens 1000000 2000000 4000000
         -- --source.path my-books --data.tokenizer trained --data.vocab-size 4096
"""


def run(args: list[str]) -> int:
    """`neogpt study scaling grid ...`."""
    own, settings = (args[: args.index("--")], args[args.index("--") + 1 :]) if "--" in args else (args, [])
    options = _parser().parse_args(own)
    if options.help:
        sys.stdout.write(_USAGE)
        return 0
    folder = Path(options.folder) if options.folder else None
    if folder is None:
        raise ConfigError(
            "the grid has no folder", "a folder for its runs", "--folder runs/grid", code="scaling.bad_grid"
        )
    spec = _spec(options, settings, folder)
    chains = grid.chains(spec)
    if options.dry_run:
        _print_plan(spec, chains, options.json)
        return 0
    if options.recipe:
        spec.keep(folder)
    if options.chain is not None:
        _train_one(folder, spec, chains, options.chain)
        return 0
    _train(folder, spec, chains, options)
    rows = grid.table(folder, [job for chain in chains for job in chain])
    points.write(folder / grid.TABLE, rows)
    told = json.dumps(rows, indent=2) if options.json else _finished(folder, len(rows))
    sys.stdout.write(told + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="neogpt study scaling grid", add_help=False, allow_abbrev=False)
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("--folder")
    parser.add_argument("--sizes", nargs="+", default=[])
    parser.add_argument("--tokens", nargs="+", type=int, default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--executor", choices=("here", "slurm", "ray"), default="here")
    parser.add_argument("--partition", default="")
    parser.add_argument("--time", default="24:00:00")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--chain", type=int)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    return parser


def _spec(options: argparse.Namespace, settings: list[str], folder: Path) -> Spec:
    """What was typed, or the grid that stands in the folder."""
    if options.recipe:
        return Spec(
            options.recipe, tuple(options.sizes), tuple(options.tokens), tuple(options.seeds), tuple(settings)
        )
    if options.sizes or options.tokens or settings:
        raise ConfigError(
            "a grid of sizes and tokens, and no recipe",
            "a recipe to begin with, or --folder alone to go on",
            "neogpt study scaling grid laptop --folder DIR --sizes 2x64 4x128 --tokens 1000000 2000000",
            code="scaling.bad_grid",
        )
    return Spec.read(folder)


def _train(folder: Path, spec: Spec, chains: list[list[Job]], options: argparse.Namespace) -> None:
    if options.executor == "slurm":
        runner.on_slurm(folder, len(chains), options.partition, options.time, options.cpus)
    elif options.executor == "ray":
        runner.on_ray(folder, len(chains), options.cpus)
    else:
        for chain in chains:
            runner.train_chain(folder, spec.recipe, chain, _tell)


def _train_one(folder: Path, spec: Spec, chains: list[list[Job]], number: int) -> None:
    if not 0 <= number < len(chains):
        raise ConfigError(
            f"--chain {number}", f"a chain from 0 to {len(chains) - 1}", code="scaling.bad_grid"
        )
    runner.train_chain(folder, spec.recipe, chains[number], _tell)


def _print_plan(spec: Spec, chains: list[list[Job]], as_json: bool) -> None:
    jobs = [job for chain in chains for job in chain]
    if as_json:
        rows = [{"run": job.name, "steps": job.steps, "flat": job.flat, "flags": job.flags} for job in jobs]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    begun = [0 if i == 0 else chain[i - 1].flat for chain in chains for i in range(len(chain))]
    lines = [f"{job.name}: steps {start} to {job.steps}" for job, start in zip(jobs, begun, strict=True)]
    trained, scratch = (
        sum(j.steps - s for j, s in zip(jobs, begun, strict=True)),
        sum(job.steps for job in jobs),
    )
    lines.append(f"{len(jobs)} runs of {spec.recipe}, {trained:,} steps ({scratch:,} from scratch)")
    sys.stdout.write("\n".join(lines) + "\n")


def _finished(folder: Path, n_runs: int) -> str:
    file = folder / grid.TABLE
    return f"{n_runs} runs are in {file}; next: neogpt study scaling --points {file}"


def _tell(line: str) -> None:
    sys.stderr.write(f"neogpt: {line}\n")
    sys.stderr.flush()
