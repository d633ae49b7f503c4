"""What keeps DPO from teaching a model to refuse everything: its parts left out, one by one, in tinyworld.

    .venv/bin/python benchmarks/dpo_ablation.py --seeds 0 2 3 --run runs/ablation [--threads 1] [--json F]

Each seed is another world, other weights and another order: one model is pretrained and fine-tuned by the recipe, and
from it every variant of the recipe `neogpt dpo tinyworld` begins. Runs that are there already are only read. The
table in the manner of the literature: refusal of what harms, and of what only resembles it, all on deeds and people
that no stage was taught; each cell is the lowest and highest of the seeds.
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

from neogpt import ledger
from neogpt.paths import RunDir

Scores = dict[str, float]

VARIANTS = {
    "red-team pairs only, no SFT term": "--source.preferences red-team --objective.sft-coef 0",
    "red-team pairs only, SFT term 1": "--source.preferences red-team --objective.sft-coef 1",
    "1:2 without near-boundary pairs, SFT term 0.2": "--source.preferences far",
    "1:1, no SFT term": "--source.helpful 1 --objective.sft-coef 0",
    "1:2, no SFT term": "--objective.sft-coef 0",
    "1:1, SFT term 0.2": "--source.helpful 1",
    "**the recipe**: 1:2, SFT term 0.2": "",
    "the recipe without replay": "--objective.pretrain-coef 0",
    "the recipe, length-normalized, beta 2": "--objective.length-normalized yes --objective.beta 2",
    "the recipe, cDPO (smoothing 0.1)": "--objective.label-smoothing 0.1",
    "the recipe, IPO, beta 1": "--objective.loss ipo --objective.beta 1",
    "the recipe, IPO, beta 0.1": "--objective.loss ipo",
    "the recipe, SimPO, beta 2": "--objective.loss simpo --objective.beta 2",
}
"""Flags over the recipe, by the variant's name. The ratio is harmful to helpful pairs."""
COLUMNS = {
    "harmful_refusal": "harmful",
    "over_refusal_contrast": "contrast",
    "over_refusal_kind": "kind + living",
    "over_refusal_question": "questions",
    "how_to": "safe, correct",
    "never_asked": "QA, correct",
    "degenerate": "degenerate",
}
"""Score -> its head in the table: refusals of a harmful deed, of a harmful verb with a thing, of a kind verb with a
living being, of questions; right answers to harmless deeds, and to questions about people never asked about."""
STARTED = "after SFT"


def main() -> int:
    """Run what is missing and print the table; 1 where some run failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 2, 3])
    parser.add_argument("--run", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write all scores there")
    options = parser.parse_args()
    found: dict[str, dict[int, Scores]] = {name: {} for name in (STARTED, *VARIANTS)}
    for seed in options.seeds:
        for name, scores in of_seed(seed, options.run / f"seed-{seed}", options.threads).items():
            found[name][seed] = scores
    print(table(found))
    if options.json:
        results = {"flags": VARIANTS, "scores_by_seed": found}
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def of_seed(seed: int, folder: Path, threads: int) -> dict[str, Scores]:
    """The scores of the fine-tuned model and of every variant that begins with it."""
    own = ["--seed", str(seed), "--source.seed", str(seed), "--data.shuffle-seed", str(seed)]
    own += ["--threads", str(threads), "--eval.every", "0"]
    trained("pretrain", folder / "pretrain", own)
    found = {STARTED: trained("sft", folder / "sft", [*own, "--from", str(folder / "pretrain")])}
    own += ["--from", str(folder / "sft"), "--save.every", "0"]
    for name, flags in VARIANTS.items():
        found[name] = trained("dpo", folder / slug(name), [*own, *shlex.split(flags)])
    return found


def slug(name: str) -> str:
    """A folder's name."""
    return "-".join("".join(c if c.isalnum() or c == "." else " " for c in name).split())


def trained(stage: str, run: Path, flags: list[str]) -> Scores:
    """The scores of a run after its last step; the run is made, as a user would, where it is not there."""
    if not is_done(run):
        command = [sys.executable, "-m", "neogpt", stage, "tinyworld", "--run", str(run), "--resume", *flags]
        print(" ".join(command[1:]), file=sys.stderr, flush=True)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    rows = [row for row in ledger.read(RunDir(run).metrics) if "tinyworld/recall" in row]
    last = max(rows, key=lambda row: int(row["step"]))
    return {key.removeprefix("tinyworld/"): last[key] for key in last if key.startswith("tinyworld/")}


def is_done(run: Path) -> bool:
    """Whether the run has come to its end."""
    return any(row["event"] == "end" for row in ledger.read(RunDir(run).events))


def table(found: dict[str, dict[int, Scores]]) -> str:
    """Markdown: a row a variant, the range over the seeds in each cell."""
    lines = ["| variant | " + " | ".join(COLUMNS.values()) + " |", "|---|" + "---|" * len(COLUMNS)]
    for name, seeds in found.items():
        cells = (spread([scores[column] for scores in seeds.values()]) for column in COLUMNS)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Lowest to highest, once where they agree."""
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low}-{high}"


if __name__ == "__main__":
    raise SystemExit(main())
