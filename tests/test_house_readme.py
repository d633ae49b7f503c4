"""Every command of the README is run, or stands here with the reason why it is not; those of all pages exist."""

import contextlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from neogpt import ledger, plugins
from neogpt.cli.main import main
from neogpt.recipes import demo

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent

EXEMPT = {
    "make demo": "installs, then runs `neogpt demo`, which a slow test below does",
    "make test": "is what runs this test",
    ".venv/bin/neogpt chat runs/demo/rl": "waits for a person; tests of the chat talk to it",
    "pip install .": "tests/test_house_install.py installs the wheel",
    "neogpt doctor": "tests/test_doctor.py",
    "neogpt plan gpt2-124m --on h100 --gpus 8": "tests/test_plan_cli.py",
    "neogpt data prepare fineweb-edu --name sample-10BT": "tests/test_data_hub.py, against a server of its own",
    "bash launch/torchrun.sh gpt2-124m": "wants GPUs; tests/test_launch.py runs it",
    "neogpt report runs/gpt2-124m": "the report of the run that is not made here",
    "neogpt eval openai-community/gpt2": "tests/test_hellaswag.py and tests/test_loss_eval.py, on stand-ins",
    "hf download --repo-type dataset HuggingFaceFW/fineweb-edu sample/10BT/000_00000.parquet --local-dir my-text": (
        "two gigabytes from elsewhere"
    ),
    "hf download --repo-type dataset databricks/databricks-dolly-15k databricks-dolly-15k.jsonl --local-dir my-dolly": (
        "a download from elsewhere"
    ),
}


