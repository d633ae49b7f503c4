"""Is this machine ready? Python, PyTorch, memory, disk, tokenizer, folders; what is broken and what to type."""

import argparse
import dataclasses
import json
from pathlib import Path

from neogpt.cli import _doctor

_EPILOG = "exit code 1 when something is broken. examples: neogpt doctor        neogpt doctor --run /data/runs --json"


def run(args: list[str]) -> int:
    """`neogpt doctor [--run DIR] [--json]`."""
    parser = argparse.ArgumentParser(prog="neogpt doctor", description=__doc__, epilog=_EPILOG)
    parser.add_argument(
        "--run", type=Path, default=Path("runs"), help="where runs will be written (default: runs)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(args)
    found = _doctor.examine(options.run)
    if options.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in found], indent=2))
    else:
        _show(found)
    return int(any(finding.state == "fail" for finding in found))


def _show(found: list[_doctor.Finding]) -> None:
    width = max(len(finding.check) for finding in found)
    for finding in found:
        print(f"{finding.state:<4}  {finding.check:<{width}}  {finding.text}")
        if finding.hint:
            print(f"{'':<4}  {'':<{width}}    try: {finding.hint}")
    count = {state: sum(finding.state == state for finding in found) for state in ("warn", "fail")}
    print(f"\n{len(found)} checks: {count['fail']} broken, {count['warn']} to look at")
