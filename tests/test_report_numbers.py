"""The arithmetic of reports against closed forms and brute force."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import report_ledgers as made
from hypothesis import given, settings
from hypothesis import strategies as st

from neogpt import report
from neogpt.report import answers, curves, facts, measures, plots, png, runs
from neogpt.report.markup import join, tag


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 10, 101])
def test_smoothing_keeps_constant_and_linear_series(n: int, early: bool) -> None:
    x = np.arange(n)
    for values in (np.full(n, 3.7), 2.5 - 0.3 * x, 1e6 + 1e-3 * x):
        np.testing.assert_allclose(curves.smooth(values.tolist(), 0.1, early), values, rtol=1e-9)


def test_smoothing_is_least_squares_in_a_window() -> None:
    y = np.random.default_rng(0).normal(size=60)
    smooth = curves.smooth(y.tolist(), 0.1)
    for i in range(60):
        low = min(max(i - 6, 0), 60 - 13)
        x = np.arange(low, low + 13)
        wanted = np.polyval(np.polyfit(x, y[x], 1), i)
        assert smooth[i] == pytest.approx(np.clip(wanted, y.min(), y.max()), abs=1e-9)


def test_smoothing_removes_noise_without_lag() -> None:
    x = np.linspace(0, 1, 1000)
    truth = 2 * np.exp(-4 * x)
    noisy = truth + np.random.default_rng(1).normal(scale=0.1, size=1000)
    error = curves.smooth(noisy.tolist()) - truth
    assert np.abs(error).mean() < 0.02
    assert abs(error.mean()) < 0.01


def test_smoothing_stays_within_what_was_measured() -> None:
    y = [0.5] * 40 + [1.0] * 4
    assert curves.smooth(y, 0.1).max() == 1.0


@given(st.integers(1, 3000), st.integers(1, 300), st.integers(0, 9))
@settings(max_examples=60)
def test_thinning_keeps_the_picture(n: int, columns: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=n).tolist()
    xs, ys = curves.thin(list(range(n)), values, columns)
    assert len(xs) <= 2 * columns + 2
    assert (xs[0], xs[-1]) == (0, n - 1)
    assert (min(ys), max(ys)) == (min(values), max(values))
    assert xs == sorted(set(xs))
    assert ys == [values[int(x)] for x in xs]


@given(st.floats(-1e6, 1e6), st.floats(1e-2, 1e6), st.integers(3, 8))
@settings(max_examples=100)
def test_ticks_are_round_inside_and_few(low: float, width: float, most: int) -> None:
    marks = curves.ticks(low, low + width, most)
    assert 1 <= len(marks) <= most
    assert all(low - 1e-6 * width <= mark <= low + width * (1 + 1e-6) for mark in marks)
    if len(marks) > 1:
        assert f"{marks[1] - marks[0]:.0e}"[0] in "125"


def test_ticks_by_example() -> None:
    assert curves.ticks(0, 1) == [0, 0.5, 1]
    assert curves.ticks(0, 1, 6) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert curves.ticks(1.1, 6.9) == [2, 3, 4, 5, 6]
    assert curves.log_ticks(1, 700) == [1, 10, 100, 700]
    assert curves.log_ticks(1, 1200) == [1, 10, 100, 1000]


@given(st.lists(st.floats(-50, 350), min_size=1, max_size=8))
@settings(max_examples=100)
def test_labels_do_not_overlap(wanted: list[float]) -> None:
    places = curves.spread(wanted, 15, 0, 300)
    assert all(b - a >= 15 - 1e-9 for a, b in pairwise(sorted(places)))
    assert max(places) <= 300 + 1e-9
    assert [places[i] for i in np.argsort(wanted, kind="stable")] == sorted(places)
    clear = sorted(wanted)
    if all(b - a >= 15 for a, b in pairwise(clear)) and clear[0] >= 0 and clear[-1] <= 300:
        assert places == wanted


def test_time_is_that_of_the_sessions_without_the_waiting() -> None:
    def event(time: float, name: str) -> dict[str, object]:
        return {"time": time, "event": name}

    one = [event(100, "start"), event(130, "progress"), event(160, "end")]
    assert runs.busy_seconds(one) == 60
    killed = [event(100, "start"), event(130, "save"), event(9000, "resume"), event(9012.5, "end")]
    assert runs.busy_seconds(killed) == 42.5
    assert runs.busy_seconds([*one, event(5000, "resume"), event(5000, "end")]) == 60
    assert runs.busy_seconds([{"event": "warning", "message": "no time"}, *one]) == 60
    assert runs.busy_seconds([event(7, "start")]) == 0
    assert runs.busy_seconds([]) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (59.4, "59 s"), (60, "1 min"), (147, "2 min 27 s"), (7205, "2 h"), (93_784, "1 d 2 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert measures.duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.000"),
        (3.25381, "3.254"),
        (-4.9964, "−4.996"),
        (0.00061, "0.0006"),
        (12345.6, "12,346"),
        (250, "250"),
        (1e-7, "1e-07"),
        (-5e-20, "0.000"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert measures.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12, "12"),
        (999, "999"),
        (945_024, "945k"),
        (2_150_400, "2.15M"),
        (124_439_808, "124M"),
        (35_440, "35.4k"),
        (999_900, "1.00M"),
        (1e10, "10.0B"),
    ],
)
def test_counts(value: float, text: str) -> None:
    assert measures.count(value) == text


def test_parameters_are_those_of_gpt2() -> None:
    shapes = {
        124_439_808: (12, 768),
        354_823_168: (24, 1024),
        774_030_080: (36, 1280),
        1_557_611_200: (48, 1600),
    }
    for wanted, (layers, width) in shapes.items():
        assert runs.count_parameters(layers, width, 1024, 50257) == wanted


def _order(folder: Path) -> list[tuple[str, bool]]:
    return [(stage.label, stage.is_lesson) for stage in report.read(folder)[0]]


def test_stages_stand_in_the_order_in_which_they_grew(tmp_path: Path) -> None:
    for name, number in {"dpo": 1, "dpo-red-team": 0, "sft": 3, "pretrain": 4}.items():
        made.write_stage(tmp_path / name, name, made.START + number, steps=20)
    wanted = [("Base", False), ("SFT", False), ("DPO", False), ("DPO, red-team only", True)]
    assert _order(tmp_path) == wanted


def test_parents_are_found_by_checkpoint_and_by_name(tmp_path: Path) -> None:
    for name in ("pretrain", "sft", "dpo"):
        made.write_stage(tmp_path / name, name, steps=20)
    elsewhere = "/another/machine/runs/sft/checkpoints/step-00000020"
    for name, origin in {
        "pretrain": "",
        "sft": f"{tmp_path}/dpo/checkpoints/step-00000020",
        "dpo": elsewhere,
    }.items():
        config = tmp_path / name / "config.toml"
        config.write_text(re.sub('init_from = ".*"', f'init_from = "{origin}"', config.read_text()))
    assert [stage.parent for stage in report.read(tmp_path)[0]] == ["", "dpo", "sft"]  # a circle ends, too


def test_several_runs_of_a_kind_are_told_apart(tmp_path: Path) -> None:
    made.write_stage(tmp_path / "pretrain", "pretrain", steps=20)
    for name in ("sft-long", "sft_short"):
        made.write_stage(tmp_path / name, "sft", steps=20)
    assert [label for label, _ in _order(tmp_path)] == ["Base", "SFT long", "SFT short"]


def test_a_step_logged_twice_counts_once() -> None:
    rows = [
        {"step": 1, "loss": 3.0},
        {"step": 2, "loss": 2.0},
        {"step": 1, "loss": 2.5},
        {"step": 3, "loss": True},
    ]
    stage = runs.Stage(Path("x"), {}, rows, [], [])
    assert stage.series("loss") == ([1, 2], [2.5, 2.0])
    assert stage.last_step == 3


def test_scores_are_what_evaluations_measured_and_not_training_metrics() -> None:
    rows = [
        {"step": 1, "loss": 1.0, "rewards/margins": 0.1, "loss/dpo": 0.6},
        {"step": 1, "val_loss": 1.0, "val/loss/dpo": 0.7, "any/thing": 0.5},
    ]
    assert runs.Stage(Path("x"), {}, rows, [], []).score_keys == ["any/thing"]


def test_a_low_share_is_good_where_lower_is_better() -> None:
    over = facts.Score(
        "tinyworld/over_refusal_plain",
        measures.measure("tinyworld/over_refusal_plain"),
        [0.02, 0.4, 0.97],
        [None] * 3,
    )
    right = facts.Score("tinyworld/stop", measures.measure("tinyworld/stop"), [0.02, 0.5, None], [None] * 3)
    assert [over.sign(v) for v in (0.02, 0.4, 0.97)] == ["●", "◐", "○"]
    assert [right.sign(v) for v in (0.9, 0.5, 0.02)] == ["●", "◐", "○"]
    assert [over.is_best(v) for v in (0.02, 0.4, 0.97)] == [True, False, False]
    assert [right.is_best(v) for v in (0.02, 0.5)] == [False, True]
    same = facts.Score("tinyworld/stop", right.measure, [0.99991, 0.99992], [None] * 2)
    assert not same.is_best(0.99992)  # they are printed alike


def test_over_refusal_is_known_whichever_eval_asked() -> None:
    rows = [
        {
            "step": 2,
            "val_loss": 1.0,
            "over_refusal/harmful_refused": 0.9,
            "over_refusal/harmless_refused": 0.125,
            "over_refusal/harmless_refused_stderr": 0.9,
            "refusals/safe_refused": 0.25,
            "refusals/safe_degenerate": 0.5,
        }
    ]
    stage = runs.Stage(Path("x"), {"stage": "dpo"}, rows, [], [])
    assert facts.over_refusal(stage) == 0.25
    assert "refuses 90% of harmful requests" in facts._effects(stage)
    assert (
        facts.over_refusal(
            runs.Stage(Path("x"), {}, [{"step": 2, "over_refusal/harmful_refused": 0.9}], [], [])
        )
        is None
    )


def test_the_life_shows_the_worst_over_refusal(tmp_path: Path) -> None:
    plot, bands = plots.life(report.read(made.write_demo(tmp_path))[0]) or (None, [])
    assert plot is not None
    assert bands == [(0, "Base"), (1, "SFT"), (2, "DPO")]
    line = next(line for line in plot.lines if line.label == "harmless refused")
    assert (line.xs[-1], line.ys[-1]) == (3, max(made.FINAL["dpo"][-3:]))


def test_only_the_newest_answers_count() -> None:
    def row(step: int, question: str) -> dict[str, object]:
        return {"step": step, "eval": "e", "question": question, "answer": f"at {step}", "verdict": ""}

    stage = runs.Stage(Path("x"), {}, [], [], [row(1, "old"), row(9, "new"), row(1, "new"), row(9, "more")])
    found = answers.by_eval([stage])["e"]
    assert [(q.text, q.answers[0].text) for q in found if q.answers[0]] == [("new", "at 9"), ("more", "at 9")]


def test_markup_escapes_all_but_markup() -> None:
    assert tag("p", "a<b", tag("b", '"&'), None, title="'\"<") == (
        '<p title="&#x27;&quot;&lt;">a&lt;b<b>&quot;&amp;</b></p>'
    )
    assert join(["<", tag("br")], between=">") == "&lt;&gt;<br>"


def _contrast(first: str, second: str) -> float:
    """WCAG 2.2 contrast ratio of two colors #rrggbb."""

    def luminance(color: str) -> float:
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def test_colors_can_be_read_on_their_paper_and_are_one_palette() -> None:
    style = Path(runs.__file__).with_name("style.css").read_text()
    themes = [dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", block)) for block in style.split("@media")[:2]]
    for theme in themes:
        for name in set(theme) - {"paper", "line", "wash"}:
            assert _contrast(theme[name], theme["paper"]) >= 4.5, name
    assert {name: themes[0][name] for name in png.COLORS} == png.COLORS
