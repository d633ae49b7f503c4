"""ARC-easy, BLiMP, LAMBADA, PIQA and SciQ: lm-eval as referee, plain forwards as reference, any number of processes."""

import functools
import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import task_files
import torch
from hellaswag_tasks import random_model, save
from training import Launcher

from neogpt import plugins
from neogpt.cli import main as command_line
from neogpt.errors import DataError
from neogpt.evals import _cloze, blimp, lambada, lm_eval, piqa
from neogpt.evals._choices import Continuation, completions
from neogpt.evals._tasks import Cloze
from neogpt.model import GPT2
from neogpt.tokenizer import Tokenizer
from neogpt.train.parallel.distributed import World

NAMES = list(task_files.ROWS)
N = 30
needs_lm_eval = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm-eval is not installed (pip install 'neogpt[eval]')",
)


def made(name: str, **options: Any) -> Any:
    """The eval with these options."""
    kind = plugins.get("neogpt.evals", name).EVAL
    return kind(kind.config_class(**options))


class Case(NamedTuple):
    """A model, and the folder of all task files."""

    model: GPT2
    tokenizer: Tokenizer
    folder: Path
    data: Path

    def scores(self, name: str, **options: Any) -> dict[str, float]:
        """By the eval itself."""
        world = options.pop("world", World())
        eval_ = made(name, data=str(self.data / f"{name}.jsonl"), **options)
        found: dict[str, float] = eval_.run(self.model, self.tokenizer, world)
        return found


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The model is made so that some texts are longer than its context, and greedy decoding hits some words."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = {name: make(N) for name, make in task_files.ROWS.items()}
    for name in NAMES:
        task_files.write(folder / "data" / f"{name}.jsonl", rows[name])
    tokenizer = Tokenizer.train([line for made in rows.values() for line in task_files.all_text(made)], 400)
    model = random_model(tokenizer.vocab_size, 64)
    return Case(model, tokenizer, save(model, tokenizer, folder / "model"), folder / "data")


@pytest.fixture(scope="module")
def judge(case: Case) -> Callable[[str], list[dict[str, Any]]]:
    """What lm-eval says of an eval's file: for each of its tasks the results and the samples, in order."""

    @functools.cache
    def judged(name: str) -> list[dict[str, Any]]:
        found = lm_eval.harness(case.folder, task_files.JUDGES[name], data=str(case.data / f"{name}.jsonl"))
        samples = {
            task: sorted(rows, key=lambda row: int(row["doc_id"])) for task, rows in found["samples"].items()
        }
        return [{"results": found["results"][t], "samples": samples[t]} for t in task_files.JUDGES[name]]

    return judged


def plain(model: GPT2, context: list[int], more: list[int]) -> tuple[float, bool]:
    """Log-likelihood, and whether it is greedy, from all logits of one text."""
    ids = (context + more)[-(model.config.n_positions + 1) :]
    n = min(len(more), len(ids) - 1)
    logp_TV = model(torch.tensor([ids[:-1]]))[0].double().log_softmax(-1)[-n:]
    targets_N = torch.tensor(ids[-n:])
    return float(logp_TV.gather(1, targets_N[:, None]).sum()), bool((logp_TV.argmax(-1) == targets_N).all())


# The referee


@needs_lm_eval
@pytest.mark.parametrize("name", NAMES)
def test_lm_eval_agrees_on_scores_and_log_likelihoods(
    case: Case, name: str, judge: Callable[[str], list[dict[str, Any]]]
) -> None:
    judged, ours = judge(name), case.scores(name)
    samples = [sample for one in judged for sample in one["samples"]]
    assert len(samples) == N
    assert np.mean([sample["acc"] for sample in samples]) == pytest.approx(ours["acc"])
    if name == "blimp":
        scores = [("island_effects/acc", judged[0], "acc"), ("argument_structure/acc", judged[1], "acc")]
    else:
        more = {"lambada": ["perplexity"]}.get(name, ["acc_norm", "acc_norm_stderr"])
        scores = [(score, judged[0], score) for score in ("acc", "acc_stderr", *more)]
    for score, one, theirs in scores:
        assert ours[score] == pytest.approx(one["results"][f"{theirs},none"], rel=1e-4), score
    if name != "lambada":
        module = plugins.get("neogpt.evals", name)
        tasks = module.TASKS.read(module.EVAL.task, str(case.data / f"{name}.jsonl"))
        for task, sample in zip(tasks, samples, strict=True):
            pairs = [(task.context, f" {answer}") for answer in task.answers]
            found = [
                plain(case.model, list(r.context), list(r.continuation))[0]
                for r in _cloze.encoded(case.tokenizer, pairs)
            ]
            assert found == pytest.approx([value for value, _ in sample["filtered_resps"]], abs=1e-4)


