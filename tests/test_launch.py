"""launch/: what the files hand to `neogpt` is what its own parser takes, and the scripts run as they stand."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from training import ROOT, flags, n_rows, reserved_port, saved

from neogpt import plugins
from neogpt.cli import _train
from neogpt.cli.main import main
from neogpt.paths import RunDir

LAUNCH = ROOT / "launch"
SCRIPTS = ("torchrun.sh", "slurm.sbatch")
SBATCH = set(
    """account acctg-freq array batch bb bbf begin chdir cluster-constraint clusters comment constraint container
    contiguous core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency
    distribution error exclude exclusive export export-file extra-node-info get-user-env gid gpu-bind gpu-freq gpus
    gpus-per-node gpus-per-socket gpus-per-task gres gres-flags help hint hold ignore-pbs input job-name
    kill-on-invalid-dep licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus network
    nice no-kill no-requeue nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node
    ntasks-per-socket open-mode output overcommit oversubscribe parsable partition power prefer priority profile
    propagate qos quiet reboot requeue reservation signal sockets-per-node spread-job switches test-only thread-spec
    threads-per-core time time-min tmp uid usage use-min-nodes verbose version wait wait-all-nodes wckey
    wrap""".split()
)
"""Every long option in OPTIONS of sbatch's manual page, sbatch(1) of Slurm 22.05.8 (December 2022)."""
TINY = flags("pretrain", "--save.every", "0")


def commands(folder: Path, **scripts: str) -> Path:
    """A folder of commands that stand in for real ones."""
    folder.mkdir(exist_ok=True)
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (folder / name).chmod(0o755)
    return folder


