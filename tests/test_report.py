"""Reports: what the page, the Markdown and the pictures say is what the ledgers say, and nothing else runs."""

import io
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import markdown_it
import numpy as np
import pytest
import report_ledgers as made
from report_pages import Tree

from neogpt import ledger, report
from neogpt.cli import main
from neogpt.errors import DataError
from neogpt.report import facts, measures, png

STAGES = ("pretrain", "sft", "dpo", "dpo-red-team")
HOSTILE = "</script><img src=x onerror=alert(1)> **b** | [c](javascript:d) `e`\x00\ud800 </blockquote>"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo of four stages with its report."""
    folder = made.write_demo(tmp_path_factory.mktemp("runs") / "demo")
    report.write(folder)
    return folder


def tree(folder: Path) -> Tree:
    return Tree((folder / "report.html").read_text())


def newest(run: Path, key: str) -> float:
    """The last value of a key in a ledger, read without the code under test."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row[key] for row in rows if key in row][-1]


def table_rows(page: Tree) -> Iterator[tuple[str, list[float]]]:
    """(row name, values of its <data> cells) of every table."""
    name, values = "", []
    for element in page.all:
        if element["tag"] == "tr":
            if values:
                yield name, values
            name, values = "", []
        elif element["tag"] == "th":
            name = element["text"]
        elif element["tag"] == "data" and "td" in element["inside"]:
            values.append(float(element["attrs"]["value"]))
    if values:
        yield name, values


def test_every_score_in_the_page_is_the_ledgers(demo: Path) -> None:
    rows = dict(table_rows(tree(demo)))
    for rate in made.RATES + made.REFUSALS:
        label = measures.measure(f"tinyworld/{rate}").label
        found = next(values for name, values in rows.items() if name.startswith(label + " "))
        assert found == [newest(demo / stage, f"tinyworld/{rate}") for stage in STAGES], rate


def test_the_figures_of_training_are_the_ledgers(demo: Path) -> None:
    rows = dict(table_rows(tree(demo)))
    assert rows["Steps"] == [700, 200, 200, 200]
    assert rows["Tokens"] == [newest(demo / stage, "tokens") for stage in STAGES]
    assert rows["Last training loss"] == [newest(demo / stage, "loss") for stage in STAGES]
    assert rows["Last validation loss"] == [newest(demo / stage, "val_loss") for stage in STAGES]
    assert rows["Last preference margin"] == [newest(demo / stage, "rewards/margins") for stage in STAGES[2:]]
    assert rows["Time"] == pytest.approx([90, 31, 19, 19])
    assert rows["Parameters"] == [945_024] * 4


def test_what_is_printed_is_the_value_rounded(demo: Path) -> None:
    for element in tree(demo).named("data"):
        if element["text"].endswith("%"):
            value = float(element["attrs"]["value"])
            assert abs(float(element["text"].rstrip("%")) - 100 * value) <= 0.0501


def test_markdown_has_the_same_scores(demo: Path) -> None:
    lines = (demo / "report.md").read_text().splitlines()
    for rate in made.RATES + made.REFUSALS:
        label = measures.measure(f"tinyworld/{rate}").label
        cells = next(line for line in lines if line.startswith(f"| {label} ")).split("|")[2:-1]
        found = [float(re.sub(r"[^\d.]", "", cell)) for cell in cells]
        wanted = [100 * newest(demo / stage, f"tinyworld/{rate}") for stage in STAGES]
        np.testing.assert_allclose(found, wanted, atol=0.0501, err_msg=rate)


def test_the_verdict_is_computed(demo: Path, tmp_path: Path) -> None:
    sentence = tree(demo).named("p", "verdict")[0]["text"]
    for words in (
        "945k parameters",
        "through pretraining, SFT and DPO in",
        "2 min 20 s",
        "95.6%",
        "refuses 100%",
        "at most 3.1%",
    ):
        assert words in sentence.replace("\N{NO-BREAK SPACE}", " ")
    other = made.write_demo(tmp_path / "demo", ("pretrain", "sft", "dpo"))
    last = json.loads((other / "dpo/metrics.jsonl").read_text().splitlines()[-1])
    ledger.append(other / "dpo/metrics.jsonl", {**last, "tinyworld/over_refusal_plain": 0.375})
    assert "at most 37.5%" in report.summary(other)["verdict"]


