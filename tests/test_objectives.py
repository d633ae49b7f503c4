"""Objectives and the training step against transformers, plain PyTorch and closed forms."""

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config as HFConfig
from transformers import GPT2LMHeadModel

from neogpt import ledger, optim
from neogpt.batching import micro_size
from neogpt.config import (
    BatchConfig,
    DataConfig,
    EvalConfig,
    GPT2Config,
    ObjectiveConfig,
    OptimConfig,
    RunConfig,
    SaveConfig,
)
from neogpt.data.build_tokenizer import tokenizer_for
from neogpt.data.sources import tinyworld
from neogpt.errors import ConfigError
from neogpt.model import GPT2, load_pretrained, save_pretrained
from neogpt.objectives import dpo, pretrain, sft
from neogpt.objectives.batching import n_tokens, on_device, pad
from neogpt.objectives.dpo.objective import DPO, dpo_terms
from neogpt.objectives.pretrain.objective import Pretrain
from neogpt.objectives.sft.objective import SFT
from neogpt.optim.schedule import learning_rate
from neogpt.paths import RunDir
from neogpt.records import Instruction, Pair
from neogpt.tokenizer import Tokenizer
from neogpt.tokenizer.template import encode_example
from neogpt.train.run import train

WORLD = tinyworld.Tinyworld(n_people=6, biographies=4)
DATA = DataConfig(tokenizer="trained", vocab_size=1300, val_fraction=0.1)
SHAPE = GPT2Config(n_layer=2, n_head=2, n_embd=32, n_positions=96, vocab_size=1300)
OPTIM = OptimConfig(lr=3e-3, warmup_ratio=0.2, schedule="cosine")


def settings(stage: str, objective: ObjectiveConfig, **changes: Any) -> Any:
    run = RunConfig(
        recipe="test",
        stage=stage,
        steps=4,
        dtype="float32",
        device="cpu",
        threads=1,
        model=SHAPE,
        source=WORLD,
        data=DATA,
        objective=objective,
        batch=BatchConfig(size=8, micro_batches=2),
        optim=OPTIM,
        eval=EvalConfig(every=0, val_samples=8),
        save=SaveConfig(every=0),
    )
    return dataclasses.replace(run, **changes)


@pytest.fixture(scope="module")
def tokenizer(_own_cache_for_module: None) -> Tokenizer:
    return tokenizer_for(DATA, WORLD)


