"""What a run needs before it begins: parameters, FLOPs, memory, time, cost, disk."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from neogpt import config, plugins
from neogpt.cli import _settings, _train
from neogpt.config import AnyRun
from neogpt.data.source import HasDocuments, need
from neogpt.errors import ConfigError
from neogpt.plan import Data, Memory, Plan, plan
from neogpt.plan.devices import DEVICES, Device

_USAGE = """usage: neogpt plan RECIPE [--source NAME] [--on DEVICE] [--gpus N] [--price DOLLARS] [--mfu SHARE] [--json]
       [SETTINGS]

  --source NAME    another data source than the recipe's (neogpt list sources)
  --on DEVICE      plan for one device and show its memory part by part: {devices}
  --gpus N         GPUs (or, for cpu, processes) that share each step (default: 1)
  --price DOLLARS  price of one GPU for an hour (default: an assumption, shown)
  --mfu SHARE      share of the device's peak that is reached (default: an assumption, shown)
  --config FILE    TOML settings, as in neogpt pretrain
  --json           print JSON
  SETTINGS         the recipe's own flags (neogpt pretrain RECIPE --help)

examples: neogpt plan gpt2-124m        neogpt plan gpt2-355m --on h100 --gpus 8 --price 2.50 --tokens 20000000000
"""


def run(args: list[str]) -> int:
    """`neogpt plan RECIPE [--on DEVICE] [--gpus N] [--price DOLLARS] [--mfu SHARE] [--json] [SETTINGS]`."""
    own, flags = _own_flags().parse_known_args(args)
    if own.recipe is None and {"-h", "--help"} & set(flags):
        print(_USAGE.format(devices=", ".join(DEVICES)))
        return 0
    if own.recipe is None or own.recipe.startswith("-"):
        raise ConfigError(
            "neogpt plan needs a recipe",
            f"one of {', '.join(_train.recipes('pretrain'))}",
            code="cli.no_recipe",
        )
    if {"-h", "--help"} & set(flags):
        print(_USAGE.format(devices=", ".join(DEVICES)))
    settings = _run(own.recipe, flags, own.config, own.source)
    found = plan(settings, _devices(own), _at_least_one(own.gpus), _data(settings))
    if own.json:
        print(json.dumps(dataclasses.asdict(found), indent=2))
    else:
        print("\n".join(_lines(found)))
    return 0


def _own_flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="neogpt plan", add_help=False, allow_abbrev=False)
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("--source", default="")
    parser.add_argument("--on")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--price", type=float)
    parser.add_argument("--mfu", type=float)
    parser.add_argument("--config")
    parser.add_argument("--json", action="store_true")
    return parser


def _at_least_one(gpus: int) -> int:
    if gpus < 1:
        raise ConfigError(f"--gpus {gpus}", "a number from 1 up", code="config.out_of_range")
    return gpus


def _run(recipe: str, flags: Sequence[str], file: str | None, source: str = "") -> AnyRun:
    """The run, its model with as many ids as its tokenizer will have."""
    default = _train.recipe("pretrain", recipe)
    prog = f"neogpt plan {recipe}"
    run = config.parse(default, flags, Path(file) if file else None, prog, source)
    _settings.validate_shape(run, flags)
    _settings.validate_ids(run, flags)
    return dataclasses.replace(run, model=dataclasses.replace(run.model, vocab_size=_settings.n_ids(run)))


def _data(run: AnyRun) -> Data | None:
    """The size of the run's source, where it knows one (in tokens of GPT-2's)."""
    found = need(run.source, HasDocuments).expected() if run.data.tokenizer == "gpt2" else None
    return Data(*found) if found else None


def _devices(own: argparse.Namespace) -> list[Device]:
    """The one that was named, or all GPUs, with the user's figures in place of assumed ones."""
    if own.on is not None and own.on.lower() not in DEVICES:
        raise plugins.unknown("device", own.on, list(DEVICES))
    chosen = [DEVICES[own.on.lower()]] if own.on else [d for d in DEVICES.values() if d.name != "cpu"]
    if own.price is not None:
        chosen = [dataclasses.replace(d, dollars_per_hour=own.price) for d in chosen]
    if own.mfu is not None:
        if not 0 < own.mfu <= 1:
            raise ConfigError(
                f"--mfu {own.mfu}", "a share between 0 and 1", "--mfu 0.4", code="config.out_of_range"
            )
        chosen = [dataclasses.replace(d, mfu=own.mfu, mfu_source="as given") for d in chosen]
    return chosen