def run(script: str, *args: str, path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script of launch/ with `path` in front of what it finds its commands in."""
    variables = {"PATH": f"{path}:/usr/bin:/bin", "HOME": str(path), **environment}
    command = ["bash", str(LAUNCH / script), *args]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=250)


def is_accepted(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The settings that `neogpt` itself makes of a recorded command line."""
    assert command[0] == "neogpt"
    assert main([*command[1:], "--dry-run"]) == 0
    return capsys.readouterr().out


def sky() -> dict[str, Any]:
    task: dict[str, Any] = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    return task


# Form


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_bash(script: str) -> None:
    subprocess.run(["bash", "-n", str(LAUNCH / script)], check=True)


@pytest.mark.parametrize("part", ["setup", "run"])
def test_the_cloud_tasks_scripts_are_bash(part: str) -> None:
    subprocess.run(["bash", "-n"], input=sky()[part], text=True, check=True)


def test_sbatch_directives_are_well_formed_and_before_any_command() -> None:
    lines = (LAUNCH / "slurm.sbatch").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    found = [line for line in lines if line.startswith("#SBATCH")]
    assert found == [line for line in lines[:first] if line.startswith("#SBATCH")]
    options = dict(re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(\S+))?", line).groups() for line in found)  # type: ignore[union-attr]
    assert options.keys() <= SBATCH, options.keys() - SBATCH
    assert options["ntasks-per-node"] == options["gpus-per-node"], "one process a GPU"
    assert re.fullmatch(r"TERM@\d+", options["signal"]), "to the steps, not (B:) to the script"
    assert "requeue" in options
    assert options["open-mode"] == "append"


def test_the_cloud_task_is_spot_with_a_bucket_for_runs() -> None:
    task = sky()
    assert task["resources"]["use_spot"] is True
    assert task["file_mounts"]["/runs"] == {"name": "${BUCKET}", "mode": "MOUNT_CACHED"}
    assert set(task["envs"]) == {"RECIPE", "BUCKET"}
    assert task["envs"]["RECIPE"] in _train.recipes("pretrain")


def test_recipes_and_files_that_are_named_exist() -> None:
    text = "".join(path.read_text() for path in LAUNCH.iterdir())
    for name in re.findall(r"\bgpt2-[\w.-]+\w", text):
        assert name in _train.recipes("pretrain")
    for name in re.findall(r"\blaunch/([\w.]+\w)", text):
        assert (LAUNCH / name).is_file()
    for name in re.findall(r"`neogpt (\w+)", text):
        assert name in plugins.names("neogpt.cli")


# What reaches neogpt


@pytest.mark.parametrize("recipe", [name for name in _train.recipes("pretrain") if name.startswith("gpt2-")])
def test_torchrun_hands_on_what_neogpt_takes(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = commands(tmp_path / "bin", torchrun='printf "%q " "$@"')
    done = run("torchrun.sh", recipe, "--seed", "7", path=path, NODES="2", RANK0="host-a", RUN="my runs/x")
    words = shlex.split(done.stdout)
    launcher, command = words[: words.index("--")], words[words.index("--") + 1 :]
    assert launcher[-1] == "-m"
    assert launcher[launcher.index("--rdzv-endpoint") + 1] == "host-a:29400"
    settings = is_accepted(command, capsys)
    assert settings.startswith("# run: my runs/x")
    assert "seed = 7" in settings
    assert command[command.index("--resume") + 1] == "auto"


def test_torchrun_takes_the_flags_that_it_is_given(tmp_path: Path) -> None:
    """Against torchrun's own parser."""
    from torch.distributed.run import get_args_parser

    path = commands(tmp_path / "bin", torchrun='printf "%q " "$@"')
    for environment in ({}, {"NODES": "2", "PROCESSES": "4", "JOB": "three"}):
        words = shlex.split(run("torchrun.sh", "gpt2-124m", path=path, **environment).stdout)
        options = get_args_parser().parse_args(words)
        assert (options.module, options.training_script) == (True, "neogpt")
        assert options.training_script_args[:2] == ["pretrain", "gpt2-124m"]
        assert options.standalone == (not environment)
    assert (options.nnodes, options.nproc_per_node, options.rdzv_id) == ("2", "4", "three")


SRUN = """
[ "$1" = --kill-on-bad-exit=0 ] || exit 9
shift
worst=0
for rank in 0 1 2 3; do
  SLURM_PROCID=$rank SLURM_LOCALID=$((rank % 2)) "$@"
  code=$?
  [ $code -gt $worst ] && worst=$code
done
exit $worst
"""
SCONTROL = '[ "$1" = show ] && printf "node-a\\nnode-b\\n" || echo "$@" >> "$HOME/requeued"'
NEOGPT = """
echo "$RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $MASTER_ADDR $MASTER_PORT" >> "$HOME/environment"
printf "%q " neogpt "$@" > "$HOME/command"
exit $CODE
"""
JOB = {"SLURM_JOB_ID": "41", "SLURM_JOB_NODELIST": "node-[a-b]", "SLURM_NTASKS": "4", "SLURM_NNODES": "2"}


@pytest.mark.parametrize(("code", "again"), [(75, True), (0, False), (1, False), (3, False)])
def test_slurm_starts_every_process_and_queues_again_when_saved(
    code: int, again: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = commands(tmp_path / "bin", srun=SRUN, scontrol=SCONTROL, neogpt=NEOGPT)
    done = run("slurm.sbatch", "gpt2-1.5b", "--seed", "7", path=path, CODE=str(code), **JOB)
    assert done.returncode == code, done.stderr
    seen = [line.split() for line in (path / "environment").read_text().splitlines()]
    assert [row[:4] for row in seen] == [[str(r), str(r % 2), "4", "2"] for r in range(4)]
    assert {tuple(row[4:]) for row in seen} == {("node-a", "20041")}
    command = shlex.split((path / "command").read_text())
    assert command[:3] == ["neogpt", "pretrain", "gpt2-1.5b"]
    assert "--resume auto" in " ".join(command)
    assert "seed = 7" in is_accepted(command, capsys)
    assert (path / "requeued").exists() == again
    if again:
        assert (path / "requeued").read_text() == "requeue 41\n"


def test_the_cloud_task_runs_torchrun_in_the_bucket(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = commands(tmp_path / "bin", torchrun='printf "%q " "$@"')
    activate = tmp_path / "bin" / "venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text("")
    environment = {
        "SKYPILOT_NUM_NODES": "1",
        "SKYPILOT_NUM_GPUS_PER_NODE": "8",
        "SKYPILOT_NODE_IPS": "10.0.0.1",
        **sky()["envs"],
    }
    variables = {"PATH": f"{path}:/usr/bin:/bin", "HOME": str(path), **environment}
    done = subprocess.run(
        ["bash", "-c", sky()["run"]], env=variables, capture_output=True, text=True, cwd=ROOT, check=True
    )
    words = shlex.split(done.stdout)
    assert words[words.index("--nproc-per-node") + 1] == "8"
    assert is_accepted(words[words.index("--") + 1 :], capsys).startswith("# run: /runs/gpt2-124m")


# For real


def real(tmp_path: Path, name: str) -> dict[str, str]:
    bin_folder = Path(sys.executable).parent
    return {
        "path": bin_folder,  # type: ignore[dict-item]
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "NEOGPT_HOME": str(tmp_path / "home"),
        "RUN": str(tmp_path / name),
    }


def weights(folder: Path) -> bytes:
    (step,) = saved(folder)
    assert step == 12
    return (RunDir(folder).checkpoint(step) / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_torchrun_on_one_machine_gives_the_bits_of_one_process(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    done = run("torchrun.sh", "tinyworld", *TINY, **real(tmp_path, "two"), PROCESSES="2")
    assert done.returncode == 0, done.stderr[-3000:]
    last = RunDir(bases["pretrain"]).checkpoint(12) / "model.safetensors"
    assert weights(tmp_path / "two") == last.read_bytes()
    again = run("torchrun.sh", "tinyworld", *TINY, **real(tmp_path, "two"), PROCESSES="2")
    assert again.returncode == 0, again.stderr[-3000:]  # there is nothing left to do
    assert n_rows(tmp_path / "two") == n_rows(bases["pretrain"])


@pytest.mark.slow
def test_torchrun_on_two_machines_gives_the_bits_of_one_process(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    """Two torchruns of one process each that meet on this host."""
    variables = {k: str(v) for k, v in real(tmp_path, "nodes").items() if k != "path"}
    port = reserved_port()
    meet = {"NODES": "2", "PROCESSES": "1", "RANK0": "localhost", "PORT": str(port.getsockname()[1])}
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    nodes = [
        subprocess.Popen(
            ["bash", str(LAUNCH / "torchrun.sh"), "tinyworld", *TINY],
            env={**variables, **meet, "PATH": path, "HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        texts = [node.communicate(timeout=250)[0] for node in nodes]
    finally:
        port.close()
        for node in nodes:
            node.kill()
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(texts)[-3000:]
    last = RunDir(bases["pretrain"]).checkpoint(12) / "model.safetensors"
    assert weights(tmp_path / "nodes") == last.read_bytes()
