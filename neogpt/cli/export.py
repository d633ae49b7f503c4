"""Write a model for other programs: one GGUF file for llama.cpp and what is built on it."""

import dataclasses
import json as json_format
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from neogpt.cli import _flags
from neogpt.errors import ConfigError

if TYPE_CHECKING:
    from neogpt.export.gguf import Exported


def run(args: list[str]) -> int:
    """`neogpt export MODEL --to gguf --out FILE`."""
    given = _flags.bare(args, "--json", "--force")
    tyro.cli(_export, args=given, prog="neogpt export", config=(tyro.conf.FlagCreatePairsOff,))
    return 0


def _export(
    model: Annotated[str, tyro.conf.Positional],
    /,
    out: Path,
    to: Literal["gguf"] = "gguf",
    dtype: Literal["f32", "f16", "bf16", "q8_0"] = "f32",
    force: bool = False,
    json: bool = False,
) -> None:
    """Write a model for other programs: one GGUF file for llama.cpp and what is built on it.

    The file holds weights, vocabulary, chat template and card. Give it to llama-server, llama-cli, Ollama, LM Studio
    or transformers; docs/export.md says what each makes of it. Needs the extra `export`.

    examples: neogpt export runs/demo/rl --to gguf --dtype q8_0 --out demo.gguf
              neogpt export openai-community/gpt2 --to gguf --dtype bf16 --out gpt2.gguf

    Args:
        model: run, checkpoint, Hugging Face directory or id.
        out: file to write.
        to: the format.
        dtype: how matrices are stored; f32 loses nothing, q8_0 takes a quarter of its room and is the fastest on CPUs.
        force: replace a file that is there.
        json: print JSON.
    """
    from neogpt.export import gguf  # start-up time

    gguf.check_package()
    _check_out(out, force)
    from neogpt.export.bundle import open_bundle  # start-up time

    written = gguf.write(open_bundle(model), out, dtype)
    for note in written.notes:
        print(f"neogpt: {note}", file=sys.stderr)
    if json:
        print(_json(written, to, dtype))
    else:
        _print(written, dtype)


def _check_out(out: Path, force: bool) -> None:
    """ConfigError where `out` cannot be written or has a file that was not to be replaced."""
    if out.is_dir():
        raise ConfigError(
            f"{out} is a folder", "a file to write", f"--out {out / 'model.gguf'}", code="export.out"
        )
    if out.exists() and not force:
        raise ConfigError(
            f"{out} is there already", "a new file", "another --out, or --force", code="export.out"
        )


def _json(written: "Exported", to: str, dtype: str) -> str:
    kept = [dataclasses.asdict(tensor) for tensor in written.fallbacks]
    facts = {"file": str(written.file), "format": to, "dtype": dtype, "bytes": written.n_bytes}
    return json_format.dumps({**facts, "tensors": len(written.tensors), "fallbacks": kept}, indent=2)


def _print(written: "Exported", dtype: str) -> None:
    for tensor in written.fallbacks:
        print(f"{tensor.name} is stored as {tensor.dtype}, not {dtype}: {tensor.reason}")
    print(f"wrote {written.file}: {len(written.tensors)} tensors, {written.n_bytes / 1e6:,.1f} MB")
    print(f"try it: llama-server -m {written.file}")
