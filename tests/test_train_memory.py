"""Memory that a step frees is there for the next one, and the user's own settings of it stay."""

import subprocess
import sys

import pytest

CHILD = """
import resource, sys
import torch
from neogpt.train.device import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def touch():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**25)  # 128 MiB, more than the C library keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
touch()
print(min(touch() for _ in range(8)))  # a hole serves once it is a little larger than what is asked for
"""


def faults(how: str, **environment: str) -> int:
    """Pages that the system had to hand out for 128 MiB which had been there before."""
    command = [sys.executable, "-c", CHILD, how]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return int(found.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is the C library's of Linux")
def test_freed_memory_is_not_handed_back_to_the_system() -> None:
    assert faults("as it is") > 60  # 32,768 pages, or 64 huge ones
    assert faults("kept") < 30
    assert faults("kept", MALLOC_TRIM_THRESHOLD_="100000") > 60
