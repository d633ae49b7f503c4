"""A run on text beside the original project's figures: which are shown, where, and only where they compare."""

import html
import json
from pathlib import Path

import pytest
from test_report import _has_color, _pixels
from text_ledgers import SHAPE, loss, write_run

from neogpt import report
from neogpt.cli import main as command_line
from neogpt.errors import DataError
from neogpt.report import plots, png, references
from neogpt.report.svg import Line

STEP = 5_242_880
ORIGINAL = "step,kind,value\n" + "".join(
    f"{step},{kind},{value}\n"
    for kind, first, last in (("val_loss", 6.1, 3.25), ("hellaswag_acc_norm", 0.24, 0.28))
    for step, value in (
        (100, first),
        (9000, 9.9),
        (500, 5.5 if kind == "val_loss" else 0.23),
        (9000, last),
        (30_000, 1.0),
    )
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of 10B tokens, and curves of the original beside it."""
    monkeypatch.delenv("NEOGPT_DATA", raising=False)
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / references.FILE).write_text(ORIGINAL)
    return write_run(tmp_path / "gpt2-124m", 600, STEP * 3)


def lines(found: list[plots.Plot]) -> dict[str, Line]:
    [plot] = found
    return {line.label.rpartition(" ")[0] or line.style: line for line in plot.lines}


def test_losses_stand_beside_the_references_by_tokens(run: Path) -> None:
    stages, _ = report.read(run)
    [plot] = plots.losses(stages, references.read(run.parent / "reference"))
    found = lines([plot])
    last = 600 * STEP * 3
    assert plot.axis.ends == (last / 100, last)
    assert found["GPT-2 124M"].label == "GPT-2 124M 3.2924"
    assert set(found["GPT-2 124M"].ys) == {3.2924}
    assert tuple(found["GPT-2 124M"].xs) == plot.axis.ends
    assert list(found["original NeoGPT"].xs) == [500 * 524_288, 9000 * 524_288]  # 100 is before, 30,000 after
    assert list(found["original NeoGPT"].ys) == [5.5, 3.25]
    validation = found["validation"]
    assert list(validation.xs) == [30 * k * STEP * 3 for k in range(1, 21)]
    assert list(validation.ys) == pytest.approx([loss(x) + 0.02 for x in validation.xs])
    assert {"training", "faint"} <= found.keys()
    assert all(plot.axis.ends[0] <= x <= last for line in plot.lines for x in line.xs)
    assert "FineWeb-Edu" in plot.caption
    assert "OpenAI's GPT-2 124M and original NeoGPT" in plot.caption
    marks = {text: x for x, text in plot.axis.marks or ()}
    assert marks == {"100M": 1e8, "200M": 2e8, "500M": 5e8, "1B": 1e9, "2B": 2e9, "5B": 5e9}


def test_hellaswag_stands_beside_the_references_by_tokens(run: Path) -> None:
    stages, _ = report.read(run)
    [plot] = plots.hellaswag(stages, references.read(run.parent / "reference"))
    found = lines([plot])
    assert found["GPT-2 124M"].label == "GPT-2 124M 0.2945"
    assert list(found["original NeoGPT"].ys) == [0.24, 0.23, 0.28]
    assert found["chance"].ys == [0.25] * 2
    own = next(line for name, line in found.items() if name.startswith("acc_norm"))
    assert list(own.xs) == [30 * k * STEP * 3 for k in range(1, 21)]
    assert set(own.spread) == {0.0045}
    assert own.label.endswith("± 0.0045")


@pytest.mark.parametrize(
    "settings",
    [{"source": {"kind": "tinyworld"}}, {"model": {**SHAPE, "vocab_size": 1055}}, {"stage": "sft"}],
)
def test_what_does_not_compare_stands_alone(tmp_path: Path, settings: dict[str, object]) -> None:
    stages, _ = report.read(write_run(tmp_path / "run", 40, **settings))
    [plot] = plots.losses(stages, {"val_loss": ([1e8, 1e9], [6.0, 4.0])})
    assert plot.axis.name == "step"
    assert not plot.caption
    assert not any("GPT-2" in line.label or "original" in line.label for line in plot.lines)


def test_hellaswag_of_another_style_or_vocabulary_does_not_compare(tmp_path: Path) -> None:
    original = {"hellaswag_acc_norm": ([1e7, 1e8], [0.24, 0.25])}
    for name, settings in (
        ("style", {"eval": {"names": ["hellaswag:style=lm-eval"]}}),
        ("vocabulary", {"model": {**SHAPE, "vocab_size": 1055}}),
        ("limit", {"eval": {"names": ["samples", "hellaswag:limit=20"]}}),
    ):
        stages, _ = report.read(write_run(tmp_path / name, 40, **settings))
        assert not {"GPT-2 124M", "original NeoGPT"} & lines(plots.hellaswag(stages, original)).keys()
        report.write(tmp_path / name)
        for file in ("report.md", "report.html"):
            assert "GPT-2 124M reached" not in (tmp_path / name / file).read_text()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"names": ["hellaswag:limit=20"]}, "the first 20 tasks, build-nanogpt's style"),
        ({"names": ["hellaswag:limit=20,style=lm-eval"]}, "the first 20 tasks, lm-eval's style"),
        ({"names": ["hellaswag:style=lm-eval"]}, "all tasks, lm-eval's style"),
        ({}, ""),
        ({"names": ["hellaswag:limit=10042"]}, ""),
    ],
)
def test_how_hellaswag_was_measured_stands_with_the_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, object], said: str
) -> None:
    """docs/evaluation.md: figures of other limits or styles do not compare; only all tasks stand beside GPT-2's."""
    run = write_run(tmp_path / "run", 40, eval=settings)
    assert command_line.main(["report", str(run)]) == 0
    [plot] = plots.hellaswag(report.read(run)[0])
    pages = [html.unescape((run / name).read_text()) for name in ("report.md", "report.html")]
    notes = " ".join(report.summary(run)["notes"])
    for text in (*pages, capsys.readouterr().out, plot.caption, notes):
        assert ("'s style; figures of other limits or styles do not compare" in text) == bool(said)
        assert said in text
    for page in pages:
        assert ("OpenAI's GPT-2 124M reached 29.4%" in page) == (not said)


def test_the_pictures_show_them(run: Path) -> None:
    report.write(run, reference=run.parent / "reference")
    for name in ("loss.png", "hellaswag.png"):
        pixels = _pixels((run / name).read_bytes())
        for color in ("base", "rl", "dpo"):
            assert _has_color(pixels, png.COLORS[color]) > 200, (name, color)
    page = (run / "report.html").read_text()
    assert "GPT-2 124M 3.2924" in page
    assert "original NeoGPT 3.2500" in page
    report.write(run)
    assert "original NeoGPT" not in (run / "report.html").read_text()


def test_the_folder_of_curves_on_the_command_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run.parent / "out"
    folder = str(run.parent / "reference")
    assert command_line.main(["report", str(run), "--out", str(out), "--reference", folder, "--json"]) == 0
    assert str(out / "loss.png") in json.loads(capsys.readouterr().out)["files"]
    assert "original NeoGPT" in (out / "report.html").read_text()
    assert command_line.main(["report", str(run), "--reference", str(run)]) == 3
    assert "step,kind,value" in capsys.readouterr().err


def test_the_originals_published_curves(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEOGPT_DATA", str(real_data))
    curves = references.read()
    tokens, values = curves["val_loss"]
    assert (tokens[-1], values[-1]) == (20_000 * 524_288, 3.2539)
    assert min(values) == 3.2538
    assert values[tokens.index(5250 * 524_288)] == 3.544  # it went back to step 5000 once
    assert curves["hellaswag_acc_norm"][1][-1] == 0.2765
    assert max(curves["hellaswag_acc_norm"][1]) == 0.2847
    assert tokens == sorted(set(tokens))
    with pytest.raises(DataError, match="cannot be read"):
        references.read(real_data)
