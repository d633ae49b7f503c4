"""What a run needs before it is begun: parameters, FLOPs, memory, time, cost, disk. Arithmetic only, no torch."""

from neogpt.plan.budget import Data
from neogpt.plan.memory import Memory, Work, memory_of
from neogpt.plan.planner import Plan, plan

__all__ = ["Data", "Memory", "Plan", "Work", "memory_of", "plan"]
