"""A model card (README.md) as data: its title, its first paragraph and the fields of its YAML head."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_HEAD = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


@dataclass(frozen=True)
class Card:
    """What a card says of a model; empty where it says nothing."""

    name: str = ""
    """The first heading."""
    description: str = ""
    """The first paragraph after it, on one line."""
    license: str = ""
    tags: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    base_models: tuple[str, ...] = ()
    """Hub ids of the models that this one was made from."""
    datasets: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What could not be read, for the user."""


def read_card(folder: Path) -> Card:
    """The card in a model's folder; without one, the folder's name alone. Needs PyYAML for its head."""
    path = folder / "README.md"
    if not path.is_file():
        return Card(name=folder.resolve().name)
    text = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
    match = _HEAD.match(text)
    body = text[match.end() :] if match else text
    fields, notes = _fields(match[1], path) if match else ({}, ())
    title = re.search(r"^# +(.+?) *#*$", body, re.MULTILINE)
    return Card(
        name=title[1] if title else folder.resolve().name,
        description=_first_paragraph(body[title.end() :] if title else body),
        license=" ".join(_strings(fields.get("license"))),
        tags=_strings(fields.get("tags")),
        languages=_strings(fields.get("language")),
        base_models=_strings(fields.get("base_model")),
        datasets=_strings(fields.get("datasets")),
        notes=notes,
    )


def _fields(head: str, path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    import yaml  # extra: export

    try:
        value = yaml.safe_load(head)
    except yaml.YAMLError as error:
        return {}, (f"the head of {path} is not YAML, so the card's fields are left out: {error}",)
    return (value, ()) if isinstance(value, dict) else ({}, ())


def _strings(value: Any) -> tuple[str, ...]:
    """One value or a list of them as strings; what is not plain text (a nested table) is left out."""
    values = value if isinstance(value, list) else [value]
    return tuple(str(item) for item in values if isinstance(item, str | int | float) and str(item).strip())


def _first_paragraph(body: str) -> str:
    for block in re.split(r"\n\s*\n", body):
        line = " ".join(block.split())
        if line and not line.startswith(("#", "```", "|", "![", "<!--")):
            return line
    return ""
