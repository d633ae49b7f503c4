"""`neogpt study scaling` as typed: JSON, lines, the picture, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import scaling_tables as made

from neogpt.cli import main as command_line
from neogpt.errors import DataError
from neogpt.studies.scaling import fit
from neogpt.studies.scaling import points as tables
from neogpt.studies.scaling.law import NAMES, PUBLISHED

FEW = ("--bootstrap", "40")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write(tmp_path_factory.mktemp("tables") / "runs.csv", made.grid(noise=0.003))


def answered(capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    assert command_line.main(["study", "scaling", *args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_has_the_constants_with_intervals_and_what_to_beware_of(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--predict", "1e7", "1e8", "1e9", "1e10", "--flops", "1e14", "--against", "hoffmann-2022"]
    found = answered(capsys, "--points", str(table), *FEW, *more)
    for name in NAMES:
        low, high = found["intervals"][name]
        assert low < found[name] < high
        assert found["standard_errors"][name] > 0
    assert found["alpha"] == pytest.approx(made.LAW.alpha, abs=0.05)
    assert found["points"]["fitted"] == 42
    assert found["count"] == "total"
    assert found["other_count"] is None
    assert [row["left_out"] for row in found["spread"]] == [0] * 3 + [1] * 3
    assert found["size_exponent_range"][0] <= found["size_exponent"] <= found["size_exponent_range"][1]
    assert [row["flops"] for row in found["optimum"]] == [1e14]
    near, far = found["predictions"]
    assert near["extrapolation"] == []
    assert len(far["extrapolation"]) == 3
    assert sum("extrapolation" in line for line in found["warnings"]) == 3
    assert found["against"]["hoffmann-2022"]["E"] == PUBLISHED["hoffmann-2022"].E


def test_the_same_command_gives_the_same_answer(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, again = (answered(capsys, "--points", str(table), *FEW) for _ in range(2))
    assert first == again
    other = fit.fit(tables.read(table), bootstrap=40, seed=1)
    assert other.law.alpha == first["alpha"]
    assert other.interval("alpha") != tuple(first["intervals"]["alpha"])


def test_lines_tell_the_law_and_the_extrapolation(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["study", "scaling", "--points", str(table), *FEW, "--predict", "1e9", "1e10"]
    assert command_line.main(args) == 0
    shown = capsys.readouterr().out
    assert "alpha" in shown
    assert "extrapolation" in shown
    assert "size_exponent" not in shown


def test_flops_in_place_of_tokens_and_other_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = made.grid()
    flop = (6 * points.n_params * points.tokens).tolist()
    text = "note, n_params,training_flop, loss\n" + "".join(
        f"x,{n!r},{c!r},{loss!r}\n"
        for n, c, loss in zip(points.n_params.tolist(), flop, points.loss.tolist(), strict=True)
    )
    (tmp_path / "runs.csv").write_text(text, encoding="utf-8-sig")
    found = answered(capsys, "--points", str(tmp_path / "runs.csv"), "--bootstrap", "0")
    assert found["beta"] == pytest.approx(made.LAW.beta, rel=1e-4)
    assert found["intervals"] == {}


def test_runs_and_counts_that_the_table_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = made.grid(noise=0.002)
    runs = [f"{n:.0f}" for n in points.n_params]
    file = made.write(
        tmp_path / "runs.csv", points, n_params_non_embedding=(points.n_params * 0.7).tolist(), run=runs
    )
    found = answered(capsys, "--points", str(file), *FEW)
    assert found["bootstrap"]["of"] == "runs"
    assert found["other_count"]["count"] == "non-embedding"
    fewer = answered(capsys, "--points", str(file), "--count", "non-embedding", "--bootstrap", "0")
    assert fewer["alpha"] == pytest.approx(found["alpha"], rel=1e-4)  # a constant share changes A alone
    assert fewer["A"] == pytest.approx(found["A"] * 0.7 ** found["alpha"], rel=1e-3)


def test_parabolas_of_a_table_and_of_made_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from neogpt.studies.scaling import isoflop

    file = made.write(tmp_path / "runs.csv", isoflop.made_points(made.LAW, (1e14, 1e15, 1e16), width=3))
    found = answered(capsys, "isoflop", "--points", str(file))
    assert [row["sizes"] for row in found["parabolas"]] == [7, 7, 7]
    assert found["size_exponent"] == pytest.approx(float(made.LAW.size_exponent), abs=1e-6)
    some = answered(capsys, "isoflop", "--points", str(file), "--budgets", "1e14", "1e16")
    assert [row["flops"] for row in some["parabolas"]] == [1e14, 1e16]
    known = answered(capsys, "isoflop", "--budgets", "1e14", "1e15")
    assert set(PUBLISHED) < set(known)


def test_the_picture_is_a_png(tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    answered(capsys, "--points", str(table), *FEW, "--plot", str(tmp_path / "law.png"))
    assert (tmp_path / "law.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("n_params,loss\n1e6,3\n", "scaling.missing_column"),
        ("params,tokens,loss\n1e6,1e7,3\n", "scaling.missing_column"),
        ("n_params,tokens,loss,loss\n1e6,1e7,3,3\n", "scaling.missing_column"),
        ("", "scaling.missing_column"),
        ("n_params,tokens,loss\n", "scaling.too_few_points"),
        ("n_params,tokens,loss\n1e6,1e7,3\n", "scaling.too_few_points"),
        ("n_params,tokens,loss\n1e6,1e7,three\n", "scaling.bad_row"),
        ("n_params,tokens,loss\n1e6,1e7,nan\n", "scaling.bad_row"),
        ("n_params,tokens,loss\n1e6,inf,3\n", "scaling.bad_row"),
        ("n_params,tokens,loss\n1e6,-1,3\n", "scaling.bad_row"),
        ("n_params,tokens,loss\n1e6,1e7\n", "scaling.bad_row"),
        ("n_params,tokens,loss\n1e6,1e7,3,4\n", "scaling.bad_row"),
        ("n_params,tokens,loss,n_params_non_embedding\n1e6,1e7,3,2e6\n", "scaling.bad_row"),
        ("n_params,tokens,loss\n\xff\xfe".encode("latin-1"), "scaling.unreadable"),
    ],
)
def test_a_bad_table_is_refused(
    text: str | bytes, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "runs.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert command_line.main(["study", "scaling", "--points", str(file)]) == 3
    assert "runs.csv" in capsys.readouterr().err or code == "scaling.too_few_points"
    with pytest.raises(DataError) as caught:
        made.fitted(file)
    assert caught.value.code == code


def test_what_else_is_refused(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for args, code in [
        (["--points", str(tmp_path / "absent.csv")], 3),
        (["--points", str(table), "--count", "non-embedding"], 3),
        (["--points", str(table), "--against", "kaplan-2020"], 2),
        (["--points", str(table), "--drop-highest", "99"], 2),
        (["--points", str(table), "--predict", "0", "1e9", *FEW], 2),
    ]:
        assert command_line.main(["study", "scaling", *args]) == code, args
        assert "expected" in capsys.readouterr().err
    assert command_line.main(["study", "scalling"]) == 2
    assert "scaling" in capsys.readouterr().err


def test_a_table_is_written_as_it_is_read(tmp_path: Path) -> None:
    points = made.grid(noise=0.01)
    again = tables.read(made.write(tmp_path / "runs.csv", points))
    assert (again.n_params == points.n_params).all()
    assert (again.loss == points.loss).all()
