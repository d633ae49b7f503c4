"""What watches a run: the contract between the loop and its monitors."""

from collections.abc import Mapping, Sequence

from neogpt.ledger import Row
from neogpt.outcomes import Outcomes

NO_SAMPLES: Mapping[str, Outcomes] = {}


class Monitor:
    """Sees every row of the metrics ledger and may end the run. A subclass overrides what it needs.

    The ledger is a monitor's only memory, so a resumed run decides as an uninterrupted one.
    """

    def recall(self, history: Sequence[Row]) -> None:
        """Take up the rows that the run has already written, in order."""

    def note(self, row: Row, samples: Mapping[str, Outcomes] = NO_SAMPLES) -> Row:
        """Take in the next row before it is written; returns the row to write.

        A row with `grad_norm` is of a training step, any other of an evaluation, whose scores `samples` has sample
        by sample where they are known.
        """
        return row

    def verdict(self, is_last: bool = False) -> bool:
        """Whether the run should end here, as it does after its last step.

        `is_last`: the next step is the last one. Errors: the NeoGPTError that ends the run at once.
        """
        return False
