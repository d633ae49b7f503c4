"""The arithmetic of benchmarks that print more than a time."""

import importlib.util
import math
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

from neogpt import config
from neogpt.cli import _train

ROOT = Path(__file__).resolve().parent.parent


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


ladder, race, ablation = script("ladder"), script("_race"), script("dpo_ablation")
matrix = script("demo_matrix")


@pytest.mark.parametrize("t", [0.0, 0.3, 2.0, 12.7])
def test_the_tail_of_students_t_in_closed_form(t: float) -> None:
    """One degree of freedom is Cauchy's distribution; two and four have elementary tails too."""
    assert ladder.tail(t, 1) == pytest.approx(0.5 - math.atan(t) / math.pi, rel=1e-6)
    assert ladder.tail(t, 2) == pytest.approx(0.5 - t / (2 * math.sqrt(2 + t * t)), rel=1e-6)
    u = t / math.sqrt(4 + t * t)
    assert ladder.tail(t, 4) == pytest.approx(0.5 - 0.75 * (u - u**3 / 3), rel=1e-6)


def test_welch_on_a_table() -> None:
    """t = -2.46, 25.0 degrees of freedom, p = 0.021 (first example of the Wikipedia article on the test)."""
    a = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4]
    b = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4]
    assert ladder.p_value(a, b) == pytest.approx(0.021, abs=0.001)
    assert ladder.p_value(b, a) == ladder.p_value(a, b)


def test_tokens_until_a_loss_by_a_straight_line() -> None:
    found = [(0, 8.0), (100, 6.0), (200, 5.0)]
    assert ladder.tokens_to(found, 7.0) == 50
    assert ladder.tokens_to(found, 5.5) == 150
    assert ladder.tokens_to(found, 5.0) == 200
    assert ladder.tokens_to(found, 4.0) == math.inf


def test_a_rung_that_was_not_kept_is_under_no_other() -> None:
    changes = (("a", "--x 1 --y 1", True), ("b", "--x 2", False), ("c", "--y 3", True))
    rungs = tuple(ladder.Rung(name, "", flags, kept) for name, flags, kept in changes)
    assert ladder.flags_of(ladder.Size("r", "", 160, rungs)) == {
        "a": "--x 1 --y 1 --tokens 160",
        "b": "--x 2 --y 1 --tokens 160",
        "c": "--x 1 --y 3 --tokens 160",
        "fast-short": "--x 1 --y 3 --tokens 100",
        "fast-quarter": "--x 1 --y 3 --tokens 40",
    }


def test_a_contender_beside_neogpt() -> None:
    """Rounds are compared one by one: a slow moment that falls on both leaves their ratio."""
    ours = {"name": "neogpt", "seconds": [1.0, 10.0, 2.0], "losses": [3.0, 2.0], "peak": 100, "imported": 50}
    other = {"name": "trl", "seconds": [2.0, 20.0, 8.0], "losses": [3.0, 2.5], "peak": 150, "imported": 60}
    line = race.beside(ours, other, 40.0, "pairs")
    assert (line["ratio"], line["pairs_per_s"], line["memory_ratio"]) == (2.0, 5.0, 1.5)
    assert line["loss_difference"] == 0.5


def test_every_variant_of_the_ablation_is_the_recipe_with_other_flags() -> None:
    """Each by settings that exist, in a folder of its own."""
    recipe = _train.recipe("dpo", "tinyworld")
    runs = [config.parse(recipe, shlex.split(flags)) for flags in ablation.VARIANTS.values()]
    assert [run for run in runs if run == recipe] == [recipe]
    assert (
        len({repr(run) for run in runs})
        == len({ablation.slug(name) for name in ablation.VARIANTS})
        == len(runs)
    )


def test_a_cell_of_the_ablation_is_the_range_over_the_seeds() -> None:
    scores = {seed: dict.fromkeys(ablation.COLUMNS, value) for seed, value in enumerate((0.5, 0.254, 1.0))}
    lines = ablation.table({"a": scores, "b": {0: scores[0]}}).splitlines()
    assert lines[2].split(" | ")[1] == "0.25-1.00"
    assert lines[3].split(" | ")[1] == "0.50"
    assert all(line.count("|") == len(ablation.COLUMNS) + 2 for line in lines)


FLAGS = {
    "no vectors": frozenset(),
    "avx2": frozenset({"avx2"}),
    "avx512": frozenset({"avx2", "avx512f"}),
    "amx": frozenset({"avx2", "avx512f", "avx512_bf16", "amx_bf16"}),
}


@pytest.mark.parametrize("machine", list(FLAGS))
def test_the_demo_matrix_has_every_pair_of_values_that_a_machine_has(machine: str) -> None:
    """Counted by brute force over all cases; bfloat16 without instructions for it only where a pair needs it."""
    chosen = matrix.cases(FLAGS[machine], 40)
    every = matrix.cases(FLAGS[machine], 10_000)
    assert len(set(chosen)) == len(chosen) >= min(40, len(every))
    assert set().union(*map(matrix.pairs, chosen)) == set().union(*map(matrix.pairs, every))
    isas = {case.isa for case in every}
    assert isas == {name for name, flag in matrix.ISA.items() if flag in FLAGS[machine]} or isas == {""}
    assert not any(case.isa == "AVX2" and case.dtype == "bfloat16" for case in every)
    assert {case.seed for case in chosen} == set(range(5))
    if machine == "avx512":
        assert sum(map(matrix.is_emulated, chosen)) <= 6