@pytest.fixture(scope="module")
def _own_cache_for_module(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEOGPT_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A model directory with larger random weights than at birth, so that every gradient is far from 0."""
    folder = tmp_path_factory.mktemp("base")
    model = GPT2(dataclasses.replace(SHAPE, vocab_size=tokenizer.vocab_size), seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    save_pretrained(model, folder)
    tokenizer.save(folder)
    return folder


def hf(folder: Path) -> GPT2LMHeadModel:
    return GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager")


def token_nll(model: GPT2LMHeadModel, prompt: list[int], response: list[int]) -> torch.Tensor:
    """-log p of each response token, one sequence at a time, nothing shared with the code under test."""
    ids = torch.tensor([prompt + response])
    logp = model(ids).logits[0, :-1].log_softmax(-1)
    return -logp.gather(1, ids[0, 1:, None])[len(prompt) - 1 :, 0]


def gradients(loss: torch.Tensor, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        difference = (ours[name] - theirs[name]).norm() / (theirs[name].norm() + 1e-12)
        assert difference < 2e-5, f"{name}: {difference}"


# --- a whole training run against plain PyTorch on transformers' model -------------------------------------


@pytest.mark.parametrize("micro_batches", [1, 2, 8])
def test_pretraining_follows_a_plain_loop_on_the_whole_batch(
    tmp_path: Path, base: Path, tokenizer: Tokenizer, micro_batches: int
) -> None:
    """Kills: zero_grad inside the accumulation loop, means instead of sums, an update too many or too few."""
    run = settings(
        "pretrain",
        pretrain.Config(seq_len=24),
        init_from=str(base),
        batch=BatchConfig(size=8, micro_batches=micro_batches),
    )
    train(run, tmp_path / "run")
    ours = load_pretrained(RunDir(tmp_path / "run").checkpoint(4)).state_dict()

    reference = hf(base)
    decayed = [p for p in reference.parameters() if p.ndim >= 2]
    plain = [p for p in reference.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), eps=1e-8)
    objective = Pretrain(run, tokenizer, SHAPE.n_positions)
    rates = [3e-3 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * k / 3))) for k in range(3)]
    losses = []
    for step, lr in enumerate(
        [3e-3, *rates]
    ):  # 0.2 of 4 steps is one step of warm-up, then a cosine over three
        parts = [objective.batch(step, micro) for micro in range(micro_batches)]
        tokens = torch.from_numpy(np.concatenate([part.tokens for part in parts]))
        targets = torch.from_numpy(np.concatenate([part.targets for part in parts]))
        logits = reference(tokens).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        losses.append(loss.item())

    rows = [row for row in ledger.read(RunDir(tmp_path / "run").metrics) if "grad_norm" in row]
    assert [row["loss"] for row in rows] == pytest.approx(losses, rel=1e-5)
    for name, theirs in reference.state_dict().items():
        if name.endswith("c_attn.bias"):  # a key's bias changes no attention: its gradient is rounding noise
            kept = [*range(32), *range(64, 96)]
            torch.testing.assert_close(ours[name][kept], theirs[kept], rtol=1e-3, atol=2e-5)
        elif name in ours:
            torch.testing.assert_close(ours[name], theirs, rtol=1e-3, atol=2e-5)


def test_ledger_counts_every_token_once(tmp_path: Path, base: Path) -> None:
    run = settings("pretrain", pretrain.Config(seq_len=24), init_from=str(base))
    train(run, tmp_path / "run")
    rows = [row for row in ledger.read(RunDir(tmp_path / "run").metrics) if "grad_norm" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["tokens"] <= 4 * 8 * 24
    assert rows[0]["tokens"] in range(7 * 24, 8 * 24 + 1)


def test_a_checkpoint_names_its_end_of_text(tmp_path: Path, base: Path, tokenizer: Tokenizer) -> None:
    """Kills a model that other programs do not know how to stop."""
    train(settings("pretrain", pretrain.Config(seq_len=24), init_from=str(base)), tmp_path / "run")
    config = HFConfig.from_pretrained(RunDir(tmp_path / "run").checkpoint(4))
    assert config.eos_token_id == tokenizer.eot_id


# --- SFT ---------------------------------------------------------------------------------------------------


def sft_objective(tokenizer: Tokenizer, **options: Any) -> SFT:
    run = settings("sft", sft.Config(max_tokens=96, val_fraction=0.1, **options))
    return SFT(run, tokenizer, 96)


def test_sft_loss_and_gradients_equal_one_by_one_scoring(base: Path, tokenizer: Tokenizer) -> None:
    objective, reference, model = sft_objective(tokenizer), hf(base), load_pretrained(base)
    batch = objective.batch(0, 0)
    terms = objective.loss(model, on_device(batch, torch.device("cpu")))
    weight = objective.loss_denominators(batch)["sft"]
    ids = objective.run.batch.size
    from neogpt.data.permutation import sample_ids

    chosen = [objective.examples[i] for i in sample_ids(0, ids, objective.n_samples, 0)]
    chosen.sort(key=lambda row: len(row[0]) + len(row[1]))
    nll = [token_nll(reference, *row) for row in chosen[: objective.micro_size]]
    assert weight == sum(len(row) for row in nll)
    assert terms.loss_sum["sft"].item() == pytest.approx(sum(row.sum().item() for row in nll), rel=1e-6)
    assert_same_gradients(
        gradients(terms.loss_sum["sft"] / weight, model),
        gradients(torch.cat(nll).sum() / weight, reference),
    )


def test_sft_trains_end_of_text_and_nothing_of_the_prompt(tokenizer: Tokenizer) -> None:
    """Kills the original's fault: a model that is never taught to stop."""
    row = encode_example(tokenizer, "Where does Kelom live?", "", "Here.")
    batch = pad([row, (row[0], row[1] * 2)], tokenizer.eot_id, 256)
    counted = batch.targets[0][batch.weights[0] > 0].tolist()
    assert counted == row[1]
    assert counted[-1] == tokenizer.eot_id
    assert batch.tokens[0][: len(row[0])].tolist() == row[0]
    assert row[0][0] == tokenizer.eot_id


def test_sft_replay_is_a_second_term_with_its_own_weight(base: Path, tokenizer: Tokenizer) -> None:
    objective = sft_objective(tokenizer, pretrain_coef=0.5, pretrain_rows=4, pretrain_seq_len=16)
    model, reference = load_pretrained(base), hf(base)
    batch = objective.batch(3, 1)
    terms = objective.loss(model, on_device(batch, torch.device("cpu")))
    replayed = batch.extra["pretrain"]
    assert replayed.tokens.shape == (2, 16)
    logits = reference(torch.from_numpy(replayed.tokens)).logits
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), torch.from_numpy(replayed.targets).flatten(), reduction="sum"
    )
    assert terms.loss_sum["pretrain"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert objective.loss_denominators(batch)["pretrain"] == 32
    assert objective.coefficients == {"sft": 1.0, "pretrain": 0.5}


def test_a_step_weighs_each_term_by_its_own_global_weight(
    tmp_path: Path, base: Path, tokenizer: Tokenizer
) -> None:
    run = settings(
        "sft",
        sft.Config(max_tokens=96, val_fraction=0.1, pretrain_coef=0.5, pretrain_rows=4, pretrain_seq_len=16),
        init_from=str(base),
        steps=1,
    )
    train(run, tmp_path / "run")
    row = next(r for r in ledger.read(RunDir(tmp_path / "run").metrics) if "grad_norm" in r)
    objective, reference = SFT(run, tokenizer, 96), hf(base)
    own, replayed = [], []
    for micro in range(2):
        batch = objective.batch(0, micro)
        for part, into in ((batch, own), (batch.extra["pretrain"], replayed)):
            logp = reference(torch.from_numpy(part.tokens)).logits.log_softmax(-1)
            nll = -logp.gather(2, torch.from_numpy(part.targets)[..., None])[..., 0]
            into.append(nll[torch.from_numpy(part.weights) > 0].detach())
    expected = torch.cat(own).mean() + 0.5 * torch.cat(replayed).mean()
    assert row["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_sft_cuts_the_answer_and_counts_it(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    long = Instruction("Say it.", "", "word " * 200)
    hopeless = Instruction("word " * 200, "", "Yes.")
    short = Instruction("Say it.", "", "Yes.")
    monkeypatch.setattr(
        tinyworld.Tinyworld, "instructions", lambda config, bad: iter([long, hopeless, short])
    )
    objective = SFT(settings("sft", sft.Config(max_tokens=40, val_fraction=0.0)), tokenizer, 96)
    assert objective.data_counts == {
        "examples": 2,
        "held_out": 0,
        "truncated": 1,
        "filtered": 1,
        "filtered, prompt too long": 1,
    }
    prompt, response = objective.examples[0]
    assert len(prompt) + len(response) == 41
    assert tokenizer.decode(response).startswith("word word")


# --- DPO ---------------------------------------------------------------------------------------------------


def dpo_objective(tokenizer: Tokenizer, model: GPT2, **options: Any) -> DPO:
    objective = DPO(settings("dpo", dpo.Config(max_tokens=96, **options)), tokenizer, 96)
    objective.begin(model)
    return objective


def test_dpo_closed_form() -> None:
    """The values of torchtune's own test: margins 0, 1 and 2 at beta 0.1."""
    chosen, rejected = torch.tensor([-0.5, -10.0, -1.0]), torch.tensor([-0.1, -30.0, -21.0])
    reference = torch.tensor([[-0.5, -0.1], [-10.1, -20.1], [-0.1, -0.1]])
    terms, metrics = dpo_terms(chosen, rejected, reference, dpo.Config(beta=0.1))
    margins = metrics["rewards/margins"]
    torch.testing.assert_close(margins, torch.tensor([0.0, 1.0, 2.0]), atol=1e-6, rtol=0)
    expected = sum(math.log(1 + math.exp(-m)) for m in (0.0, 1.0, 2.0))
    assert terms["dpo"].item() == pytest.approx(expected, rel=1e-6)


def test_dpo_is_finite_where_the_original_overflows() -> None:
    chosen = torch.tensor([-1000.0], requires_grad=True)
    reference = torch.zeros(1, 2)
    loss = dpo_terms(chosen, torch.tensor([1000.0]), reference, dpo.Config(beta=1.0))[0]["dpo"]
    loss.backward()
    assert loss.item() == pytest.approx(2000.0)
    assert chosen.grad is not None
    assert chosen.grad.item() == pytest.approx(-1.0)


def test_dpo_label_smoothing_is_the_mixture_of_both_labels() -> None:
    margin, s = 0.7, 0.3
    terms, _ = dpo_terms(
        torch.tensor([margin]), torch.zeros(1), torch.zeros(1, 2), dpo.Config(beta=1.0, label_smoothing=s)
    )
    sigmoid = 1 / (1 + math.exp(-margin))
    assert terms["dpo"].item() == pytest.approx(-(1 - s) * math.log(sigmoid) - s * math.log(1 - sigmoid))


def test_dpo_at_the_reference_is_log_two(base: Path, tokenizer: Tokenizer) -> None:
    model = load_pretrained(base)
    objective = dpo_objective(tokenizer, model)
    batch = objective.batch(0, 0)
    terms = objective.loss(model, on_device(batch, torch.device("cpu")))
    assert terms.loss_sum["dpo"].item() / objective.loss_denominators(batch)["dpo"] == pytest.approx(
        math.log(2), abs=1e-5
    )


def test_dpo_loss_and_gradients_equal_one_by_one_scoring(base: Path, tokenizer: Tokenizer) -> None:
    objective = dpo_objective(tokenizer, load_pretrained(base), beta=0.3, sft_coef=0.2)
    policy = load_pretrained(base)
    reference, theirs = hf(base), hf(base)
    with torch.no_grad():  # a policy that has moved away from the reference
        for ours, other in zip(policy.parameters(), theirs.parameters(), strict=True):
            ours.mul_(1.05)
            other.mul_(1.05)
    batch = objective.batch(1, 0)
    n = len(batch.tokens) // 2
    terms = objective.loss(policy, on_device(batch, torch.device("cpu")))
    total = (
        terms.loss_sum["dpo"] / n + 0.2 * terms.loss_sum["sft"] / objective.loss_denominators(batch)["sft"]
    )

    rows = [_unpad(batch, i) for i in range(2 * n)]
    logps = torch.stack([-token_nll(theirs, *row).sum() for row in rows])
    with torch.no_grad():
        frozen = torch.stack([-token_nll(reference, *row).sum() for row in rows])
    margins = 0.3 * ((logps[:n] - frozen[:n]) - (logps[n:] - frozen[n:]))
    nll = torch.cat([token_nll(theirs, *row) for row in rows[:n]])
    expected = torch.log1p(torch.exp(-margins)).mean() + 0.2 * nll.mean()
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert_same_gradients(gradients(total, policy), gradients(expected, theirs))


def _unpad(batch: Any, i: int) -> tuple[list[int], list[int]]:
    counted = np.flatnonzero(batch.weights[i])
    prompt = batch.tokens[i][: counted[0] + 1].tolist()
    return prompt, batch.targets[i][counted].tolist()


def test_dpo_pairs_train_on_both_answers_and_their_ends(base: Path, tokenizer: Tokenizer) -> None:
    """Kills truncation that leaves pairs without a gradient, and an end-of-text that is not scored."""
    objective = dpo_objective(tokenizer, load_pretrained(base))
    for chosen, rejected in objective.pairs + objective.held_out:
        assert chosen[0] == rejected[0]
        assert chosen[1] != rejected[1]
        assert chosen[1][-1] == rejected[1][-1] == tokenizer.eot_id


def test_dpo_refuses_pairs_that_are_equal_after_truncation(
    base: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = "word " * 90
    pairs = [Pair("Say it.", "", same + "a", same + "b"), Pair("Say it.", "", "Yes.", "No.")]
    monkeypatch.setattr(tinyworld.Tinyworld, "pairs", lambda config, bad: iter(pairs))
    run = settings("dpo", dpo.Config(max_tokens=60, val_fraction=0.0))
    assert DPO(run, tokenizer, 96).data_counts["filtered"] == 1


def test_held_out_prompts_are_in_no_training_pair(base: Path, tokenizer: Tokenizer) -> None:
    objective = dpo_objective(tokenizer, load_pretrained(base), val_fraction=0.3)
    train_prompts = {tuple(chosen[0]) for chosen, _ in objective.pairs}
    test_prompts = {tuple(chosen[0]) for chosen, _ in objective.held_out}
    assert train_prompts
    assert test_prompts
    assert not train_prompts & test_prompts


# --- arithmetic --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "micro", "hint"), [(10, 4, "--batch.micro-batches 5"), (7, 3, "--batch.size 9")]
)
def test_impossible_batch_arithmetic_names_what_is_possible(size: int, micro: int, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        micro_size(size, micro)
    assert hint in str(caught.value)


def test_padding_is_not_counted() -> None:
    batch = pad([([1, 2], [3, 4]), ([1], [2, 3, 4, 5, 6])], 0, 256)
    assert n_tokens(batch) == 3 + 5
    assert batch.tokens.shape == (2, 32)  # as wide as the longest row, in steps of 32
    assert batch.weights.sum() == 2 + 5


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_the_schedule_ends_where_the_run_ends(schedule: Any) -> None:
    """Kills the original's fault: a rate planned for four epochs and never annealed."""
    config = OptimConfig(lr=1.0, warmup_ratio=0.1, schedule=schedule, decay_ratio=0.5, min_lr_ratio=0.1)
    rates = [learning_rate(step, 1000, config) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99] == pytest.approx(1.0)
    assert max(rates) == pytest.approx(1.0)
    assert 0.1 <= rates[-1] < 0.105
    assert all(a <= b for a, b in itertools.pairwise(rates[:100]))
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(rates[100:]))


def test_cosine_is_half_way_in_the_middle() -> None:
    config = OptimConfig(lr=2.0, warmup_ratio=0.0, min_lr_ratio=0.0)
    assert learning_rate(500, 1000, config) == pytest.approx(1.0)


def test_only_matrices_decay() -> None:
    model = GPT2(SHAPE)
    (optimizer,) = optim.build(list(model.named_parameters()), OptimConfig(weight_decay=0.3))
    names = {id(p): name for name, p in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            is_vector = names[id(parameter)].endswith("bias") or ".ln_" in names[id(parameter)]
            assert group["weight_decay"] == (0.0 if is_vector else 0.3)


def test_muon_equals_torch_on_separate_matrices() -> None:
    """torch.optim.Muon is the referee, given query, key and value as three matrices."""
    torch.manual_seed(0)
    model = GPT2(SHAPE)
    config = OptimConfig(name="muon", lr=0.01, weight_decay=0.1)
    named = list(model.named_parameters())
    optimizers = optim.build(named, config)
    fused, plain = (
        dict(named)["transformer.h.0.attn.c_attn.weight"],
        dict(named)["transformer.h.1.mlp.c_fc.weight"],
    )
    thirds = [torch.nn.Parameter(part.detach().clone()) for part in fused.split(32, dim=1)]
    other = torch.nn.Parameter(plain.detach().clone())
    referee = torch.optim.Muon(
        [*thirds, other], lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    for _ in range(3):
        for _, parameter in named:
            parameter.grad = torch.randn_like(parameter)
        assert fused.grad is not None
        for third, part in zip(thirds, fused.grad.split(32, dim=1), strict=True):
            third.grad = part.clone()
        other.grad = None if plain.grad is None else plain.grad.clone()
        for optimizer in [*optimizers, referee]:
            optimizer.step()
    torch.testing.assert_close(fused, torch.cat([t.detach() for t in thirds], 1), rtol=0.05, atol=2e-3)
    torch.testing.assert_close(plain, other, rtol=0.05, atol=2e-3)


def test_adamw_is_torchs_fused_one_to_the_bit() -> None:
    torch.manual_seed(0)
    model = GPT2(SHAPE)
    config = OptimConfig(name="adamw", lr=0.01, weight_decay=0.1, beta1=0.8, beta2=0.9)
    named = list(model.named_parameters())
    [ours] = optim.build(named, config)
    twins = {name: torch.nn.Parameter(p.detach().clone()) for name, p in named}
    groups = [
        {"params": [p for p in twins.values() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in twins.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    referee = torch.optim.AdamW(groups, lr=0.01, betas=(0.8, 0.9), eps=config.eps, fused=True)
    for step in range(4):
        for name, parameter in named:
            parameter.grad = None if step == 1 and name.endswith("bias") else torch.randn_like(parameter)
            twins[name].grad = parameter.grad
        ours.step()
        referee.step()
    for name, parameter in named:
        assert torch.equal(parameter, twins[name]), name
        for entry, value in referee.state[twins[name]].items():
            assert torch.equal(ours.state[parameter][entry], value), (name, entry)


def test_every_parameter_is_updated_by_exactly_one_optimizer() -> None:
    model = GPT2(SHAPE)
    for name in ("adamw", "muon"):
        optimizers = optim.build(list(model.named_parameters()), OptimConfig(name=name))  # type: ignore[arg-type]
        held = [id(p) for o in optimizers for group in o.param_groups for p in group["params"]]
        assert sorted(held) == sorted(id(p) for p in model.parameters())


def test_hf_configuration_is_ours() -> None:
    assert HFConfig().n_layer == GPT2Config().n_layer
    assert HFConfig().vocab_size == GPT2Config().vocab_size