def blocks(language: str) -> list[tuple[str, str]]:
    """(heading, text) of each fenced block of a language."""
    parts = re.split(r"^## (.+)$", "## Begin\n" + README, flags=re.MULTILINE)[1:]
    sections = zip(parts[::2], parts[1::2], strict=True)
    pattern = re.compile(rf"^```{language}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return [(heading, block) for heading, text in sections for block in pattern.findall(text)]


def commands(block: str) -> list[str]:
    """The command lines of a block, continued lines joined and comments dropped."""
    lines = (line.partition(" #")[0].strip() for line in block.replace("\\\n", " ").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def of_section(heading: str, language: str = "sh") -> list[str]:
    return [block for found, block in blocks(language) if found == heading]


ALL = [command for _, block in blocks("sh") for command in commands(block)]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "launch" / "README.md"]


def of_page(page: Path) -> list[str]:
    """The command lines of a page's blocks that show what to type."""
    found = re.findall(r"^```(?:sh)?\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [command for block in found for command in commands(block)]


LAUNCHED = re.findall(
    r"`(neogpt .+?)`", (ROOT / "launch" / "README.md").read_text().replace("RECIPE", "gpt2-124m")
)
"""What the scripts run, as the prose beside them has it."""
TYPED = [*ALL, *(command for page in PAGES for command in of_page(page)), *LAUNCHED]
NEOGPT = sorted({command for command in TYPED if re.match(r"neogpt |.* -- neogpt ", command)})


def neogpt_args(command: str) -> list[str]:
    """What follows `neogpt` in a command line, also behind torchrun."""
    words = shlex.split(command)
    return words[words.index("neogpt") + 1 :]


def help_of(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The help of the command and of the words (verb, recipe, source) that come before its first flag or path."""
    words: list[str] = []
    for word in args[:3]:
        if word.startswith("-") or "/" in word:
            break
        words.append(word)
    with contextlib.suppress(SystemExit):
        main([*words, "--help"])
    return capsys.readouterr().out


def test_every_command_is_run_or_exempt() -> None:
    run = {command for heading in RUN for block in of_section(heading) for command in commands(block)}
    run |= {command for block in of_section(REAL)[1:] for command in commands(block)}
    assert set(ALL) - run == set(EXEMPT)


@pytest.mark.parametrize("command", NEOGPT)
def test_commands_and_flags_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Instant and without training, so that a renamed flag is noticed at once."""
    args = neogpt_args(command)
    assert args[0] in plugins.names("neogpt.cli")
    shown = help_of(args, capsys)
    for flag in (word.partition("=")[0] for word in args if word.startswith("--")):
        assert re.search(rf"(?<![\w-]){flag}(?![\w-])", shown), flag


def test_the_table_of_commands_is_the_list_that_help_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = re.findall(r"^  (\w[\w-]+)  ", capsys.readouterr().out, re.MULTILINE)
    assert re.findall(r"^\| `neogpt ([\w-]+)` \|", README, re.MULTILINE) == listed


def shell(script: str, folder: Path, home: Path) -> str:
    """Runs lines as a user's shell would, in an environment where `neogpt` is on the path."""
    environment = {
        "PATH": f"{BIN}:/usr/bin:/bin",
        "HOME": str(home),
        "NEOGPT_HOME": str(home / "neogpt"),
        "HF_HUB_OFFLINE": "1",
        "NO_COLOR": "1",
        "COLUMNS": "100",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


RUN = ("By hand", "On more processes")
REAL = "On real text"
STAGES = ("pretrain", "sft", "dpo", "dpo-red-team", "rl")


CORNERS = {
    "as a user types it": "neogpt demo",
    "kernels of AVX2": "ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 neogpt demo --seed 3",
    "one thread": "ATEN_CPU_CAPABILITY=default neogpt demo --seed 4 --threads 1 --dtype float32",
}
"""Three corners of benchmarks/demo_matrix.py."""


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("corner", list(CORNERS))
def test_the_demo_keeps_its_promises(corner: str, tmp_path: Path, home: Path) -> None:
    """The main job, as a newcomer runs it, ends with 0: every promised score is reached (other seeds: benchmarks)."""
    told = shell(CORNERS[corner], tmp_path, home)
    folder = tmp_path / "runs" / "demo"
    assert (folder / "report.html").is_file()
    rows = {name: ledger.read(folder / name / "metrics.jsonl") for name in demo.stages(tmp_path, seed=0)}
    standing = {name: ledger.standing_row(found, "tinyworld/recall") for name, found in rows.items()}
    assert list(demo.broken(standing)) == [], told[-2000:]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_commands_by_hand_and_the_python_do_what_they_say(tmp_path: Path, home: Path) -> None:
    """The README's lines as they stand, one after the other in one folder, then its Python."""
    output = "".join(shell(block, tmp_path, home) for block in of_section("By hand"))
    assert "tinyworld/recall" in output
    assert (tmp_path / "runs" / "report.html").is_file()
    (program,) = of_section("From Python", "python")
    (tmp_path / "program.py").write_text(program)
    assert shell("python program.py", tmp_path, home).strip()
    assert (tmp_path / "my-gpt2" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_more_processes_give_the_same_bits(tmp_path: Path, home: Path) -> None:
    """The block ends with `cmp`, which fails when a byte differs."""
    (block,) = of_section("On more processes")
    assert "cmp " in block
    shell(block, tmp_path, home)
    weights = [tmp_path.glob(f"runs/{name}/checkpoints/*/model.safetensors") for name in ("one", "two")]
    assert next(weights[0]).read_bytes() == next(weights[1]).read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_real_text_takes_the_same_path(tmp_path: Path, home: Path, real_data: Path) -> None:
    """The second block of that section on a little real text, with two steps where a user would wait."""
    (tmp_path / "my-text").mkdir()
    (tmp_path / "my-text" / "factbook.jsonl.xz").symlink_to(real_data / "pretrain" / "factbook.jsonl.xz")
    (tmp_path / "my-dolly").symlink_to(real_data / "sft")
    small = " --steps 2 --batch.size 4 --batch.micro-batches 2 --eval.val-samples 4 --eval.names"
    for command in commands(of_section(REAL)[1]):
        flags = small if re.search("neogpt (pretrain|sft) ", command) else ""
        shell(f"export NEOGPT_DATA={shlex.quote(str(real_data))}; {command}{flags}", tmp_path, home)
    assert (tmp_path / "runs" / "helper" / "report.html").is_file()
