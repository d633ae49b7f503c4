"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from training import Launcher

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# The same examples in every run, and no time limits: fresh ones come with --hypothesis-profile=default.
settings.register_profile(
    "same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")


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


def limit_s(item: pytest.Item) -> float:
    """What a test may take; on a machine with little else to do it takes less than half of that."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0] if marker else item.config.getini("timeout"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest of the slow tests first, so that none of them is the last to begin."""
    items.sort(key=lambda item: -limit_s(item) if item.get_closest_marker("slow") else 0.0)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """No slow test begins that may not be done by the Unix time NEOGPT_SLOW_UNTIL: `.ci/run` has a time limit."""
    left = float(os.environ.get("NEOGPT_SLOW_UNTIL", "inf")) - time.time()
    if item.get_closest_marker("slow") and left < limit_s(item) / 2:
        pytest.skip(f"may take {limit_s(item) / 2:.0f} s, and {left:.0f} s are left (NEOGPT_SLOW_UNTIL)")


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """Starts groups of training processes quickly."""
    from training import Launcher

    base = tmp_path_factory.getbasetemp()
    launcher = Launcher(base / "outputs", base / "neogpt-home")
    yield launcher
    launcher.close()


@pytest.fixture(scope="session")
def bases(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By stage: a folder with an uninterrupted tiny run of it, on one process."""
    from training import STAGES

    folder = tmp_path_factory.mktemp("bases")
    for stages in (STAGES[:1], STAGES[1:]):
        settings = ["--from", str(folder / "pretrain")] if "pretrain" not in stages else []
        for group in [launcher.train(1, stage, folder / stage, *settings) for stage in stages]:
            assert group.wait() == [0], group.text()
    return {stage: folder / stage for stage in STAGES}
