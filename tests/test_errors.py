"""Errors carry stable codes, which scripts can read and docs/errors.md lists."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import error_codes

from neogpt.cli import main
from neogpt.errors import DataError

RAISED = list(error_codes.raised())


def test_every_error_has_a_code() -> None:
    assert len(RAISED) > 300
    assert [each.place for each in RAISED if not re.fullmatch(r"[a-z]+\.[a-z0-9_]+(NAME)?", each.code)] == []


def test_a_code_means_one_exit_code_within_the_same_area() -> None:
    """What a script branches on: one code, one exit code."""
    kinds: dict[str, set[int]] = {}
    for each in RAISED:
        kinds.setdefault(each.code, set()).add(error_codes.CLASSES[each.kind].exit_code)
    assert {code: found for code, found in kinds.items() if len(found) > 1} == {}


def test_the_page_is_what_the_tool_writes() -> None:
    assert error_codes.PAGE.read_text("utf-8") == error_codes.page()


def test_programs_read_the_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["report", str(tmp_path / "none"), "--json"]) == 3
    shown = capsys.readouterr()
    error = json.loads(shown.out)["error"]
    assert (error["code"], error["exit_code"]) == ("report.no_such_folder", 3)
    assert error["what"] in shown.err
    done = subprocess.run(
        [sys.executable, "-m", "neogpt", "report", str(tmp_path / "none"), "-v"],
        capture_output=True,
        text=True,
    )
    assert "report.no_such_folder" in done.stderr


def test_an_error_keeps_its_code_in_another_place() -> None:
    error = DataError("gone", "it", "look", code="data.no_such_file").within("here")
    assert (error.code, error.what) == ("data.no_such_file", "here: gone")
