"""SIGTERM and SIGINT ask for a stop; the loop saves at the end of the step and leaves."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopFlag:
    """Becomes true at the first signal; a second one ends the process at once."""

    def __init__(self) -> None:
        self.raised = ""

    def __bool__(self) -> bool:
        return bool(self.raised)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.raised = signal.Signals(number).name
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)


@contextlib.contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """A flag that SIGTERM and SIGINT raise while the block runs (only in a program's main thread)."""
    flag = StopFlag()
    before = {}
    try:
        for number in _SIGNALS:
            before[number] = signal.signal(number, flag._handle)
    except ValueError:
        pass
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
