"""What a user sees of a run: every shown number against its closed form."""

import dataclasses
import io
import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from training import events, probe, tiny

from neogpt import hardware, ledger
from neogpt.cli._progress import Progress, clock_time, debiased, packed, short
from neogpt.config import GPT2Config, SaveConfig
from neogpt.model import GPT2, sizes
from neogpt.paths import RunDir
from neogpt.recipes import tinyworld
from neogpt.report.samples import SampleSheet, sheet
from neogpt.retention import checkpoints_to_come, kept_steps, warning
from neogpt.train.monitors import throughput
from neogpt.train.run import train

START = {
    "event": "start",
    "step": 0,
    "steps": 10,
    "device": "cpu",
    "processes": 2,
    "params": 1234,
    "data": {"documents": 7},
}


def test_smoothed_loss_is_the_weighted_mean_of_all_values() -> None:
    values, beta = [5.0, 4.0, 7.0, 1.0], 0.95
    mean = 0.0
    for seen, value in enumerate(values):
        mean = debiased(mean, value, seen, beta)
        weights = [beta ** (seen - i) for i in range(seen + 1)]
        expected = sum(w * v for w, v in zip(weights, values, strict=False)) / sum(weights)
        assert mean == pytest.approx(expected)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (92.4, "1:32"), (3700, "1:01:40"), (200_000, "2d 7:33:20")]
)
def test_clock_time(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.5, "1.00k"),
        (9_994, "9.99k"),
        (9_996, "10.0k"),
        (99_960, "100k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (524_288_000, "524M"),
        (10e9, "10.0B"),
        (1.2e16, "12000T"),
    ],
)
def test_short_numbers(number: float, text: str) -> None:
    assert short(number) == text


@given(st.lists(st.text("x", min_size=1, max_size=30), max_size=12), st.integers(1, 80))
def test_packed_lines_against_brute_force(parts: list[str], width: int) -> None:
    """Every part is there in order, no line of several is too long, and no other split needs fewer lines."""
    lines = packed(parts, width)
    assert [part for line in lines for part in line.split("  ")] == parts
    assert all(len(line) <= width or "  " not in line for line in lines)
    fewest = len(parts)
    for cuts in product([0, 1], repeat=max(0, len(parts) - 1)):
        split = [list(parts[:1])]
        for cut, part in zip(cuts, parts[1:], strict=True):
            split.append([part]) if cut else split[-1].append(part)
        if all(len("  ".join(line)) <= width or len(line) == 1 for line in split):
            fewest = min(fewest, len(split))
    assert len(lines) == (fewest if parts else 0)


def test_progress_line_shows_what_the_ledger_says() -> None:
    out = io.StringIO()
    clock = iter([0.0, 1.0, 100.0])
    progress = Progress(Console(file=out, width=200), clock=lambda: next(clock))
    progress.event(START)
    row = {"step": 1, "tokens": 1500, "loss": 4.0, "lr": 1e-3, "grad_norm": 2.0}
    progress.row(row)
    throughput = {"step_s": 3.0, "tokens_per_s": 5000.0, "mfu": 0.412, "disk_free_bytes": 81_200_000_000}
    progress.event({"event": "progress", "step": 2, **throughput})
    progress.row({**row, "step": 2, "loss": 2.0})  # one second later: not shown
    measured = {"hellaswag/acc_norm": 0.28471, "hellaswag/acc_norm_stderr": 0.0045}
    progress.row({"step": 2, "val_loss": 3.25, "tinyworld/asked": 0.5, **measured})
    progress.row({**row, "step": 5, "tokens": 7500, "loss": 3.0})
    lines = out.getvalue().splitlines()
    assert "2 process(es), 1,234 parameters; documents 7" in lines[0]
    assert lines[1] == "step 1/10 (10%)  1.50k tokens  loss 4.0000 (~4.0000)  lr 1.00e-03  norm 2.00"
    assert lines[2] == "eval at step 2:  val 3.2500  asked 0.50  acc_norm 0.2847±0.0045"
    weights = [0.95**2, 0.95, 1.0]
    smooth = (4 * weights[0] + 2 * weights[1] + 3) / sum(weights)
    assert lines[3] == (
        f"step 5/10 (50%)  7.50k tokens  loss 3.0000 (~{smooth:.4f})  val 3.2500  lr 1.00e-03  norm 2.00"
        "  5.00k tok/s  mfu 41.2%  eta 0:15  disk 81.2GB left"
    )
    assert len(lines) == 4


