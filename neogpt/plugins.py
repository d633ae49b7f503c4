"""Finding by name: one file in a package is one source, eval, reward or recipe; one folder is one objective."""

import ast
import difflib
import importlib
import pkgutil
import re
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

from neogpt.errors import ConfigError

_OF_FOLDERS = ("neogpt.objectives",)
"""Packages whose plug-ins are folders; the files beside those are what they share."""
_CONTRACT = "base"
"""The file of a package that says what its plug-ins are; no plug-in itself."""


def names(package: str) -> list[str]:
    """The public names in `package`, sorted: `sft_dolly.py` is named `sft-dolly`, `gpt2_1p5b.py` `gpt2-1.5b`."""
    found = [
        module.name
        for module in pkgutil.iter_modules(_folders(package))
        if module.ispkg or package not in _OF_FOLDERS
    ]
    return sorted(public(name) for name in found if not name.startswith("_") and name != _CONTRACT)


def _folders(package: str) -> list[str]:
    """Where the files of `package` are, without importing it or what it is in; one that is imported says so itself."""
    if package in sys.modules:
        return list(sys.modules[package].__path__)
    parent = package.rpartition(".")[0]
    spec = PathFinder.find_spec(package, _folders(parent) if parent else None)
    return list(spec.submodule_search_locations or []) if spec else []


def public(name: str) -> str:
    """The public name of a module: `gpt2_1p5b` is `gpt2-1.5b`."""
    return re.sub(r"(?<=\d)p(?=\d)", ".", name).replace("_", "-")


def get(package: str, name: str, part: str = "") -> ModuleType:
    """The module of `package` with that public name; ConfigError names the nearest when there is none.

    `part`: a module inside it, where the plug-in is a folder.
    """
    known = names(package)
    wanted = name.replace("_", "-")
    if wanted not in known:
        kind = package.rpartition(".")[2].removesuffix("s")
        raise unknown(kind, name, known)
    return importlib.import_module(_module(package, wanted) + (f".{part}" if part else ""))


def _module(package: str, name: str) -> str:
    return f"{package}.{name.replace('-', '_').replace('.', 'p')}"


def unknown(kind: str, name: str, known: list[str]) -> ConfigError:
    """The error for a name that is not among `known`, with the nearest ones."""
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else ""
    return ConfigError(
        f"there is no {kind} named {name!r}", f"one of {', '.join(known)}", hint, code="config.no_such_name"
    )


def summary(package: str, name: str) -> str:
    """The first line of the docstring of one of `names(package)`, read without importing it: lists are instant."""
    spec = PathFinder.find_spec(_module(package, name), _folders(package))
    assert spec
    assert spec.origin
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text("utf-8"))) or ""
    return docstring.partition("\n")[0]
