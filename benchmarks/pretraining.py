"""Tokens a second and peak memory of pretraining: NeoGPT's loop beside other people's, on the same GPT-2.

    .venv/bin/python benchmarks/pretraining.py [--sizes tiny 10m 30m 124m] [--threads 2] [--json FILE]

The others: a plain PyTorch step as nanoGPT writes it (`plain`), Hugging Face's Trainer (`hf`) and litgpt, each eager
and under torch.compile. All begin with the same weights, see the same tokens in the same order, in the same
micro-batches, and follow the same AdamW, clipping and learning rate; the plain step is _nanogpt_style.py.

First the loss curves are shown to coincide: five steps in float32, to 1e-4, or the benchmark ends with an error.
Then the timing. Each contender is a process of its own, so that its peak memory is its own. They take turns: a few
steps each, one at a time, round after round, so that a busy moment of the machine falls on all; medians are shown,
and the median over rounds of NeoGPT's speed over the other's (its quartiles behind it). The first turn of each is
not counted: it compiles. With many contenders NeoGPT meets them a few at a time (`--at-once`), to spare memory.

Text: NEOGPT_DATA/pretrain/medquad.jsonl.xz or `--text`; the tiny size reads the embedded world, and so do all without
any text. `--clock cpu` counts processor seconds, for a machine that is busy with others (use `--threads 1` then).
"""

import argparse
import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from _contenders import CONTENDERS, PEERS, Spec, available, run_config
from _race import CHECK_STEPS, beside, coincide, machine, race, show


@dataclasses.dataclass(frozen=True)
class Size:
    """A model, a batch, and how many steps a turn has."""

    shape: tuple[int, int, int, int]
    """n_layer, n_head, n_embd, n_positions."""
    length: int
    size: int
    micro_batches: int
    tokenizer: str
    vocab_size: int
    steps: int


SIZES = {
    "tiny": Size((4, 4, 128, 128), 96, 32, 4, "trained", 1344, 12),  # recipes/tinyworld.py
    "10m": Size((6, 5, 320, 256), 256, 16, 2, "trained", 8192, 3),
    "30m": Size((6, 6, 384, 512), 512, 8, 2, "gpt2", 50257, 2),
    "124m": Size((12, 12, 768, 1024), 1024, 2, 2, "gpt2", 50257, 1),
    "124m-gpu": Size((12, 12, 768, 1024), 1024, 64, 4, "gpt2", 50257, 5),
}


def prepared(size: Size, n_steps: int, options: argparse.Namespace, folder: Path) -> Spec:
    """The first weights, and the rows of `n_steps` steps as NeoGPT's own order has them."""
    import numpy as np

    from neogpt.data.build_tokenizer import tokenizer_for
    from neogpt.data.permutation import sample_ids
    from neogpt.model import GPT2, save_pretrained
    from neogpt.objectives.pretrain.objective import Pretrain

    text = "" if size.vocab_size == 1344 else options.text
    names = ("n_layer", "n_head", "n_embd", "n_positions")
    spec = Spec(
        shape={**dict(zip(names, size.shape, strict=True)), "vocab_size": size.vocab_size},
        length=size.length,
        size=size.size,
        micro_batches=size.micro_batches,
        source="files" if text else "tinyworld",
        text=text,
        tokenizer=size.tokenizer if text else "trained",
        vocab_size=size.vocab_size if text else 1344,
        dtype="float32",
        device=options.device,
        threads=options.threads,
        folder=str(folder),
    )
    run = run_config(spec, compiled=False)
    tokenizer = tokenizer_for(run.data, run.source)
    model = GPT2(run.model)
    save_pretrained(model, folder / "start")
    tokenizer.save(folder / "start")
    objective = Pretrain(run, tokenizer, run.model.n_positions)
    ids = [sample_ids(step, size.size, objective.n_samples, run.seed) for step in range(n_steps)]
    batch = objective.windows.batch(np.concatenate(ids))
    if not batch.weights.all():
        raise SystemExit(
            "a window of these steps has padding, which the others would count: take other --steps"
        )
    rows = np.concatenate([batch.tokens, batch.targets[:, -1:]], axis=1)
    np.save(folder / "batches.npy", rows.astype(np.uint16))
    print(
        f"{model.n_params:,} parameters, {size.size} x {size.length} tokens a step in {size.micro_batches} parts"
    )
    return spec


def compare(spec: Spec, names: list[str], steps: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every contender beside NeoGPT, a few at a time; prints and returns the rows."""
    tokens, rows = spec.size * spec.length, []
    others = [name for name in names if name != "neogpt"]
    for first in range(0, max(1, len(others)), options.at_once):
        group = ["neogpt", *others[first : first + options.at_once]]
        found = race(group, spec, steps, options.rounds, options.clock)
        for row in found:
            line = beside(found[0], row, tokens)
            if row is not found[0] or not rows:
                rows.append(line)
            show(line, mfu(spec, line["tokens_per_s"]))
    return rows


def mfu(spec: Spec, tokens_per_s: float) -> float:
    """(6 N + 12 L d T) x tokens/s over the GPU's dense bfloat16 peak; 0 where that is not known."""
    if spec.device != "cuda":
        return 0.0
    import torch

    from neogpt.config import GPT2Config
    from neogpt.hardware import peak_flops
    from neogpt.model.sizes import flops_per_token

    c = GPT2Config(**spec.shape)
    peak = peak_flops(torch.cuda.get_device_name())
    return tokens_per_s * flops_per_token(c, spec.length) / peak if peak else 0.0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    everybody = [name + end for name in CONTENDERS for end in ("", "-compiled")]
    usual = [name for name in everybody if name not in ("neogpt-compiled", "hf-compiled")]
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["tiny", "10m", "30m", "124m"])
    parser.add_argument("--contenders", nargs="+", choices=everybody, default=usual)
    parser.add_argument("--rounds", type=int, default=7, help="counted turns of each")
    parser.add_argument("--steps", type=int, default=0, help="steps a turn; 0: as fits the size")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of each")
    parser.add_argument("--at-once", type=int, default=3, help="contenders that NeoGPT meets at a time")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--text", default="", help="file or folder of text")
    parser.add_argument("--no-check", action="store_true", help="leave the float32 comparison out")
    parser.add_argument("--json", default="", help="where all figures go")
    options = parser.parse_args()
    sample = Path(os.environ.get("NEOGPT_DATA", "")) / "pretrain" / "medquad.jsonl.xz"
    options.text = options.text or (str(sample) if sample.is_file() else "")
    return options


def main() -> None:
    options = parse()
    names = ["neogpt", *(name for name in options.contenders if name != "neogpt")]
    for name in [name for name in names if not available(name)]:
        print(f"{name} is left out: pip install {' '.join(PEERS[name.removesuffix('-compiled')])}")
        names.remove(name)
    results: dict[str, Any] = {"machine": machine(options, sum(PEERS.values(), ())), "sizes": {}}
    for label in options.sizes:
        size = SIZES[label]
        steps = options.steps or size.steps
        print(f"{label}: ", end="", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            n_steps = max(CHECK_STEPS, steps * (options.rounds + 1))
            spec = prepared(size, n_steps + 1, options, Path(folder))
            losses = {} if options.no_check else coincide(names, spec)
            timed = dataclasses.replace(spec, dtype=options.dtype)
            rows = compare(timed, names, steps, options)
        shape = {**dataclasses.asdict(size), "shape": spec.shape}
        results["sizes"][label] = {
            "size": shape,
            "steps_a_turn": steps,
            "float32_losses": losses,
            "rows": rows,
        }
        if options.json:
            Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