def test_scores_of_two_evals_with_one_name_are_told_apart() -> None:
    out = io.StringIO()
    row = {"step": 2, "val_loss": 3.25, "instructions/stop": 0.5, "instructions/stop_stderr": 0.1}
    Progress(Console(file=out, width=200)).row({**row, "samples/stop": 0.25, "samples/repetition": 0.125})
    assert out.getvalue() == (
        "eval at step 2:  val 3.2500  instructions/stop 0.5000±0.1000  samples/stop 0.25  repetition 0.12\n"
    )


def test_progress_says_which_steps_were_skipped() -> None:
    out = io.StringIO()
    progress = Progress(Console(file=out, width=200))
    progress.event(START)
    progress.row({"step": 1, "loss": None, "lr": 1e-3, "grad_norm": None, "skipped": "non-finite"})
    progress.event({"event": "skipped", "step": 1, "reason": "non-finite", "total": 1})
    progress.event({"event": "end", "step": 10, "seconds": 5.0, "skipped": 1})
    lines = out.getvalue().splitlines()
    assert "loss skipped" in lines[1]
    assert lines[2:] == ["skipped step 1: non-finite (1 so far)", "done: 10 steps in 0:05, 1 of them skipped"]


@pytest.mark.parametrize(("width", "n_lines"), [(80, 2), (140, 2), (160, 1)])
def test_live_lines_fit_the_terminal(width: int, n_lines: int) -> None:
    out = io.StringIO()
    progress = Progress(Console(file=out, width=width, force_terminal=True))
    progress.event({**START, "steps": 19_073})
    progress.row({"step": 1000, "val_loss": 3.5})
    throughput = {"step_s": 3.0, "tokens_per_s": 1_234_567.0, "mfu": 0.4, "disk_free_bytes": 8e11}
    progress.event({"event": "progress", **throughput})
    row = {"step": 1234, "tokens": 646_971_392, "loss": 3.4, "lr": 6e-4, "grad_norm": 0.3}
    progress.row(row)
    shown = packed(progress._parts(row), width - 3)
    progress.event({"event": "end", "step": 10, "seconds": 5.0})
    assert len(shown) == n_lines
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", out.getvalue())
    assert [line for line in shown if line not in text] == []
    assert all(len(line) <= width for line in text.splitlines()[2:-1])


# speed and room


def test_peak_of_a_gpu_by_its_name() -> None:
    """As torch names them; the more special name counts, a part of another's does not."""
    named = {
        "NVIDIA H100 80GB HBM3": 989e12,
        "NVIDIA H100 PCIe": 756e12,
        "NVIDIA A100-SXM4-40GB": 312e12,
        "NVIDIA L40S": 362e12,
        "NVIDIA L4": 121e12,
        "NVIDIA A10G": 70e12,
        "NVIDIA GeForce RTX 4090": 165e12,
        "Tesla T4": 0,
    }
    assert {name: hardware.peak_flops(name) for name in named} == named


