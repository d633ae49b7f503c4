"""`neogpt COMMAND ...`: finds the command's file, runs it, turns errors into messages and exit codes."""

import io
import json
import os
import sys
import traceback

from neogpt import plugins
from neogpt.errors import NeoGPTError
from neogpt.version import __version__

_ORDER = (
    "demo",
    "data",
    "tokenizer",
    "pretrain",
    "sft",
    "dpo",
    "rl",
    "eval",
    "generate",
    "chat",
    "export",
    "report",
    "plan",
    "study",
    "list",
    "doctor",
)


def main(args: list[str] | None = None) -> int:
    """Run one command line; returns its exit code.

    0 ok, 2 usage, 3 data, 4 checkpoint, 5 diverged, 6 regressed (a guardrail fell), 7 reward, 75 stopped and saved.
    """
    _set_up_cpu()
    _set_up_text()
    args = list(sys.argv[1:] if args is None else args)
    verbose = "-v" in args
    args = [arg for arg in args if arg != "-v"]
    if not args or args[0] in ("-h", "--help"):
        print(_help())
        return 0
    if args[0] == "--version":
        print(f"neogpt {__version__}")
        return 0
    try:
        if args[0] == "main" or args[0] not in _commands():
            raise plugins.unknown("command", args[0], _commands())
        return int(plugins.get("neogpt.cli", args[0]).run(args[1:]) or 0)
    except NeoGPTError as error:
        if verbose:
            traceback.print_exc()
        print(f"neogpt: {error}", file=sys.stderr)
        if verbose:
            print(f"  code: {error.code}", file=sys.stderr)
        if "--json" in args:
            print(json.dumps({"error": error.to_dict()}))
        return error.exit_code
    except KeyboardInterrupt:
        print("neogpt: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if verbose:
            traceback.print_exc()
        print(f"neogpt: {error}", file=sys.stderr)
        return 1


def _set_up_cpu() -> None:
    """What torch's CPU libraries read when they are loaded, unless the user has set it; no result depends on it.

    Threads sleep soon when they wait for each other: they spin for milliseconds by default, which beside other work
    keeps the one that is awaited off its core. And oneDNN keeps 128 shapes of products ready in place of 1,024, which
    batches of ever other lengths fill with hundreds of megabytes.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = "1000"
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")


def _set_up_text() -> None:
    """Show a ? for what the terminal or file cannot take: on Windows a file takes some two hundred characters."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _commands() -> list[str]:
    found = [name for name in plugins.names("neogpt.cli") if name != "main"]
    return sorted(found, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def _help() -> str:
    """The list of commands, each with the first line of its file."""
    width = max(map(len, _commands()))
    lines = [f"  {name:<{width}}  {plugins.summary('neogpt.cli', name)}" for name in _commands()]
    return "\n".join(
        [
            "neogpt: grow a GPT-2 from nothing",
            "",
            "usage: neogpt COMMAND [...]        neogpt COMMAND --help        neogpt --version",
            "",
            *lines,
            "",
            "Begin with `neogpt demo`. Add -v to any command for a traceback.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