def _lines(p: Plan) -> list[str]:
    m, b = p.model, p.budget
    rows = p.batch // p.micro_batches
    return [
        f"{p.recipe}: GPT-2 of {m['n_layer']} layers, {m['n_head']} heads, width {m['n_embd']}, "
        f"context {m['n_positions']:,}, {m['vocab_size']:,} ids",
        "",
        f"parameters      {p.params:,}",
        f"FLOPs a token   {p.flops_per_token / 1e6:,.1f} M = 6 N + 12 L D T ({p.attention_share:.0%} of it attention)",
        f"run             {b.steps:,} steps of {p.batch:,} x {p.length:,} = {b.tokens:,} tokens, {b.flops:.3g} FLOPs"
        f" + {b.evaluation_flops:.2g} for the held-out loss",
        f"batch           {p.micro_batches} micro-batches of {rows} sequences;"
        f" {', '.join(map(str, p.sharing))} processes can share them",
        f"data            {_data_line(p.data)}",
        f"disk            the run reads {_gb(b.data_bytes)} of shards (two bytes a token);"
        f" {b.checkpoints} checkpoints of {_gb(b.checkpoint_bytes)} at most,"
        f" {_gb(b.checkpoints * b.checkpoint_bytes)}",
        "",
        *_memory_lines(p),
        "",
        *_device_lines(p),
        "",
        "Time leaves out evals, saving and start-up. Prices are assumptions: --price gives yours, --mfu your speed.",
    ]


def _data_line(data: Data | None) -> str:
    """A preparation writes the whole source, whatever the run reads of it."""
    if not data:
        return "the whole source is prepared: two bytes a token, and as much again until it is shuffled"
    return (
        f"the whole source is prepared: about {_gb(data.shard_bytes)} of shards, as much again until they are shuffled,"
        f"\n{'':16}and {_gb(data.download_bytes)} of downloads (--keep-files False: few at once);"
        f" {_gb(data.peak_bytes)} at most"
    )


def _memory_lines(p: Plan) -> list[str]:
    """Part by part at the fullest moment, plain and with activation checkpointing."""
    plain, again = p.memory, p.memory_checkpointed
    names = list(dict.fromkeys([*plain.parts, *again.parts]))
    width = max(map(len, names))
    who = f"one of {p.processes} processes" if p.processes > 1 else "the process"
    copy = (
        [f"  and {_gb(p.copy_bytes)} of the host's memory for saves in the background"]
        if p.copy_bytes
        else []
    )
    return [
        f"memory of {who} ({p.dtype}, {p.optimizer}, {p.layout})",
        f"  {'':<{width}}  {'plain':>10}  {'checkpointed':>12}",
        *(f"  {n:<{width}}  {_part(plain, n):>10}  {_part(again, n):>12}" for n in names),
        f"  {'peak':<{width}}  {_gb(plain.peak):>10}  {_gb(again.peak):>12}",
        f"  {'at':<{width}}  {plain.moment:>10}  {again.moment:>12}",
        f"  and about {_gb(p.base_bytes)} for the framework itself",
        *(copy if p.devices[0].device != "cpu" else []),
    ]


def _part(memory: Memory, name: str) -> str:
    return _gb(memory.parts[name]) if name in memory.parts else "-"


def _device_lines(p: Plan) -> list[str]:
    rows = [("device", "", "micro-batches that fit", "checkpointed", "tokens/s", "time", "cost", "assumed")]
    for d in p.devices:
        assumed = f"MFU {d.mfu:.0%} ({d.mfu_source}), ${d.dollars_per_hour:.2f} an hour"
        rows.append(
            (
                d.device,
                f"x {d.gpus}",
                _cut(p, d.micro_batches),
                _cut(p, d.micro_batches_checkpointed),
                f"{d.tokens_per_s:,.0f}",
                _time(d.seconds),
                f"${d.dollars:,.2f}",
                assumed,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cut(p: Plan, micro_batches: int) -> str:
    """Into how many micro-batches at least, and how many sequences each then has."""
    return f"{micro_batches} of {p.batch // micro_batches}" if micro_batches else "none"


def _gb(size: int) -> str:
    return f"{size / 1e9:,.2f} GB"


def _time(seconds: float) -> str:
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.1f} days"
