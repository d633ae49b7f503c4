"""Post-training: useful tokens (SFT) and pairs (DPO) a second, and peak memory, of NeoGPT's loop beside TRL's trainers.

    .venv/bin/python benchmarks/post_training.py [--sizes tiny small 124m] [--stages sft dpo] [--threads 2] [--json F]

SFTTrainer and DPOTrainer begin with the same weights as NeoGPT, and every step has the same examples or pairs, the same
number of micro-batches, precision, AdamW, clipping and rate. First the losses are shown to coincide: five steps in
float32, to 1e-4, or the benchmark ends with an error. Then all take turns, each in a process of its own (_race.py).

    trl               as it comes: padding to the longest of a micro-batch drawn at random, gradient checkpointing, for
                      DPO a reference model beside the policy
    trl-plain         without gradient checkpointing
    trl-padding-free  SFT: the micro-batch as one row without padding (DPOTrainer has none)
    trl-best          without gradient checkpointing, the step's rows sorted by length as NeoGPT sorts them (which TRL
                      does not do of itself), for DPO with the reference's log-probabilities computed before training
    neogpt            rows by length, padded; for DPO the reference's log-probabilities from the cache
    neogpt-packed     rows side by side without padding
    neogpt-live       DPO with the reference in memory, as `trl` has it

So the gains are told apart: trl over trl-plain is checkpointing; trl-plain over trl-best is padding and, for DPO, the
reference; neogpt-live over neogpt is the reference alone; trl-best over neogpt: the loop, the loss and the model. What
happens before the first step is not in the time: the reference's log-probabilities cost either side one forward of each
pair. Peak memory is the process's; `imported` in the JSON is what stands there before there is a model.

Data: Dolly and red-team pairs of NEOGPT_DATA, the embedded world without it and at the tiny size; `--examples` of
them, those that fit the context whole. `--clock cpu` counts processor seconds, for a machine that is busy with others
(use `--threads 1` then).
"""

import argparse
import contextlib
import dataclasses
import json
import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _post_contenders import STAGES, Spec, available, run_config
from _race import CHECK_STEPS, beside, coincide, machine, race, show

UNITS = {"sft": "tokens", "dpo": "pairs"}


@dataclasses.dataclass(frozen=True)
class Size:
    """A model, a batch, and how many steps a turn has."""

    shape: tuple[int, int, int, int]
    """n_layer, n_head, n_embd, n_positions."""
    size: int
    micro_batches: int
    steps: int
    real: bool = True
    """GPT-2's vocabulary, and the data of NEOGPT_DATA where there is any."""


SIZES = {
    "tiny": Size((4, 4, 128, 128), 32, 4, 2, real=False),  # recipes/tinyworld.py
    "small": Size((4, 4, 256, 512), 16, 4, 1),
    "124m": Size((12, 12, 768, 1024), 16, 4, 1),
}


def records(stage: str, has_data: bool) -> Iterator[dict[str, str]]:
    """Rows as `jsonl` reads them, each alone (no conversations)."""
    from neogpt.data.sources import dolly, red_team_pairs, tinyworld
    from neogpt.records import RowStats

    bad = RowStats()
    if stage == "sft":
        items: Any = dolly.Dolly().instructions(bad) if has_data else tinyworld.Tinyworld().instructions(bad)
        names = ("instruction", "context", "response")
    else:
        items = red_team_pairs.RedTeamPairs().pairs(bad) if has_data else tinyworld.Tinyworld().pairs(bad)
        names = ("instruction", "context", "chosen", "rejected")
    for item in items:
        if not item.history:
            yield {name: getattr(item, name) for name in names}


def fitting(stage: str, tokenizer: Any, n_positions: int, most: int, has_data: bool) -> list[dict[str, str]]:
    """The first `most` rows that fit the context whole."""
    from neogpt.tokenizer.template import encode_example

    kept: list[dict[str, str]] = []
    for row in records(stage, has_data):
        answers = [row[name] for name in ("response", "chosen", "rejected") if name in row]
        examples = [encode_example(tokenizer, row["instruction"], row["context"], a) for a in answers]
        if max(len(prompt) + len(answer) for prompt, answer in examples) <= n_positions:
            kept.append(row)
        if len(kept) == most:
            break
    return kept


