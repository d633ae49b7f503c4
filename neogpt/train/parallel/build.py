"""How a step's gradient comes together from its micro-batches and processes, and where the weights lie.

    ddp, exact   every process holds all weights; one fixed tree of sums, equal bits on any number of processes
    ddp, fast    the same, but summed in buckets while the last micro-batch's backward still runs
    fsdp         every process holds a part of weights, gradients and optimizer state (fsdp.py)

The loop sees one interface, `ParallelStrategy`. Which of them a run uses changes nothing in a checkpoint.
"""

from neogpt.config import AnyRun
from neogpt.model import GPT2
from neogpt.objectives.base import Objective
from neogpt.train.parallel.base import ParallelStrategy
from neogpt.train.parallel.distributed import World
from neogpt.train.parallel.exact import Exact
from neogpt.train.parallel.overlapped import Overlapped


def build_strategy(run: AnyRun, model: GPT2, objective: Objective, world: World) -> ParallelStrategy:
    """The run's strategy; under fsdp the model's parameters are replaced by this process's parts of them.

    One process has nothing to share out, so fsdp is ddp there.
    """
    if run.parallel == "fsdp" and world.size > 1:
        from neogpt.train.parallel.fsdp import Sharded  # start-up time: FSDP takes a second

        return Sharded(run, model, objective, world)
    kind = Exact if run.reduction == "exact" else Overlapped
    return kind(run, model, objective, world)
