"""The same preparation by datatrove on this machine, on a real local Ray cluster, and through Slurm's commands."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from data_helpers import content, texts, tokenizer, write_jsonl

pytest.importorskip("datatrove", reason="datatrove is not installed (the extra `cluster`)")

FLAGS = ["--val-fraction", "0.1", "--shard-tokens", "2500", "--tasks", "2"]
RAY = ["--executor", "ray", "--memory-gb", "0.2"]
SLURM = {
    # Says a job number, keeps the script, and does the tasks of an array at once.
    "sbatch": """
        import os, pathlib, re, subprocess, sys
        script = pathlib.Path(sys.argv[-1]).read_text()
        folder = pathlib.Path(os.environ["FAKE_SLURM"])
        number = len(list(folder.glob("job-*")))
        (folder / f"job-{number}").write_text(" ".join(sys.argv[1:-1]) + "\\n" + script)
        if array := re.search(r"--array=0-(\\d+)", script):
            if "launch_pickled_pipeline" in script and not os.environ.get("FAKE_SLURM_LOSES"):
                for rank in range(int(array[1]) + 1):
                    job = {**os.environ, "SLURM_ARRAY_TASK_ID": str(rank), "SLURM_NODELIST": "here"}
                    subprocess.run(["bash", sys.argv[-1]], env=job, check=True, stdout=subprocess.DEVNULL)
        print("Submitted batch job", number)
    """,
    "srun": """
        import os, sys
        place = sys.argv.index("launch_pickled_pipeline")
        os.execvp(sys.argv[place], sys.argv[place:])
    """,
    "scontrol": "print('here')",
    "squeue": "",
}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five files, each large enough for a part of its own, and a tokenizer."""
    folder = tmp_path_factory.mktemp("corpus")
    for i in range(5):
        write_jsonl(folder / "in" / f"{i}.jsonl", [*texts(60, seed=i), "plum bread " * 200_000])
    tokenizer().save(folder / "tokenizer")
    return folder


def prepare(
    corpus: Path, out: Path, *flags: str, timeout: float | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`neogpt data prepare` in a process of its own, as a user types it."""
    args = ["--path", str(corpus / "in"), "--tokenizer", str(corpus / "tokenizer"), "--out", str(out)]
    return subprocess.run(
        [sys.executable, "-m", "neogpt", "data", "prepare", "jsonl", *args, *FLAGS, *flags],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


NO_CLUSTER = re.compile(r"Ray gave no cluster|ray\.exceptions|raylet|GCS server")
"""In what is said when Ray's own processes did not start in its time, or ended again."""


def prepare_on_ray(corpus: Path, out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Ray gives its own processes seconds to start, whatever the machine is doing, so it is asked more than once."""
    for _ in range(5):
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = prepare(corpus, out, *RAY, timeout=150, **environment)
            if done.returncode == 0 or not NO_CLUSTER.search(done.stderr):
                return done
    pytest.skip("Ray could not start a cluster here in five attempts: this machine is too busy")


@pytest.fixture(scope="session")
def expected(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process writes."""
    out = tmp_path_factory.mktemp("expected") / "out"
    done = prepare(corpus, out, "--workers", "1")
    assert done.returncode == 0, done.stderr
    return content(out)


def test_datatrove_on_this_machine(corpus: Path, tmp_path: Path, expected: dict[str, bytes]) -> None:
    done = prepare(corpus, tmp_path / "out", "--executor", "local")
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "out") == expected
    assert done.stdout.splitlines()[-1].startswith("done: ")
    assert {p.name for p in tmp_path.iterdir()} == {"out", "out.lock"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_ray_cluster(corpus: Path, tmp_path: Path, expected: dict[str, bytes]) -> None:
    pytest.importorskip("ray", reason="ray is not installed (the extra `cluster`)")
    with tempfile.TemporaryDirectory(prefix="ray-") as short:  # the path of a socket may have 107 characters
        environment = {"HOME": str(tmp_path), "RAY_TMPDIR": short, "RAY_USAGE_STATS_ENABLED": "0"}
        done = prepare_on_ray(corpus, tmp_path / "out", **environment)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "out") == expected
    assert done.stdout.splitlines()[-1].startswith("done: ")


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """An environment with Slurm's commands, played by small scripts."""
    (tmp_path / "bin").mkdir()
    for name, code in SLURM.items():
        path = tmp_path / "bin" / name
        program = tmp_path / f"{name}.py"
        program.write_text(textwrap.dedent(code))
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n')  # its path may hold a blank
        path.chmod(0o755)
    return {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "FAKE_SLURM": str(tmp_path)}


def test_slurm_is_given_an_array_job(
    corpus: Path, tmp_path: Path, expected: dict[str, bytes], slurm: dict[str, str]
) -> None:
    flags = [
        "--executor",
        "slurm",
        "--partition",
        "cpu",
        "--time",
        "02:00:00",
        "--workers",
        "1",
        "--memory-gb",
        "3",
    ]
    done = prepare(corpus, tmp_path / "out", *flags, **slurm)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "out") == expected
    script = (tmp_path / "job-0").read_text()
    for line in ("partition=cpu", "time=02:00:00", "array=0-1%1", "mem-per-cpu=3G", "job-name=neogpt-data"):
        assert f"#SBATCH --{line}\n" in script
    assert "--qos" not in script
    assert f'export PATH="{Path(sys.executable).parent}:' in script
    assert subprocess.run(["bash", "-n"], input=script.partition("\n")[2], text=True, check=True)


def test_parts_that_slurm_did_not_make_are_counted(
    corpus: Path, tmp_path: Path, slurm: dict[str, str]
) -> None:
    flags = ["--executor", "slurm", "--partition", "cpu"]
    done = prepare(corpus, tmp_path / "out", *flags, **slurm, FAKE_SLURM_LOSES="1")
    assert done.returncode == 1
    assert "5 of 5 parts were not made" in done.stderr
    assert "datatrove" in done.stderr
    assert not (tmp_path / "out").exists()


def test_slurm_without_a_partition_or_without_slurm(corpus: Path, tmp_path: Path) -> None:
    done = prepare(corpus, tmp_path / "out", "--executor", "slurm")
    assert (done.returncode, "--partition" in done.stderr) == (2, True)
    done = prepare(corpus, tmp_path / "out", "--executor", "slurm", "--partition", "cpu", PATH="/nowhere")
    assert (done.returncode, "there is no command sbatch" in done.stderr) == (2, True)


def test_a_broken_file_is_an_error_with_a_place_to_look(corpus: Path, tmp_path: Path) -> None:
    for path in sorted((corpus / "in").iterdir())[:2]:
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "in" / "z.jsonl.gz").write_bytes(b"not gzip" * 300_000)
    (tmp_path / "tokenizer").symlink_to(corpus / "tokenizer")
    done = prepare(tmp_path, tmp_path / "out", "--executor", "local", "--json")
    assert done.returncode == 3, done.stderr
    assert "z.jsonl.gz cannot be read" in done.stderr