def prepared(
    stage: str, size: Size, n_steps: int, options: argparse.Namespace, folder: Path
) -> tuple[Spec, list[float]]:
    """The first weights and the rows of `n_steps` steps in NeoGPT's own order; and the units of each step."""
    from neogpt import plugins
    from neogpt.config import GPT2Config
    from neogpt.data.build_tokenizer import DataConfig, tokenizer_for
    from neogpt.data.permutation import sample_ids
    from neogpt.data.sources import tinyworld
    from neogpt.model import GPT2, save_pretrained

    has_data = size.real and bool(os.environ.get("NEOGPT_DATA"))
    kind = DataConfig(tokenizer="gpt2") if has_data else DataConfig(tokenizer="trained", vocab_size=1344)
    tokenizer = tokenizer_for(kind, tinyworld.Tinyworld())
    names = ("n_layer", "n_head", "n_embd", "n_positions")
    shape = {**dict(zip(names, size.shape, strict=True)), "vocab_size": tokenizer.vocab_size}
    spec = Spec(
        stage=stage,
        shape=shape,
        size=size.size,
        micro_batches=size.micro_batches,
        dtype="float32",
        device=options.device,
        threads=options.threads,
        folder=str(folder),
    )
    model = GPT2(GPT2Config(**shape))
    save_pretrained(model, folder / "start", eot_id=tokenizer.eot_id)
    tokenizer.save(folder / "start", shape["n_positions"])
    rows = fitting(stage, tokenizer, shape["n_positions"], options.examples, has_data)
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = run_config(spec, {})
    objective = plugins.get("neogpt.objectives", stage, "objective").build(
        run, tokenizer, shape["n_positions"]
    )
    steps = [sample_ids(i, size.size, objective.n_samples, run.seed).tolist() for i in range(n_steps)]
    by_length = [step_by_length(objective, stage, ids) for ids in steps]
    for name, order in (("rows", steps), ("sorted", by_length)):
        found = [trl_row(objective, stage, tokenizer, i) for ids in order for i in ids]
        (folder / f"{name}.json").write_text(json.dumps(found))
    print(f"{model.n_params:,} parameters, {objective.n_samples} {'examples' if stage == 'sft' else 'pairs'}")
    lengths = [[sum(map(len, row)) for row in objective.examples] if stage == "sft" else []]
    units = [sum(lengths[0][i] for i in ids) if stage == "sft" else size.size for ids in steps]
    return spec, [float(unit) for unit in units]


def step_by_length(objective: Any, stage: str, ids: list[int]) -> list[int]:
    """The step's rows in the order in which NeoGPT cuts them into micro-batches."""
    if stage == "sft":
        return sorted(ids, key=lambda i: sum(map(len, objective.examples[i])))
    return sorted(ids, key=lambda i: max(len(a) + len(b) for a, b in objective.pairs[i]))


def trl_row(objective: Any, stage: str, tokenizer: Any, i: int) -> dict[str, Any]:
    """The same row as TRL takes it: ids and mask; of pairs the text, whose end TRL adds itself."""
    if stage == "sft":
        prompt, response = objective.examples[i]
        mask = [0] * len(prompt) + [1] * len(response)
        return {"input_ids": [*prompt, *response], "completion_mask": mask}
    (prompt, chosen), (_, rejected) = objective.pairs[i]
    parts = {"prompt": prompt, "chosen": chosen[:-1], "rejected": rejected[:-1]}
    return {name: tokenizer.decode(ids) for name, ids in parts.items()}


def compare(
    spec: Spec, names: list[str], units: list[float], steps: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Every contender beside NeoGPT, a few at a time; prints and returns the rows."""
    unit, rows = UNITS[spec.stage], []
    amount = statistics.mean(units[steps : steps * (options.rounds + 1)])
    others = [name for name in names if name != "neogpt"]
    for first in range(0, max(1, len(others)), options.at_once):
        found = race(
            ["neogpt", *others[first : first + options.at_once]], spec, steps, options.rounds, options.clock
        )
        for row in found:
            line = beside(found[0], row, amount, unit)
            if row is not found[0] or not rows:
                rows.append(line)
            show(line, unit=unit)
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    everybody = list(dict.fromkeys(name for names in STAGES.values() for name in names))
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["tiny", "small"])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--contenders", nargs="+", choices=everybody, default=everybody)
    parser.add_argument("--rounds", type=int, default=7, help="counted turns of each")
    parser.add_argument("--steps", type=int, default=0, help="steps a turn; 0: as fits the size")
    parser.add_argument("--examples", type=int, default=256, help="examples or pairs that are read")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of each")
    parser.add_argument("--at-once", type=int, default=3, help="contenders that NeoGPT meets at a time")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--no-check", action="store_true", help="leave the float32 comparison out")
    parser.add_argument("--json", default="", help="where all figures go")
    return parser.parse_args()


def measured(stage: str, label: str, options: argparse.Namespace) -> dict[str, Any]:
    """One stage at one size: agreement, then the race."""
    size = SIZES[label]
    steps = options.steps or size.steps
    names = [name for name in STAGES[stage] if name == "neogpt" or name in options.contenders]
    for name in [name for name in names if not available(name)]:
        print(f"{name} is left out: pip install 'neogpt[dev]'")
        names.remove(name)
    print(f"{stage}, {label}: ", end="", flush=True)
    with tempfile.TemporaryDirectory() as folder, caches_in(Path(folder)):
        n_steps = max(CHECK_STEPS, steps * (options.rounds + 1)) + 1
        spec, units = prepared(stage, size, n_steps, options, Path(folder))
        losses = {} if options.no_check else coincide(names, spec)
        rows = compare(dataclasses.replace(spec, dtype=options.dtype), names, units, steps, options)
    facts = {**dataclasses.asdict(size), "shape": spec.shape}
    return {"size": facts, "steps_a_turn": steps, "float32_losses": losses, "rows": rows}


@contextlib.contextmanager
def caches_in(folder: Path) -> Iterator[None]:
    """References and prepared data sets of both sides stay in the folder, so that nobody finds older work done."""
    before = dict(os.environ)
    os.environ.update(NEOGPT_HOME=str(folder / "neogpt"), HF_HOME=str(folder / "hf"), HF_HUB_OFFLINE="1")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main() -> None:
    options = parse()
    results: dict[str, Any] = {"machine": machine(options, ("trl", "transformers", "accelerate")), "runs": {}}
    for label in options.sizes:
        for stage in options.stages:
            results["runs"][f"{stage} {label}"] = measured(stage, label, options)
            if options.json:
                Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
