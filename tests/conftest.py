"""Fixtures that every room's tests share."""

import os
import time
from pathlib import Path

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data that NEOGPT_DATA names; the test is skipped without it."""
    folder = os.environ.get("NEOGPT_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NEOGPT_DATA does not name a folder of real data")
    return Path(folder)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches go to a folder of the test session, never to the user's."""
    monkeypatch.setenv("NEOGPT_HOME", str(tmp_path_factory.getbasetemp() / "neogpt-home"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """No slow test begins after the Unix time in NEOGPT_SLOW_UNTIL: `.ci/run` has a time limit."""
    until = os.environ.get("NEOGPT_SLOW_UNTIL")
    if until and item.get_closest_marker("slow") and time.time() > float(until):
        pytest.skip("the time for slow tests is used up (NEOGPT_SLOW_UNTIL)")
