"""`neogpt study`: pages that need nothing and run nothing, the same numbers as JSON, and errors that help."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from generation_models import byte_tokenizer, random_model, saved
from report_pages import Tree
from torch.testing import assert_close

from neogpt import load, plugins
from neogpt.cli.main import main
from neogpt.errors import NeoGPTError
from neogpt.model import save_pretrained
from neogpt.studies import subjects
from neogpt.studies.interpretability import attention, direct_logit_attribution, logit_lens
from neogpt.studies.interpretability.drawing import png

ROOT = Path(__file__).parent.parent
PROMPT = "the cat and the dog and the"
HOSTILE = "</style><img src=x onerror=alert(1)> the \x00 &amp; cat"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two stages of a tiny model."""
    folder = tmp_path_factory.mktemp("models")
    return [saved(random_model(seed), folder / name) for seed, name in enumerate(("first", "second"))]


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of seconds in tinyworld that kept its checkpoints."""
    from training import run_here

    folder = tmp_path_factory.mktemp("dense") / "pretrain"
    assert run_here("pretrain", str(folder), ["--save.every", "4", "--save.keep-every", "4"]) == 0
    return str(folder)


def study(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    """The JSON that a study prints."""
    capsys.readouterr()
    assert main(["study", *args, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(*args: str) -> NeoGPTError:
    """The error that a study ends with, before it becomes a message."""
    with pytest.raises(NeoGPTError) as caught:
        plugins.get("neogpt.cli", "study").run(list(args))
    return caught.value


# inside


def test_the_numbers_are_those_of_the_functions(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = study(capsys, "inside", *models, "--prompt", PROMPT, "--out", str(tmp_path))
    assert found == json.loads((tmp_path / "inside.json").read_text())
    ids = [byte_tokenizer().eot_id, *byte_tokenizer().encode(PROMPT)]
    tokens = torch.tensor([ids])
    assert [token["id"] for token in found["tokens"]] == ids
    last = load(models[1])(tokens)[0, -1].softmax(-1)
    assert found["target"]["id"] == int(last.argmax())
    for name, one in zip(models, found["models"], strict=True):
        model, target = load(name), found["target"]["id"]
        lens = logit_lens(model, tokens).softmax(-1)
        assert_close(torch.tensor(one["target_probs_by_layer"]), lens[:, 0, -1, target], atol=1e-6, rtol=1e-4)
        assert one["next"]["probs"] == pytest.approx(lens[-1, 0, -1].topk(5).values.tolist(), abs=1e-6)
        parts = direct_logit_attribution(model, tokens, torch.tensor([target])).by_name()
        assert one["attribution"] == pytest.approx(parts, abs=1e-5)
        looks = attention(model, tokens)[:, 0, :, -1]
        assert_close(torch.tensor(one["attention_from_last"]), looks, atol=1e-6, rtol=1e-4)
        assert np.asarray(one["head_scores"]["induction"]).shape == (2, 2)


def test_the_page_needs_nothing_and_runs_nothing(models: list[str], tmp_path: Path) -> None:
    assert main(["study", "inside", *models, "--prompt", HOSTILE, "--out", str(tmp_path)]) == 0
    text = (tmp_path / "inside.html").read_text()
    page = Tree(text)
    assert not page.open
    assert {e["tag"] for e in page.all}.isdisjoint({"script", "link", "iframe", "a", "object"})
    assert not [key for e in page.all for key in e["attrs"] if key.startswith("on") or key == "href"]
    sources = [e["attrs"]["src"] for e in page.named("img")]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    policy = [e["attrs"].get("content") for e in page.named("meta") if "http-equiv" in e["attrs"]]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert "url(" not in text
    assert page.named("h1")[0]["text"] == HOSTILE.replace("\x00", "\ufffd")


def test_the_page_shows_each_model_and_each_number(models: list[str], tmp_path: Path) -> None:
    assert main(["study", "inside", *models, "--prompt", PROMPT, "--out", str(tmp_path)]) == 0
    page, found = (
        Tree((tmp_path / "inside.html").read_text()),
        json.loads((tmp_path / "inside.json").read_text()),
    )
    heads = [e["text"] for e in page.named("h3")]
    assert (
        sum(text.startswith("first") for text in heads)
        == sum(text.startswith("second") for text in heads)
        >= 5
    )
    values = [float(e["attrs"]["value"]) for e in page.named("data")]
    for one in found["models"]:
        assert set(one["next"]["probs"]) <= set(values)
        largest = max(one["attribution"].values(), key=abs)
        assert any(abs(value - largest) < 1e-9 for value in values)
    assert len(page.named("img", "heat")) == 2 * 4
    assert f"{found['models'][0]['target_logit']:.2f}" in " ".join(
        e["text"] for e in page.named("span", "total")
    )


def test_parts_are_switched_off_for_a_second_answer(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("--prompt", PROMPT, "--out", str(tmp_path), "--ablate", "L0.attn", "L1H1", "--score-rows", "0")
    found = study(capsys, "inside", models[0], *args)["models"][0]
    model = load(models[0])
    with torch.no_grad():
        model.transformer.h[0].attn.c_proj.weight.zero_()
        model.transformer.h[0].attn.c_proj.bias.zero_()
        model.transformer.h[1].attn.c_proj.weight[16:].zero_()
    tokens = torch.tensor([[byte_tokenizer().eot_id, *byte_tokenizer().encode(PROMPT)]])
    wanted = model(tokens)[0, -1].softmax(-1).topk(5).values.tolist()
    assert found["ablated"]["probs"] == pytest.approx(wanted, abs=1e-5)
    assert found["ablated"]["probs"] != pytest.approx(found["next"]["probs"], abs=1e-3)
    assert found["head_scores"] is None


def test_an_instruction_a_target_and_what_it_is_set_against(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("--instruct", "--prompt", "the cat?", "--context", "and the dog", "--response", " the c")
    args += ("--target", "a", "--against", "o", "--out", str(tmp_path))
    found = study(capsys, "inside", models[0], *args)
    text = "".join(token["text"] for token in found["tokens"])
    assert text == "⟨end⟩the cat?⏎Context:⏎and the dog⏎Response:⏎the c"
    ids = [token["id"] for token in found["tokens"]]
    logits = load(models[0])(torch.tensor([ids]))[0, -1].detach()
    wanted = float(logits[byte_tokenizer().encode("a")[0]] - logits[byte_tokenizer().encode("o")[0]])
    assert found["models"][0]["target_logit"] == pytest.approx(wanted, abs=1e-4)


def test_a_prompt_that_fills_the_context_is_read_and_a_longer_one_refused(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = study(capsys, "inside", models[0], "--prompt", "z" * 63, "--out", str(tmp_path))
    assert len(found["tokens"]) == 64
    assert found["models"][0]["next"]["answer"] == ""
    error = refused("inside", models[0], "--prompt", "z" * 70, "--out", str(tmp_path / "no"))
    assert error.code == "study.prompt_too_long"
    assert "7 tokens" in error.hint
    assert not (tmp_path / "no").exists()


def test_what_cannot_be_asked_is_refused_by_name(models: list[str], tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "no"))
    cases = {
        "study.no_model": ("inside",),
        "study.needs_instruct": ("inside", models[0], "--context", "x", *out),
        "study.bad_count": ("inside", models[0], "--score-rows", "-1", *out),
        "study.no_such_component": ("inside", models[0], "--ablate", "H1", *out),
        "study.no_such_layer": ("inside", models[0], "--ablate", "L7H1", *out),
        "study.no_such_head": ("inside", models[0], "--ablate", "L1H4", *out),
        "study.not_one_token": ("inside", models[0], "--target", "zebra", *out),
        "study.needs_tinyworld": ("facts", models[0], *out),
    }
    for code, args in cases.items():
        assert refused(*args).code == code, args
    assert "layer 1" in refused("inside", models[0], "--ablate", "L7H1", *out).hint
    assert refused("inward").exit_code == 2
    assert not (tmp_path / "no").exists()


def test_a_model_of_another_family_and_one_of_another_tokenizer_are_refused(
    models: list[str], tmp_path: Path
) -> None:
    from neogpt.tokenizer import Tokenizer

    other = tmp_path / "other"
    saved(random_model(), other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    error = refused("inside", str(other), "--out", str(tmp_path / "no"))
    assert (error.code, error.exit_code) == ("model.other_family", 4)
    assert "llama" in error.what
    save_pretrained(random_model(), tmp_path / "foreign")
    Tokenizer.train(["other words altogether"] * 9, vocab_size=262).save(tmp_path / "foreign", 64)
    assert refused("inside", models[0], str(tmp_path / "foreign")).code == "study.other_tokenizer"


def test_a_folder_that_cannot_be_written_is_said(models: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = refused("inside", models[0], "--out", str(tmp_path / "file" / "x"))
    assert (error.code, error.exit_code) == ("study.cannot_write", 3)


def test_messages_come_without_a_traceback(models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "inside", models[0], "--ablate", "L7H1"]) == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert shown.err.startswith("neogpt: there is no layer 7")


def test_labels_tell_models_of_one_name_apart(models: list[str], dense: str) -> None:
    twice = subjects.load_all([models[0], models[0]])
    assert [subject.label for subject in twice] == ["first (1)", "first (2)"]
    steps = dict(subjects.checkpoints(dense))
    assert sorted(steps) == [4, 8, 12]
    assert subjects.load(str(steps[8])).label == "pretrain step 8"
    assert subjects.load(dense).label == "pretrain"
    assert subjects.load(dense).stage == "pretrain"


# Studies over a world


def test_emergence_has_a_row_for_every_checkpoint(
    dense: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = study(capsys, "emergence", dense, "--limit", "6", "--out", str(tmp_path))
    rows = found["runs"][dense]["rows"]
    assert [row["step"] for row in rows] == [4, 8, 12]
    ledger = [json.loads(line) for line in (Path(dense) / "metrics.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["loss"] for row in ledger if "loss" in row}
    assert [row["loss"] for row in rows] == [losses[step] for step in (4, 8, 12)]
    off = found["runs"][dense]["heads_off"]
    assert off["induction_heads"] == []
    assert off["whole"]["recall"] == rows[-1]["recall"]
    assert not Tree((tmp_path / "emergence.html").read_text()).open
    assert refused("emergence", str(tmp_path)).code == "study.no_checkpoints"


def test_heads_are_switched_off_where_there_are_induction_heads(
    dense: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neogpt.studies.interpretability import emergence

    monkeypatch.setattr(emergence, "INDUCTION_SCORE", 0.0)
    found = emergence.heads_off(subjects.load(dense), 5)
    assert len(found.induction_heads) == 4
    assert set(found.without_induction) == set(found.whole) == set(found.without_others)


def test_facts_are_traced_stage_beside_stage(
    dense: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from neogpt.studies import world
    from neogpt.studies.interpretability import tracing

    assert refused("facts", dense, "--limit", "5").code == "study.no_facts"
    subject = subjects.load(dense)
    values = {tuple(f.begun): f.value for f in world.facts(subject.tokenizer, world.config_of(subject))}
    monkeypatch.setattr(tracing, "likeliest", lambda model, begun: [values[tuple(text)] for text in begun])
    step = str(subjects.checkpoints(dense)[0][1])
    found = study(capsys, "facts", step, dense, "--out", str(tmp_path))["models"]
    assert list(found) == ["pretrain step 4", "pretrain"]
    for one in found.values():
        assert one["known"] == one["facts"] == 30
        assert one["clean"]["n"] <= 30
        assert "last" in one["restored"]["L1.mlp"]
    assert not Tree((tmp_path / "facts.html").read_text()).open


def test_a_direction_is_found_tried_and_followed(
    dense: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("refusal", dense, "--checkpoints", dense, "--limit", "3", "--out", str(tmp_path))
    found = study(capsys, *args)
    assert len(found["direction"]) == 32
    assert [row["model"] for row in found["elsewhere"]] == [
        "pretrain",
        *(f"pretrain step {s}" for s in (4, 8, 12)),
    ]
    assert found["elsewhere"][3]["cosine"] == found["elsewhere"][0]["cosine"]
    assert set(found["exam"]) == {"as it is", "ablated", "added"}
    assert not Tree((tmp_path / "refusal.html").read_text()).open


def test_two_stages_are_compared_and_crossed(
    dense: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = str(subjects.checkpoints(dense)[0][1])
    found = study(capsys, "changes", step, dense, "--limit", "2", "--out", str(tmp_path))
    assert {"nothing", "all attention", "layer 1", "everything"} <= set(found["hybrids"])
    assert all(row["relative"] > 0 for row in found["weights"] if row["name"].endswith("weight"))
    assert not Tree((tmp_path / "changes.html").read_text()).open
    assert refused("changes", dense).code == "study.no_model"
    assert refused("changes", step, dense, "--limit", "0").code == "study.bad_count"


# Help and pictures


@pytest.mark.parametrize("name", plugins.names("neogpt.cli.study"))
def test_every_study_has_instant_help(name: str) -> None:
    code = (
        "import sys, contextlib, io\nfrom neogpt.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as shown:\n"
        f"    try: main(['study', '{name}', '--help'])\n"
        "    except SystemExit as stop: assert not stop.code\n"
        "assert 'neogpt study' in shown.getvalue()\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
    assert 10 < len(plugins.summary("neogpt.cli.study", name)) <= 110


def test_help_names_every_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--help"]) == 0
    listed = re.findall(r"^  (\w+)  ", capsys.readouterr().out, re.MULTILINE)
    assert (
        listed
        == plugins.names("neogpt.cli.study")
        == ["changes", "emergence", "facts", "inside", "refusal", "scaling"]
    )


def test_a_heat_map_is_a_picture_whose_opacity_is_the_value() -> None:
    import base64
    import io

    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    values = np.array([[0.0, 0.25, 1.0], [0.5, 0.75, 2.0]], np.float32)
    data = base64.b64decode(png(values).partition(",")[2])
    read = np.asarray(image.open(io.BytesIO(data)).convert("RGBA"))
    assert read.shape == (2, 3, 4)
    np.testing.assert_array_equal(read[..., 3], np.rint(np.clip(values, 0, 1) * 255))
    assert {tuple(pixel) for pixel in read[..., :3].reshape(-1, 3).tolist()} == {(11, 107, 168)}
