"""Every command of docs/inside.md is run as it stands there, on runs of seconds in the demo's place."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_house_readme import neogpt_args, of_page
from training import flags, run_here

from neogpt.cli.main import main
from neogpt.studies import subjects, world
from neogpt.studies.interpretability import tracing

PAGE = Path(__file__).parent.parent / "docs" / "inside.md"
COMMANDS = [command for command in of_page(PAGE) if command.startswith("neogpt ")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `runs/demo`, whose stages are copies of one tiny run that kept its checkpoints."""
    folder = tmp_path_factory.mktemp("tour")
    first = folder / "runs" / "demo" / "pretrain"
    assert run_here("pretrain", str(first), ["--save.every", "4", "--save.keep-every", "4"]) == 0
    for stage in ("sft", "dpo"):
        shutil.copytree(first, first.with_name(stage))
    return folder


@pytest.fixture
def tour(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder to type in; every fact counts as known, as a run of seconds knows none."""
    monkeypatch.chdir(runs)
    subject = subjects.load("runs/demo/pretrain")
    values = {tuple(f.begun): f.value for f in world.facts(subject.tokenizer, world.config_of(subject))}
    monkeypatch.setattr(tracing, "likeliest", lambda model, begun: [values[tuple(text)] for text in begun])
    return runs


def shortened(args: list[str]) -> list[str]:
    """The same command for seconds: a tiny model to train, a few questions to ask."""
    if args[0] == "pretrain":
        at = args.index("tinyworld") + 1
        return [*args[:at], *flags("pretrain"), *args[at:]]
    asks = args[1] in ("emergence", "refusal", "changes")
    return [*args, "--limit", "2"] if asks else args


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_runs_and_writes_its_page(command: str, tour: Path) -> None:
    args = neogpt_args(command)
    if "runs/dense" in args and args[0] == "study":
        shutil.copytree("runs/demo/pretrain", "runs/dense", dirs_exist_ok=True)
    assert main(shortened(args)) == 0
    if args[0] == "study":
        out = Path(args[args.index("--out") + 1])
        assert (out / f"{args[1]}.html").stat().st_size > 10_000
        assert (out / f"{args[1]}.json").is_file()


@pytest.mark.slow
def test_the_code_on_the_page_runs(tour: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tour)
    assert done.returncode == 0, done.stderr


def test_every_study_is_on_the_page() -> None:
    from neogpt import plugins

    told = {neogpt_args(command)[1] for command in COMMANDS if command.startswith("neogpt study ")}
    assert told | {"scaling"} == set(plugins.names("neogpt.cli.study"))  # docs/scaling-laws.md has that one


@pytest.mark.slow
def test_a_large_model_and_a_long_prompt_fit_in_two_gigabytes(tmp_path: Path) -> None:
    """124M parameters, 1,000 tokens: gradients, lens, attention and scores, as `study inside` takes them."""
    code = f"""
import resource
from generation_models import byte_tokenizer, saved
from neogpt import GPT2, GPT2Config
from neogpt.cli.main import main
config = GPT2Config(n_layer=12, n_head=12, n_embd=768, n_positions=1024, vocab_size=50257)
folder = saved(GPT2(config), __import__("pathlib").Path({str(tmp_path / "model")!r}))
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert main(["study", "inside", folder, "--prompt", "z" * 999, "--score-rows", "4", "--out", {str(tmp_path)!r}]) == 0
print(peak())
"""
    tests = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tests)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) < 2_000_000
