"""What holds for every eval: options as text, metrics that are declared, and work that processes share."""

import json
from pathlib import Path

import pytest
from eval_subjects import SHARED, prepare
from training import Launcher, evals_here, flags

from neogpt import evals, plugins
from neogpt.cli import main as command_line
from neogpt.errors import ConfigError
from neogpt.evals import hellaswag, lm_eval
from neogpt.evals._sharing import mine, whole
from neogpt.evals.base import Config, Subject
from neogpt.report import measures
from neogpt.train.parallel.distributed import World

NAMES = plugins.names(evals.PACKAGE)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of all evals, and what one process found in them."""
    folder = tmp_path_factory.mktemp("evals")
    prepare(folder)
    assert evals_here(str(folder)) == 0
    return folder


@pytest.mark.parametrize("n", [2, 3])
def test_processes_share_each_eval_and_find_what_one_finds(launcher: Launcher, alone: Path, n: int) -> None:
    """All scores, samples of scores and answers, to the last bit, in every process; three have no equal shares."""
    group = launcher.start(n, "evals_here", {"folder": str(alone)})
    assert group.wait() == [0] * n, group.text()
    expected = json.loads((alone / "1-0.json").read_text())
    for rank in range(n):
        found = json.loads((alone / f"{n}-{rank}.json").read_text())
        for part in ("scores", "parts", "rows"):
            assert found[part] == expected[part], (part, rank)
        assert 0 < found["forwards"] < expected["forwards"]
        assert 0 < found["prompts"] < 0.7 * expected["prompts"]


def test_each_score_is_declared_and_no_metric_is_idle(alone: Path) -> None:
    scores = [
        name for name in json.loads((alone / "1-0.json").read_text())["scores"] if "_stderr" not in name
    ]
    assert {name.partition("/")[0].replace("_", "-") for name in scores} == set(SHARED)
    patterns = {measures.measure(name).pattern for name in scores}
    declared = {measure.pattern for measure in measures.catalogue()}
    assert patterns <= declared
    idle = {name for name in declared - patterns if not name.startswith(("rl/", "guardrail/", "lm_eval/"))}
    labels_and_categories = {"refusals/classifier_f1", "instructions/rouge_l/*", "refusals/harmful_refused"}
    assert idle == labels_and_categories  # which need data that this test has not


@pytest.mark.parametrize("name", NAMES)
def test_each_eval_has_options_with_defaults_and_metrics(name: str) -> None:
    kind = evals.kind(name)
    assert kind.metrics
    assert evals.parse(name) == (name, kind.config_class())
    assert ("data" in evals.options(name)) == bool(kind.data_kind)
    assert kind.is_shared == (name in SHARED)


def test_options_are_read_from_text() -> None:
    assert evals.parse("hellaswag:limit=100,style=lm-eval,data=/a,b:c/d=e.jsonl") == (
        "hellaswag",
        hellaswag.Config(limit=100, style="lm-eval", data="/a,b:c/d=e.jsonl"),
    )
    assert evals.parse("lm_eval:tasks=hellaswag,piqa,limit=10") == (
        "lm-eval",
        lm_eval.Config(limit=10, tasks=("hellaswag", "piqa")),
    )


@pytest.mark.parametrize(
    "entry",
    [
        "hellaswagg",
        "hellaswag:",
        "hellaswag:limt=3",
        "hellaswag:limit",
        "hellaswag:limit=-3",
        "hellaswag:limit=many",
        "hellaswag:style=helm",
        "samples:style=lm-eval",
    ],
)
def test_what_cannot_be_read_is_an_error_before_anything_is_loaded(
    entry: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError):
        evals.parse(entry)
    args = ["pretrain", "tinyworld", *flags("pretrain", entry), "--dry-run", "--run", str(tmp_path / "run")]
    assert command_line.main(args) == 2
    assert command_line.main(["eval", "no-such-model", entry]) == 2
    assert entry.partition(":")[0] in capsys.readouterr().err


def test_an_eval_is_named_once_and_has_a_limit_from_0() -> None:
    with pytest.raises(ConfigError):
        evals.load(["samples", "samples:limit=3"], Subject())
    with pytest.raises(ConfigError):
        Config(limit=-1)


def test_old_settings_say_what_to_type_now(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["pretrain", "tinyworld", "--eval.hellaswag-limit", "20", "--dry-run"]
    assert command_line.main(args) == 2
    assert "--eval.names hellaswag:limit=1000" in capsys.readouterr().err


def test_shares_come_together_in_the_order_of_the_items() -> None:
    """Without processes: what each of three would hand in, put together as the gathering does."""

    class Third(World):
        def gather(self, rows):  # type: ignore[no-untyped-def]
            raise AssertionError("one process asks nobody")

    assert whole([3, 1, 2], Third(0, 1)) == [3, 1, 2]
    assert [list(mine(range(7), World(rank, 3))) for rank in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]
