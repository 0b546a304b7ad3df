"""The languages that pages can be shown in, one file of `languages` each.

The text of the sources is English and is the key; a catalogue says what stands for it, and
`js/language.js` puts it there. A key with holes is a template: `{n}`, one letter, takes a number,
`{name}` or `{name2}` anything as it is, and what any other hole takes is translated too.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

ENGLISH = "en"


@dataclass(frozen=True)
class Language:
    """A catalogue.

    Attributes:
        code: what its file is called, and what browsers ask for; name: in its own words.
        tag: of `<html lang>`.
        texts: English -> this language.
    """

    code: str
    name: str
    tag: str
    texts: Mapping[str, str]


@cache
def languages() -> tuple[Language, ...]:
    """All catalogues, by their code; English needs none."""
    folder = resources.files("workbench.views") / "languages"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=str)
    return tuple(_read(file.name[:-5], file.read_text(encoding="utf-8")) for file in files)


def catalogues() -> str:
    """All of them as JSON text that can stand inside a page: `{code: {name, tag, texts}}`."""
    found = {
        each.code: {"name": each.name, "tag": each.tag, "texts": dict(each.texts)}
        for each in languages()
    }
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _read(code: str, text: str) -> Language:
    """One catalogue; its texts may be grouped in tables, whose names are for its writers only."""
    record = tomllib.loads(text)
    texts = {key: said for table in record["texts"].values() for key, said in table.items()}
    return Language(code, record["name"], record["tag"], MappingProxyType(texts))
