"""Puts faults of the original NeoGPT back, and some it could not have, one at a time: `make mutants`.

Each mutant is a copy of the last commit with one piece of text replaced, on which the tests must go red. A mutant
that the named tests let live is a hole in the tests; one whose text is not found any more must be brought up to date.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Mutant(NamedTuple):
    """One fault: where it goes, and which tests must notice."""

    fault: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS = [
    Mutant(
        "1 only the last micro-batch trains (zero_grad inside the accumulation loop)",
        "neogpt/train/parallel/exact.py",
        "        before = self._total.neighbor()\n",
        "        before, self._total = None, TreeSum()\n",
        "tests/test_objectives.py -k plain_loop",
    ),
    Mutant(
        "1 gradients pile up over the micro-batches (no zero_grad at all)",
        "neogpt/train/parallel/base.py",
        "        parameter.grad = None\n    return taken",
        "    return [g.clone() for g in taken]",
        "tests/test_objectives.py -k plain_loop",
    ),
    Mutant(
        "2 the optimizer's state is not resumed",
        "neogpt/train/setup.py",
        "    optim.load_state_tensors(optimizers, named, others)\n",
        "",
        "tests/test_resume.py",
    ),
    Mutant(
        "2 the data order starts again on resume",
        "neogpt/train/batches.py",
        "batches = [self.objective.batch(step, micro)",
        "batches = [self.objective.batch(step - vars(self).setdefault('first', step), micro)",
        "tests/test_resume.py",
    ),
    Mutant(
        "2 the draws of answers begin again on resume (RNG not saved)",
        "neogpt/objectives/rl/rollouts.py",
        "SeedSequence([self.run.seed, cycle, attempt])",
        "SeedSequence([self.run.seed, cycle - vars(self).setdefault('first', cycle), attempt])",
        "tests/test_resume_here.py -k borders",
    ),
    Mutant(
        "3 every process trains on the same data",
        "neogpt/train/parallel/distributed.py",
        "return range(self.rank * share, (self.rank + 1) * share)",
        "return range(0, share)",
        "tests/test_resume.py",
    ),
    Mutant(
        "3 the last window of the stream is dropped",
        "neogpt/data/windows.py",
        "return -(-self.data.n_tokens // self.length)",
        "return self.data.n_tokens // self.length",
        "tests/test_data_windows.py",
    ),
    Mutant(
        "3 the validation set changes with the number of processes",
        "neogpt/train/validation.py",
        "n = min(objective.n_validation, run.eval.val_samples)\n",
        "n = min(objective.n_validation, run.eval.val_samples) // world.size\n",
        "tests/test_resume.py -k other_processes",
    ),
    Mutant(
        "4 the MLP's projection lacks the residual scale at birth",
        "neogpt/model/gpt2.py",
        '(2 * self.config.n_layer) if name.endswith("c_proj.weight")',
        '(2 * self.config.n_layer) if name.endswith("attn.c_proj.weight")',
        "tests/test_model.py",
    ),
    Mutant(
        "5 a T x T float mask in every layer",
        "neogpt/model/kernels.py",
        "F.scaled_dot_product_attention(q, k, v, is_causal=True)",
        "F.scaled_dot_product_attention(\n"
        "        q, k, v, attn_mask=q.new_full((q.shape[2], q.shape[2]), float('-inf')).triu(1)\n    )",
        "tests/test_model_kernels.py",
    ),
    Mutant(
        "6 the learning rate is planned for four epochs",
        "neogpt/optim/schedule.py",
        "    warmup = round(config.warmup_ratio * steps)\n",
        "    steps *= 4\n    warmup = round(config.warmup_ratio * steps)\n",
        "tests/test_objectives.py -k schedule",
    ),
    Mutant(
        "7 end-of-text is never trained",
        "neogpt/tokenizer/template.py",
        "return [*tokenizer.encode(response.strip()), tokenizer.eot_id]",
        "return tokenizer.encode(response.strip())",
        "tests/test_objectives.py tests/test_tokenizer_template.py",
    ),
    Mutant(
        "7 the prompt is trained too",
        "neogpt/objectives/batching.py",
        "learned = np.array([i % 2 for i, part",
        "learned = np.array([1 for i, part",
        "tests/test_objectives.py -k sft",
    ),
    Mutant(
        "7 a prompt longer than the context, which leaves nothing to learn, is kept (loss NaN)",
        "neogpt/objectives/sft/objective.py",
        """            if len(turns[0][0]) >= limit:
                split.filtered("prompt too long")
            elif not item""",
        "            if not item",
        "tests/test_sft.py -k refused",
    ),
    Mutant(
        "7 padding to a fixed length",
        "neogpt/objectives/batching.py",
        "    shape = (len(rows), max(longest, min(even, n_positions)))\n",
        "    shape = (len(rows), n_positions)\n",
        "tests/test_objectives.py -k padding",
    ),
    Mutant(
        "7 the log shows a sum for a mean",
        "neogpt/train/reduce.py",
        "            name: total / max(totals[name], 1e-12) for name",
        "            name: total for name",
        "tests/test_objectives.py",
    ),
    Mutant(
        "8 -log(sigmoid) instead of logsigmoid",
        "neogpt/objectives/dpo/losses.py",
        "    return -(1 - s) * logsigmoid(margin_N) - s * logsigmoid(-margin_N)\n",
        "    return -(1 - s) * margin_N.sigmoid().log() - s * (-margin_N).sigmoid().log()\n",
        "tests/test_objectives.py -k dpo",
    ),
    Mutant(
        "8 pairs without a difference are trained on",
        "neogpt/objectives/dpo/objective.py",
        'return "equal answers after the cut" if chosen[:room] == rejected[:room] else ""',
        'return ""',
        "tests/test_objectives.py -k dpo",
    ),
    Mutant(
        "8 held-out prompts are trained on too",
        "neogpt/objectives/split.py",
        "return [row for _, row in self._kept()]",
        "return [row for *_, row in self._train] + self.held_out",
        "tests/test_objectives.py -k held_out",
    ),
    Mutant(
        "8 no helpful pairs",
        "neogpt/recipes/tinyworld.py",
        "source=tinyworld.Tinyworld(),",
        'source=tinyworld.Tinyworld(preferences="red-team"),',
        "tests/test_recipes.py",
    ),
    Mutant(
        "8 no warm-up",
        "neogpt/optim/schedule.py",
        "    warmup = round(config.warmup_ratio * steps)\n",
        "    warmup = 0\n",
        "tests/test_objectives.py -k schedule",
    ),
    Mutant(
        "8 preferences are learnt without warm-up",
        "neogpt/recipes/finetune.py",
        "OptimConfig(lr=5e-6, warmup_ratio=0.1,",
        "OptimConfig(lr=5e-6, warmup_ratio=0.0,",
        "tests/test_recipes.py -k annealed",
    ),
    Mutant(
        "8 prompt and answer are tokenized as one text",
        "neogpt/objectives/dpo/objective.py",
        "            rejected = encode_response(self.tokenizer, item.rejected)\n",
        """            before = self.tokenizer.encode("Response:\\n")
            whole = self.tokenizer.encode("Response:\\n" + item.rejected)
            rejected = [*whole[len(before) :], self.tokenizer.eot_id]\n""",
        "tests/test_dpo.py -k would_write",
    ),
    Mutant(
        "8 end-of-text is in no preference's mask",
        "neogpt/objectives/dpo/objective.py",
        "row = (prompt, chosen[:room]), (prompt, rejected[:room])",
        "row = (prompt, chosen[:-1][:room]), (prompt, rejected[:-1][:room])",
        "tests/test_objectives.py -k their_ends",
    ),
    Mutant(
        "9 the newest checkpoint by the order of strings",
        "neogpt/retention.py",
        "return sorted(step for step in found if step is not None)",
        "return sorted((step for step in found if step is not None), key=str)",
        "tests/test_ground_checkpoints.py",
    ),
    Mutant(
        "10 HellaSwag one example at a time",
        "neogpt/evals/_choices.py",
        "        if i > start and (i - start + 1) * longest > size:\n",
        "        if i > start:\n",
        "tests/test_hellaswag.py -k goes_through",
    ),
    Mutant(
        "10 HellaSwag's acc_norm is not divided by length",
        "neogpt/evals/_hellaswag_scoring.py",
        "best(model, i.requests, v, i.lengths))",
        "best(model, i.requests, v, [1] * len(v)))",
        "tests/test_hellaswag.py -k one_by_one",
    ),
    Mutant(
        "10 HellaSwag without the label of the activity",
        "neogpt/evals/_hellaswag_scoring.py",
        'f"{task.activity_label}: {task.ctx_a} ',
        'f"{task.ctx_a} ',
        "tests/test_hellaswag.py -k text_of_the_two",
    ),
    Mutant(
        "rl the model that answered and the starting model change places",
        "neogpt/objectives/rl/objective.py",
        "            return old_RT, answer_log_probs(self.reference, batch) if self.config.beta else old_RT\n",
        "            return answer_log_probs(self.reference, batch), old_RT\n",
        "tests/test_trl_rl.py",
    ),
    Mutant(
        "rl advantages go to the answers of other prompts",
        "neogpt/objectives/rl/rollouts.py",
        "            .reshape(-1)\n",
        "            .T.reshape(-1)\n",
        "tests/test_trl_rl.py",
    ),
    Mutant(
        "rl the distance to the starting model counts in full",
        "neogpt/objectives/rl/objective.py",
        '"kl": self.config.beta',
        '"kl": float(bool(self.config.beta))',
        "tests/test_trl_rl.py",
    ),
    Mutant(
        "rl where answers are cut off, the others grow louder",
        "neogpt/objectives/rl/grpo.py",
        "float(len(weights_RT))",
        "float(weights_RT.any(1).sum())",
        "tests/test_trl_rl.py",
    ),
    Mutant(
        "inside: early layers of the lens without the final LayerNorm",
        "neogpt/studies/interpretability/activations.py",
        "    return layer_norm(model.transformer.ln_f, x) @ model.transformer.wte.weight.T",
        "    return x @ model.transformer.wte.weight.T",
        "tests/test_inside.py -k lens",
    ),
    Mutant(
        "inside: attribution forgets that LayerNorm takes the mean away",
        "neogpt/studies/interpretability/attribution.py",
        "    read_BD = scaled_BD - scaled_BD.mean(-1, keepdim=True)",
        "    read_BD = scaled_BD",
        "tests/test_inside.py -k attribution",
    ),
    Mutant(
        "inside: an ablation acts at every position",
        "neogpt/studies/interpretability/components.py",
        "        where_BT = torch.ones_like(tokens_BT, dtype=torch.bool)\n    if",
        "        pass\n    where_BT = torch.ones_like(tokens_BT, dtype=torch.bool)\n    if",
        "tests/test_inside.py -k ablation",
    ),
    Mutant(
        "inside: head scores on repeats of one period",
        "neogpt/studies/interpretability/heads.py",
        "        drawn = period or int(torch.randint(SHORTEST, longest + 1, (), generator=generator))",
        "        drawn = period or 8",
        "tests/test_inside.py -k positions_alone",
    ),
    Mutant(
        "inside: a gradient without the layers between",
        "neogpt/studies/interpretability/attribution.py",
        '        gradient_BTD = _pulled_back(step, kept[f"h.{i}.resid_pre"], gradient_BTD)',
        "        assert step",
        "tests/test_inside.py -k gradient",
    ),
    Mutant(
        "inside: causal tracing restores the whole row",
        "neogpt/studies/interpretability/tracing.py",
        "            found[role][:, list(positions)] = True",
        "            found[role][:] = True",
        "tests/test_studies.py -k restor",
    ),
    Mutant(
        "inside: the direction is not taken out of the embeddings",
        "neogpt/studies/interpretability/directions.py",
        '    names = ["embed", "pos_embed"]',
        "    names: list[str] = []",
        "tests/test_studies.py -k ablated",
    ),
    Mutant(
        "inside: a hybrid leaves LayerNorms behind",
        "neogpt/studies/interpretability/changes.py",
        '".attn." in name or ".ln_1." in name',
        '".attn." in name',
        "tests/test_studies.py -k hybrids",
    ),
]


def main(only: str = "") -> int:
    """Try each mutant (whose fault contains `only`); 0 when every one was noticed."""
    chosen = [mutant for mutant in MUTANTS if only in mutant.fault]
    alive = 0
    for mutant in chosen:
        began = time.monotonic()
        verdict = _try(mutant)
        alive += verdict != "noticed"
        print(f"{verdict:<10} {time.monotonic() - began:4.0f} s  {mutant.fault}", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} faults noticed")
    return 1 if alive else 0


def _try(mutant: Mutant) -> str:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "neogpt"
        ignored = shutil.ignore_patterns(".venv", ".git", "runs", "build", "dist", ".*_cache", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=ignored)
        file = copy / mutant.file
        text = file.read_text()
        if text.count(mutant.old) < 1 or mutant.old == mutant.new:
            return "OUTDATED"
        file.write_text(text.replace(mutant.old, mutant.new))
        environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            *mutant.tests.split(),
        ]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
        if done.returncode and "FAILED" in done.stdout:
            return "noticed"
        return f"ERROR {done.returncode}" if done.returncode else "ALIVE"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