def test_mfu_is_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million tokens a second of GPT-2 124M on four GPUs of 989 TFLOP/s each: 0.8599 of 3.956 PFLOP/s."""
    now = [0.0]
    monkeypatch.setattr(throughput.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(throughput, "_peak_of", lambda device: 989e12)
    run = tinyworld.pretrain()
    run = dataclasses.replace(run, objective=dataclasses.replace(run.objective, seq_len=1024))
    watch = throughput.Throughput(GPT2Config(), run, processes=4)
    watch.lap(0, 0)
    now[0] = 10.0
    lap = watch.lap(5, 10_000_000)
    assert lap is not None
    assert lap["mfu"] == pytest.approx(1e6 * 859_885_056 / (4 * 989e12))


@given(st.integers(0, 9), st.integers(0, 3), st.sampled_from([0, 6, 10]), st.booleans(), st.integers(0, 40))
def test_room_for_saves_against_the_saves_themselves(
    every: int, last: int, keep_every: int, keep_best: bool, step: int
) -> None:
    """Each save written before the old ones are deleted; the best is the one that is never beaten."""
    config = SaveConfig(every=every, keep_last=last, keep_every=keep_every, keep_best=keep_best)
    found: set[int] = set()
    most, before = 0, 0
    for save in range(1, 41):
        if (every and save % every == 0) or save == 40:
            found.add(save)
            if save > step:
                most = max(most, len(found) - before)
            best = min(found) if keep_best else None
            found = set(kept_steps(found, best, config))
        if save <= step:
            before, at_step = len(found), set(found)
    assert checkpoints_to_come(at_step if step else set(), config, step, 40) == most


def test_a_disk_without_room_is_told_before_the_first_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four checkpoints of 0.7 MB at once (two last, the best, the one being written), and 2 MB free."""
    monkeypatch.setattr("neogpt.train.saver.free_bytes", lambda files: 2_000_000)
    train(tiny("pretrain"), tmp_path)
    found = [row["event"] for row in events(tmp_path)]
    assert found.count("warning") == 1
    assert found.index("warning") < found.index("save")
    assert warning(2_800_000, 700_000, 4) == ""
    (said,) = events(tmp_path, "warning")
    assert said["message"].startswith(
        "the disk has 2.0 MB left, and the saves to come need about 2.8 MB (4 check"
    )


def test_flops_a_token_is_six_n_plus_attention() -> None:
    """GPT-2 124M at T = 1024: 6 N + 12 L D T = 859.9 MFLOP (N with embeddings), by hand."""
    config = GPT2Config()
    n = GPT2(config).n_params
    assert n == 124_439_808
    by_hand = 6 * 124_439_808 + 12 * 12 * 768 * 1024
    assert sizes.flops_per_token(config, 1024) == by_hand == 859_885_056


def test_speed_counts_training_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(throughput.time, "monotonic", lambda: now[0])
    watch = throughput.Throughput(GPT2Config(), tinyworld.pretrain(), every_s=2.0)
    assert watch.lap(0, 0) is None
    now[0] += 1.0
    assert watch.lap(1, 100) is None
    now[0] += 3.0
    assert watch.lap(2, 200) == {"step": 2, "step_s": 2.0, "tokens_per_s": 50.0}
    watch.skip()
    now[0] += 1000.0  # saving and evaluating
    assert watch.lap(3, 300) is None
    now[0] += 4.0
    lap = watch.lap(4, 400)
    assert lap is not None
    assert lap["tokens_per_s"] == 25.0


def test_the_sheet_of_samples_is_the_ledger_by_step(tmp_path: Path) -> None:
    """Newest first, texts as they are (also with fences of their own), and a disk that refuses stops nothing."""
    train(tiny("pretrain"), tmp_path, "", probe, [SampleSheet(RunDir(tmp_path))])
    text = (tmp_path / "samples.md").read_text()
    assert re.findall(r"^## Step (\d+)$", text, re.MULTILINE) == ["12", "9", "6", "3"]
    for row in ledger.read(RunDir(tmp_path).samples):
        assert f"{row['question']}\n→ {row['answer']}\n~~~" in text
    assert "\n~~~~~text\n~~~~\n→ a\n~~~~~\n" in sheet("x", [{"step": 1, "question": "~~~~", "answer": "a"}])
    (tmp_path / "samples.md").unlink()
    (tmp_path / "samples.md").mkdir()
    broken = SampleSheet(RunDir(tmp_path))
    with pytest.warns(UserWarning, match="samples.md is left out"):
        broken.event({"event": "eval", "step": 12})
    broken.event({"event": "eval", "step": 12})