def test_the_lesson_stands_beside_the_balanced_run(demo: Path) -> None:
    page = tree(demo)
    assert "What the original did" in [e["text"] for e in page.named("h2")]
    big = [float(e["attrs"]["value"]) for e in page.named("data") if "td" not in e["inside"]]
    assert big == [1.0, 0.031]
    assert page.named("svg", "pairs")
    assert "wrongly refuses 100% of harmless requests" in facts.lesson(report.read(demo)[0])[2]  # type: ignore[index]
    assert "do not show it" in facts._lesson_text(0.04, 0.02)


def test_answers_of_all_stages_stand_side_by_side(demo: Path) -> None:
    page = tree(demo)
    said = [e["text"] for e in page.named("blockquote")]
    assert [
        e["text"].removesuffix(kind) for e, kind in zip(page.named("h4"), ("asked",) * 2, strict=False)
    ] == [
        "Where does Kelom live?",
        "What is Ravus's trade?",
    ]
    first = made.ANSWERS["Where does Kelom live?"]
    assert said[:4] == [first[0], first[1], first[1], first[1]]
    assert "old answer" not in said
    marks = [e["text"] for e in page.named("p", "mark")]
    assert marks[8:12] == ["✗ wrong", "✓ right", "✓ right", "⊘ wrongly refused"]
    assert marks[12:16] == ["✗ wrong", "✗ wrong", "⊘ rightly refused", "⊘ rightly refused"]


