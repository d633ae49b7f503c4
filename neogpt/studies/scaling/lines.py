"""The answers of `neogpt study scaling` as lines to read."""

from collections.abc import Mapping, Sequence
from typing import Any


def of_answer(values: Mapping[str, Any]) -> list[str]:
    """Law, spread, best sizes, predictions, warnings."""
    points = values["points"]
    left = f" ({points['left_out']} of highest loss left out)" if points["left_out"] else ""
    return [
        f"L(N, D) = E + A / N^alpha + B / D^beta from {points['fitted']} points{left}; N counts {values['count']} "
        "parameters",
        "",
        *_constants(values),
        "",
        *_table(
            ("loss on log L", "left out", "E", "A", "B", "alpha", "beta", "a"), map(_choice, values["spread"])
        ),
        "",
        "best for a budget of 6 N D FLOPs",
        *_table(
            ("FLOPs", "parameters", "tokens", "tokens/param", "loss", ""), map(_optimum, values["optimum"])
        ),
        *_predictions(values["predictions"]),
        *_other_count(values["other_count"]),
        *_against(values["against"]),
        *(f"warning: {line}" for line in values["warnings"]),
    ]


def of_parabolas(rows: Sequence[Mapping[str, Any]], exponent: float, law_exponent: float | None) -> list[str]:
    """Lowest points of the parabolas and the exponent through them, beside the law's."""
    cells = (
        (
            _e(r["flops"]),
            _e(r["n_params"]),
            f"{r['loss']:.4f}",
            str(r["sizes"]),
            "" if r["is_inside"] else "outside",
        )
        for r in rows
    )
    beside = f"; by the fitted law {law_exponent:.4f}" if law_exponent is not None else ""
    return [
        *_table(("FLOPs", "N_opt", "loss", "sizes", ""), cells),
        f"N_opt ~ C^{exponent:.4f} by the parabolas{beside}",
        "Parabolas are biased wherever sizes do not stand alike around the best (arXiv 2603.22339): trust the law.",
    ]


def of_bias(laws: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """What parabolas make of noise-free runs that follow a known law."""
    lines = []
    for name, rows in laws.items():
        cells = (
            (
                r["grid"],
                f"{r['true_exponent']:.4f}",
                f"{r['parabola_exponent']:.4f}",
                f"{r['law_exponent']:.4f}",
                f"{r['parabola_size_factor']:.3f}",
                f"{r['law_size_factor']:.3f}",
            )
            for r in rows
        )
        head = (
            name,
            "a",
            "parabolas",
            "fitted law",
            f"N_opt at {_e(rows[0]['flops'])}: parabolas",
            "fitted law",
        )
        lines += [*_table(head, cells), ""]
    return [
        *lines,
        "Factors are of the true N_opt. The runs have no noise: what differs is the method's own error.",
    ]


def _constants(values: Mapping[str, Any]) -> list[str]:
    notes = dict.fromkeys(("E", "A", "B", "alpha", "beta"), "")
    notes["size_exponent"] = "  N_opt ~ C^a, a = beta / (alpha + beta)"
    lines = []
    for name, note in notes.items():
        interval = values["intervals"].get(name)
        told = f"  {values['level']:.0%} {_g(interval[0])} to {_g(interval[1])}" if interval else ""
        lines.append(f"  {'a' if name == 'size_exponent' else name:<6} {_g(values[name]):>8}{told}{note}")
    return lines


def _choice(row: Mapping[str, Any]) -> tuple[str, ...]:
    if "error" in row:
        return (row["loss"], str(row["left_out"]), row["error"])
    names = ("E", "A", "B", "alpha", "beta", "size_exponent")
    return (row["loss"], str(row["left_out"]), *(_g(row[name]) for name in names))


def _optimum(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        _e(row["flops"]),
        _e(row["n_params"]),
        _e(row["tokens"]),
        f"{row['tokens_per_param']:.1f}",
        f"{row['loss']:.4f}",
        "extrapolation" if row["extrapolation"] else "",
    )


def _predictions(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for row in rows:
        told = ""
        if "interval" in row:
            low, high = row["interval"]
            first, last = row["run_interval"]
            told = f" (law {low:.4f} to {high:.4f}, a run {first:.4f} to {last:.4f})"
        far = ", an extrapolation" if row["extrapolation"] else ""
        lines.append(
            f"{_e(row['n_params'])} parameters, {_e(row['tokens'])} tokens: loss {row['loss']:.4f}{told}{far}"
        )
    return ["", *lines] if lines else []


def _other_count(row: Mapping[str, Any] | None) -> list[str]:
    if row is None:
        return []
    names = ("E", "A", "B", "alpha", "beta")
    told = ", ".join(f"{name} {_g(row[name])}" for name in names)
    return ["", f"with {row['count']} parameters: {told}, a {_g(row['size_exponent'])}"]


def _against(laws: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    for name, row in laws.items():
        outside = ", ".join(row["outside"]) or "none"
        lines.append(f"{name}: objective {row['objective']:.4g}; constants outside the intervals: {outside}")
    return ["", *lines] if lines else []


def _table(head: Sequence[str], rows: Any) -> list[str]:
    found = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(row[i]) for row in found if i < len(row)) for i in range(len(head))]
    return [
        ("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False))).rstrip()
        for row in found
    ]


def _g(value: float) -> str:
    return f"{value:.4g}" if value < 1e5 else f"{value:.3e}"


def _e(value: float) -> str:
    return f"{value:.3g}"
