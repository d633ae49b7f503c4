"""What can go wrong, by the exit code a user's script sees."""

from typing import Self


class NeoGPTError(Exception):
    """An error that a user can act on: what happened, what was expected, what to type."""

    exit_code = 1

    def __init__(self, what: str, expected: str = "", hint: str = "", *, code: str = "") -> None:
        """`code`: a stable name (`data.no_such_file`) for tests and scripts (docs/errors.md); prose may change."""
        self.what, self.expected, self.hint, self.code = what, expected, hint, code
        lines = [what]
        if expected:
            lines.append(f"  expected: {expected}")
        if hint:
            lines.append(f"  try: {hint}")
        super().__init__("\n".join(lines))

    def to_dict(self) -> dict[str, str | int]:
        """What a program needs of it: `--json` prints this as `{"error": ...}`."""
        return {
            "code": self.code,
            "exit_code": self.exit_code,
            "what": self.what,
            "expected": self.expected,
            "try": self.hint,
        }

    def within(self, place: str) -> Self:
        """The same error, saying where it arose."""
        return type(self)(f"{place}: {self.what}", self.expected, self.hint, code=self.code)


class ConfigError(NeoGPTError):
    """A setting, flag or combination of them that cannot work."""

    exit_code = 2


class DataError(NeoGPTError):
    """Data that is missing, damaged or not what its manifest says."""

    exit_code = 3


class CheckpointError(NeoGPTError):
    """A checkpoint that cannot be written, found or trusted."""

    exit_code = 4


class DivergedError(NeoGPTError):
    """Training left the finite numbers and could not go on."""

    exit_code = 5


class RegressedError(NeoGPTError):
    """Training lost something that the model had; checkpoints from before are intact."""

    exit_code = 6


class RewardError(NeoGPTError):
    """A reward that gave no number for an answer; the weights are as they were."""

    exit_code = 7


class PreemptedError(NeoGPTError):
    """A signal asked the run to stop; its state is saved and it can be resumed."""

    exit_code = 75