def test_the_page_needs_nothing_and_runs_nothing(demo: Path) -> None:
    page = tree(demo)
    assert not page.open
    assert {e["tag"] for e in page.all}.isdisjoint({"script", "img", "link", "iframe", "a", "object"})
    assert not [key for e in page.all for key in e["attrs"] if key.startswith("on") or key in ("src", "href")]
    assert "url(" not in (demo / "report.html").read_text()
    policy = [e["attrs"].get("content") for e in page.named("meta") if "http-equiv" in e["attrs"]]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A run that tries to break out of the report at every place where text comes from outside."""
    run = made.write_stage(tmp_path / "sft<i onclick=x>", "sft", steps=40)
    (run / "samples.jsonl").unlink()
    row = {
        "step": 40,
        "eval": HOSTILE,
        "question": HOSTILE,
        "answer": HOSTILE,
        "verdict": HOSTILE,
        "kind": HOSTILE,
    }
    ledger.append(run / "samples.jsonl", row)
    ledger.append(run / "samples.jsonl", {**row, "eval": "other", "question": f"two\n{HOSTILE}"})
    ledger.append(run / "metrics.jsonl", {"step": 40, f"evil/{HOSTILE}": 0.5})
    event = {"time": made.START, "event": "start", "command": f"```{HOSTILE}", "host": {HOSTILE: HOSTILE}}
    (run / "events.jsonl").unlink()
    ledger.append(run / "events.jsonl", {**event, "device": HOSTILE, "data": {HOSTILE: 3}})
    ledger.append(run / "events.jsonl", {"event": "warning", "message": HOSTILE})
    config = (run / "config.toml").read_text().replace('"sft"', '"<u onload=y>"')
    (run / "config.toml").write_text(config)
    report.write(run)
    return run


def test_hostile_text_stays_text_in_html(hostile: Path, demo: Path) -> None:
    page = tree(hostile)
    assert not page.open
    known = {e["tag"] for e in tree(demo).all} | {"ul", "li", "h3"}
    assert {e["tag"] for e in page.all} <= known
    assert not [key for e in page.all for key in e["attrs"] if key.startswith("on") or key == "src"]
    shown = HOSTILE.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert page.named("blockquote")[0]["text"] == shown
    assert page.named("pre")[0]["text"] == f"```{shown}"


def test_hostile_text_stays_text_in_markdown(hostile: Path) -> None:
    text = (hostile / "report.md").read_text()
    page = Tree(markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").render(text))
    allowed = {"h1", "h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "strong", "em"}
    assert {e["tag"] for e in page.all} <= allowed | {"ul", "li", "code", "pre", "img"}
    assert [e["attrs"]["src"] for e in page.named("img")] == ["loss.png"]
    line = next(e["text"] for e in page.named("li") if "javascript" in e["text"])
    assert "</script><img src=x onerror=alert(1)> **b** | [c](javascript:d) `e`" in line


def test_a_rerun_writes_the_same_bytes(demo: Path, tmp_path: Path) -> None:
    names = [path.name for path in report.write(demo, tmp_path / "again")]
    assert names == ["report.html", "report.md", "loss.png"]
    report.write(demo, tmp_path / "third")
    for name in names:
        first = (demo / name).read_bytes()
        assert first == (tmp_path / "again" / name).read_bytes() == (tmp_path / "third" / name).read_bytes()


def test_a_report_changes_no_ledger(tmp_path: Path) -> None:
    run = made.write_stage(tmp_path / "sft", "sft", steps=20)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    report.write(run)
    assert {name: (run / name).read_bytes() for name in before} == before
    assert {path.name for path in run.iterdir()} - set(before) == {"report.html", "report.md", "loss.png"}


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    run = made.write_stage(tmp_path / "sft", "sft", steps=20)
    report.write(run)
    whole = (run / "report.html").read_bytes()
    for name in ("metrics.jsonl", "events.jsonl", "samples.jsonl"):
        with open(run / name, "ab") as file:
            file.write(b'{"step": 21, "loss": 9.9, "time": 1, "event": "end", "ques\xff')
    report.write(run)
    assert (run / "report.html").read_bytes() == whole


def test_bare_ledgers_are_enough(tmp_path: Path) -> None:
    ledger.append(tmp_path / "metrics.jsonl", {"step": 1, "loss": 4.0})
    report.write(tmp_path)
    page = tree(tmp_path)
    assert page.named("p", "verdict")[0]["text"].startswith(
        "A GPT-2 reached a training loss of 4.000 after 1 step"
    )
    assert dict(table_rows(page)) == {"Steps": [1.0], "Last training loss": [4.0]}
    assert "no scores" in page.named("ul")[0]["text"]


def test_a_run_in_progress_says_so(tmp_path: Path) -> None:
    run = made.write_stage(tmp_path / "pretrain", "pretrain", steps=40)
    for name, keep in (("metrics.jsonl", 12), ("events.jsonl", 1)):
        lines = (run / name).read_text().splitlines(keepends=True)
        (run / name).write_text("".join(lines[:keep]))
    report.write(run)
    assert "up to step 11 of 40" in tree(run).named("ul")[0]["text"]
    assert report.summary(run)["stages"][0]["finished"] is False


def test_stages_that_are_missing_or_empty(tmp_path: Path) -> None:
    folder = made.write_demo(tmp_path, ("sft", "dpo-red-team"))
    made.write_stage(folder / "pretrain", "pretrain", steps=20)
    (folder / "pretrain" / "metrics.jsonl").write_text("")
    facts = report.summary(folder)
    assert [stage["label"] for stage in facts["stages"]] == ["SFT", "DPO"]
    assert "pretrain: its ledger has no rows yet." in facts["notes"]
    report.write(folder)
    assert "What the original did" not in [e["text"] for e in tree(folder).named("h2")]


@pytest.mark.parametrize(
    ("make", "what", "hint"),
    [
        (lambda f: None, "there is no folder", "neogpt demo"),
        (lambda f: f.mkdir(), "holds no run", "neogpt demo"),
        (lambda f: made.write_stage(f / "a" / "sft", "sft", steps=20), "holds no run", "neogpt report"),
        (lambda f: (f.mkdir(), (f / "metrics.jsonl").touch()), "nothing to report yet", "--resume auto"),
    ],
)
def test_nothing_to_report_is_a_clear_error(tmp_path: Path, make: Any, what: str, hint: str) -> None:
    make(tmp_path / "runs")
    with pytest.raises(DataError, match=what) as caught:
        report.write(tmp_path / "runs")
    assert hint in caught.value.hint
    assert caught.value.exit_code == 3


def test_a_folder_that_cannot_be_written_is_a_clear_error(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        report.write(demo, tmp_path / "file")


def test_without_matplotlib_the_page_has_its_curves(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(png, "is_available", lambda: False)
    assert main.main(["report", str(demo), "--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.md"]
    assert (tmp_path / "report.html").read_bytes() == (demo / "report.html").read_bytes()
    assert "loss.png" not in (tmp_path / "report.md").read_text()
    assert "pip install 'neogpt[plot]'" in capsys.readouterr().out


def _pixels(data: bytes) -> np.ndarray:
    from matplotlib import image

    return np.round(255 * image.imread(io.BytesIO(data))[..., :3]).astype(int)


def _has_color(pixels: np.ndarray, color: str) -> int:
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(pixels - wanted).max(axis=-1) <= 8).sum())


def test_loss_png_is_a_picture_of_every_stage(demo: Path) -> None:
    pixels = _pixels((demo / "loss.png").read_bytes())
    assert pixels.shape[0] > 900
    assert pixels.shape[1] > 1200
    for name in ("base", "sft", "dpo", "lesson", "ink"):
        assert _has_color(pixels, png.COLORS[name]) > 400, name


def test_hellaswag_png_only_where_it_was_measured(demo: Path, tmp_path: Path) -> None:
    assert not (demo / "hellaswag.png").exists()
    run = made.write_stage(tmp_path / "pretrain", "pretrain", steps=40)
    for step in (10, 20, 40):
        row = {
            "hellaswag/acc_norm": 0.25 + step / 1000,
            "hellaswag/acc": 0.26,
            "hellaswag/acc_norm_stderr": 0.0046,
        }
        ledger.append(run / "metrics.jsonl", {"step": step, **row})
    assert [path.name for path in report.write(run)][2:] == ["loss.png", "hellaswag.png"]
    assert _has_color(_pixels((run / "hellaswag.png").read_bytes()), png.COLORS["base"]) > 400
    page = tree(run)
    assert dict(table_rows(page))["HellaSwag, length-normalized ↑" + _why("hellaswag/acc_norm")] == [0.29]
    assert "± 0.5%" in [e["text"] for e in page.named("small", "error")]


def test_where_the_panels_are_odd_the_last_place_is_empty(tmp_path: Path) -> None:
    for name in ("pretrain", "sft", "dpo"):
        made.write_stage(tmp_path / name, name, steps=40)
    report.write(tmp_path)
    height, width, _ = (pixels := _pixels((tmp_path / "loss.png").read_bytes())).shape
    assert (pixels[int(height * 0.55) :, int(width * 0.55) :] == 255).all()
    assert not (pixels[int(height * 0.55) :, : int(width * 0.45)] == 255).all()


def test_a_single_evaluation_is_a_point_on_hellaswag_png(tmp_path: Path) -> None:
    """Left of the labels, which have the same colors."""
    run = made.write_stage(tmp_path / "pretrain", "pretrain", steps=40)
    ledger.append(run / "metrics.jsonl", {"step": 40, "hellaswag/acc_norm": 0.29})
    report.write(run)
    pixels = _pixels((run / "hellaswag.png").read_bytes())
    panel = pixels[:, : int(pixels.shape[1] * 0.8)]  # the labels stand on the right
    assert _has_color(panel, png.COLORS["base"]) > 20
    assert _has_color(panel, png.COLORS["other"]) > 400  # and chance is a line


def _why(key: str) -> str:
    return measures.measure(key).explanation


def test_points_of_a_chart_lie_where_the_ledger_says(demo: Path) -> None:
    """Read the SFT chart as a reader does, by its axis labels, and find the validation losses again."""
    page = (demo / "report.html").read_text()
    chart = Tree(re.search(r"<svg[^>]*><title>SFT</title>.*?</svg>", page, re.S)[0])  # type: ignore[index]
    ticks = {e["attrs"]["class"]: [] for e in chart.named("text")}
    for e in chart.named("text"):
        ticks[e["attrs"]["class"]].append(e)
    ys = [(float(e["attrs"]["y"]) - 4, float(e["text"])) for e in ticks["tick end"]]
    xs = [(float(e["attrs"]["x"]), float(e["text"])) for e in ticks["tick mid"] if e["text"] != "step"]
    dots = [(float(e["attrs"]["cx"]), float(e["attrs"]["cy"])) for e in chart.named("circle")]
    steps = np.interp([x for x, _ in dots], *zip(*xs, strict=True))
    (y0, v0), (y1, v1) = ys[0], ys[-1]
    values = [v0 + (y - y0) * (v1 - v0) / (y1 - y0) for _, y in dots]
    rows = [row for row in ledger.read(demo / "sft" / "metrics.jsonl") if "val_loss" in row]
    np.testing.assert_allclose(steps, [row["step"] for row in rows], atol=0.5)
    np.testing.assert_allclose(values, [row["val_loss"] for row in rows], atol=0.005)


def test_an_unknown_metric_appears_under_its_own_name(tmp_path: Path) -> None:
    run = made.write_stage(tmp_path / "sft", "sft", steps=20)
    ledger.append(run / "metrics.jsonl", {"step": 20, "val_loss": 1.0, "mine/odd_score": -12.5})
    report.write(run)
    assert dict(table_rows(tree(run)))["mine: odd score "] == [-12.5]
    assert "mine/odd_score" in report.summary(run)["stages"][0]["scores"]


def test_every_score_of_the_instructions_eval_is_explained() -> None:
    """Its figures as the eval itself returns them (neogpt/evals/instructions.py, `run`)."""
    for name in ("loss", "perplexity", "stop", "tokens", "repetition", "rouge_l"):
        found = measures.measure(f"instructions/{name}")
        assert (found.group, bool(found.explanation)) == (measures.ANSWERS, True), name
    assert measures.is_over_refusal("instructions/refused")
    assert measures.measure("instructions/perplexity").better == "lower"
    assert measures.measure("instructions/tokens").better == ""


def test_losses_that_are_not_finite_are_left_out_and_told(tmp_path: Path) -> None:
    run = made.write_stage(tmp_path / "sft", "sft", steps=20)
    ledger.append(run / "metrics.jsonl", {"step": 21, "loss": math.nan})
    ledger.append(run / "metrics.jsonl", {"step": 22, "loss": None, "skipped": "non-finite"})
    ledger.append(run / "metrics.jsonl", {"step": 10**400, "loss": 10**400})
    report.write(run)
    assert "1 of 22 updates were skipped" in tree(run).named("ul")[0]["text"]
    assert "nan" not in re.sub(r"<style>.*?</style>", "", (run / "report.html").read_text()).lower()


def test_the_command_prints_the_scores_and_where_it_wrote(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["report", str(demo), "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[-6:] == ["99.1%", "●", "98.5%", "●", "98.0%", "●"] for line in lines)
    assert f"wrote {tmp_path / 'report.html'}" in lines
    assert main.main(["report", str(demo), "--out", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["stages"][1]["scores"]["tinyworld/stop"] == newest(demo / "sft", "tinyworld/stop")
    assert [Path(name).name for name in printed["files"]] == ["report.html", "report.md", "loss.png"]
    assert main.main(["report", str(tmp_path / "nowhere")]) == 3
    assert "try: neogpt demo" in capsys.readouterr().err


def test_the_help_names_every_file_that_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["report", "--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in ("report.html", "report.md", "loss.png", "hellaswag.png"))


def test_reports_need_no_torch() -> None:
    heavy = "{'torch', 'matplotlib'} & {name.split('.')[0] for name in sys.modules}"
    code = f"import sys, neogpt.cli.report, neogpt.report; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), timeout=150).returncode == 0