@needs_lm_eval
def test_the_command_line_has_lm_eval_judge_the_same_file(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(case.data / "piqa.jsonl")
    args = ["eval", str(case.folder), "piqa", "lm-eval", "--tasks", "piqa", "--data", file]
    assert command_line.main([*args, "--limit", "12", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["scores"]
    for score in ("acc", "acc_norm", "acc_stderr"):
        assert found[f"piqa/{score}"] == pytest.approx(found[f"lm_eval/piqa/{score}"])


# Scores


def test_scores_are_those_of_plain_forwards(case: Case) -> None:
    tasks = piqa.TASKS.read(piqa.EVAL.task, str(case.data / "piqa.jsonl"))
    right, right_by_length, bits = [], [], []
    for task in tasks:
        context = case.tokenizer.encode(task.context)
        values = []
        for answer in task.answers:
            whole = case.tokenizer.encode(f"{task.context} {answer}")
            assert whole[: len(context)] == context
            values.append(plain(case.model, context, whole[len(context) :])[0])
        normed = [v / len(a) for v, a in zip(values, task.answers, strict=True)]
        right.append(values.index(max(values)) == task.right)
        right_by_length.append(normed.index(max(normed)) == task.right)
        bits.append(-values[task.right] / math.log(2) / len(task.answers[task.right].encode()))
    found = case.scores("piqa")
    assert found["acc"] == np.mean(right)
    assert found["acc_norm"] == np.mean(right_by_length)
    assert found["bits_per_byte"] == pytest.approx(np.mean(bits), rel=1e-6)
    assert found["bits_per_byte_stderr"] == pytest.approx(np.std(bits, ddof=1) / math.sqrt(N), rel=1e-5)


def test_bits_per_byte_of_an_answer_that_is_certain_or_drawn_from_256_bytes() -> None:
    assert _cloze.bits_per_byte(0.0, "yes") == 0
    assert _cloze.bits_per_byte(-5 * math.log(256), "na\u00efve") == pytest.approx(8 * 5 / 6)


def test_lambada_is_greedy_and_by_the_last_word(case: Case) -> None:
    passages = lambada.TASKS.read(lambada.EVAL.task, str(case.data / "lambada.jsonl"))
    assert passages[0] == ("", " word")
    log_p, greedy = [], []
    for context, word in passages:
        ids = case.tokenizer.encode(context) or [case.tokenizer.eot_id]
        whole = case.tokenizer.encode(context + word)
        more = whole[len(case.tokenizer.encode(context)) :]
        value, is_greedy = plain(case.model, ids, more)
        log_p.append(value)
        greedy.append(is_greedy)
    found = case.scores("lambada")
    assert found["perplexity"] == pytest.approx(math.exp(-np.mean(log_p)), rel=1e-5)
    assert found["acc"] == np.mean(greedy)
    error = np.std(log_p, ddof=1) / math.sqrt(N)
    assert found["perplexity_stderr"] == pytest.approx(found["perplexity"] * error, rel=1e-5)


@pytest.mark.parametrize("size", [1, 90, 10**6])
def test_completions_are_greedy_where_a_plain_forward_is(case: Case, size: int) -> None:
    dice = np.random.default_rng(0)
    requests = []
    for i in range(24):
        context = dice.integers(0, case.tokenizer.vocab_size, int(dice.integers(1, 90))).tolist()
        more: list[int] = []
        for _ in range(3):  # half of them greedy, half with another last token
            ids = (context + more)[-64:]
            more.append(int(case.model(torch.tensor([ids]))[0, -1].argmax()))
        more[-1] = (more[-1] + i % 2) % case.tokenizer.vocab_size
        requests.append(Continuation(tuple(context), tuple(more)))
    with torch.inference_mode():
        found = completions(case.model, requests, size)
    for request, (value, is_greedy) in zip(requests, found, strict=True):
        expected, was_greedy = plain(case.model, list(request.context), list(request.continuation))
        assert value == pytest.approx(expected, rel=1e-5)
        assert is_greedy == was_greedy
    assert {is_greedy for _, is_greedy in found} == {True, False}


def test_blimp_limits_every_paradigm_alike(case: Case) -> None:
    pairs = blimp.TASKS.read(blimp.EVAL.task, str(case.data / "blimp.jsonl"))
    some = blimp._evenly(pairs, 7)
    assert [pair.uid for pair in some] == ["adjunct_island"] * 4 + ["passive_1"] * 3
    assert some[:4] == pairs[:4]
    assert blimp._evenly(pairs, None) == pairs
    assert set(case.scores("blimp", limit=7)) == {
        f"{name}{error}"
        for name in ("acc", "bits_per_byte", "island_effects/acc", "argument_structure/acc")
        for error in ("", "_stderr")
    }


# Any number of processes


@pytest.mark.parametrize("size", [2, 3])
def test_shares_come_together_in_order(size: int) -> None:
    """What each process fills in, as all of them would gather it."""
    tasks = list(range(150))

    class Fake(World):
        blocks: list[np.ndarray] = []  # noqa: RUF012

        def gather(self, rows: np.ndarray) -> np.ndarray:
            self.blocks.append(rows)
            return np.concatenate([*self.blocks, *[rows] * (size - len(self.blocks))])

    measure = lambda some: [(float(i), -float(i)) for i in some]  # noqa: E731
    for rank in range(size):
        found = _cloze.measured(tasks, Fake(rank=rank, size=size), 2, measure)
    assert found[:, 0].tolist() == tasks
    assert (found[:, 1] == -found[:, 0]).all()


def test_two_processes_give_the_bits_of_one(case: Case, launcher: Launcher, tmp_path: Path) -> None:
    files = {
        name: task_files.write(tmp_path / f"{name}.jsonl", make(150))
        for name, make in task_files.ROWS.items()
    }
    arguments = {"model": str(case.folder), "files": {name: str(file) for name, file in files.items()}}
    found = []
    for world in (1, 2):
        result = tmp_path / str(world)
        group = launcher.start(world, "task_scores", {**arguments, "result": str(result)})
        assert group.wait() == [0] * world, group.text()
        found.append([Path(f"{result}.{rank}").read_text() for rank in range(world)])
    assert found[0] * 2 == found[1]
    assert "arc-easy/bits_per_byte_stderr" in found[0][0]


# Files


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("end", ["jsonl", "parquet"])
def test_files_and_folders_are_read_alike(case: Case, name: str, end: str, tmp_path: Path) -> None:
    module = plugins.get("neogpt.evals", name)
    rows = task_files.ROWS[name](N)
    split = module.TASKS.split or "any"
    file = task_files.write(tmp_path / name / split / f"0000.{end}", rows)
    if module.TASKS.split:
        task_files.write(tmp_path / name / "train" / f"0000.{end}", rows[:3])
    expected = module.TASKS.read(module.EVAL.task, str(case.data / f"{name}.jsonl"))
    assert module.TASKS.read(module.EVAL.task, str(file)) == expected
    assert module.TASKS.read(module.EVAL.task, str(tmp_path / name)) == expected
    assert module.TASKS.read(module.EVAL.task, str(file), 4) == expected[:4]


def test_a_place_that_nobody_named_must_have_all_tasks(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEOGPT_DATA", str(case.data))
    with pytest.raises(DataError) as caught:
        made("piqa").check()
    assert caught.value.code == "evals.incomplete"
    assert len(piqa.TASKS.read(piqa.EVAL.task, limit=9)) == 9
    monkeypatch.setenv("NEOGPT_DATA", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(DataError) as caught:
        piqa.TASKS.read(piqa.EVAL.task)
    assert caught.value.code == "evals.no_tasks"


BAD = {
    "arc-easy": {"answerKey": "Z"},
    "piqa": {"label": 2},
    "sciq": {"support": None},
    "lambada": {"text": "ends with a space "},
    "blimp": {"sentence_bad": ""},
}


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_task_is_named(
    name: str, tmp_path: Path, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    module = plugins.get("neogpt.evals", name)
    good = task_files.ROWS[name](3)
    for i, bad in enumerate(({**good[1], **BAD[name]}, {"other": 1})):
        file = task_files.write(tmp_path / f"{i}.jsonl", [good[0], bad, good[2]])
        with pytest.raises(DataError) as caught:
            module.TASKS.read(module.EVAL.task, str(file))
        assert caught.value.code == "evals.bad_task"
        assert f"{i}.jsonl, line 2" in str(caught.value)
        assert len(module.TASKS.read(module.EVAL.task, str(file), 1)) == 1
    assert command_line.main(["eval", str(case.folder), name, "--data", str(file)]) == 3
    assert "line 2" in capsys.readouterr().err


def test_files_that_hold_no_tasks(tmp_path: Path) -> None:
    (tmp_path / "not.jsonl").write_text("{\n")
    (tmp_path / "not.parquet").write_text("not")
    (tmp_path / "empty.jsonl").write_text("")
    for name, code in (
        ("not.jsonl", "evals.bad_task"),
        ("not.parquet", "evals.no_tasks"),
        ("empty.jsonl", "evals.incomplete"),
        ("absent.jsonl", "evals.no_tasks"),
        ("", "evals.no_tasks"),
    ):
        with pytest.raises(DataError) as caught:
            piqa.TASKS.read(piqa.EVAL.task, str(tmp_path / name))
        assert caught.value.code == code, name


def test_an_empty_context_is_end_of_text_and_blanks_belong_to_the_answer(case: Case) -> None:
    encode = case.tokenizer.encode
    empty, blank = _cloze.encoded(case.tokenizer, [("", " word"), ("a word  ", " b")])
    assert empty == Continuation((case.tokenizer.eot_id,), tuple(encode(" word")))
    assert blank.context == tuple(encode("a word"))
    assert case.tokenizer.decode([*blank.context, *blank.continuation]) == "a word   b"
    assert Cloze("", (), 0).answers == ()
