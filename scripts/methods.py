"""The page of methods: `python -m scripts.methods` writes docs/methods.md anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from workbench.foundation.taxonomy import SIGNALS, STAGES
from workbench.session.frame import Known, frame, known

PAGE = Path(__file__).resolve().parents[1] / "docs" / "methods.md"

HEAD = """<!-- Written by `make methods`. -->
# What a recipe can name

`workbench methods NAME` shows one of them with its options. A *cell* joins the stage of the process
at which something acts and the signal that teaches it; the frame is that of Huang et al.,
*Learning-based Model Quantization: Methods, Challenges, and Prospects*
(DOI 10.7544/issn1000-1239.202660128).
"""


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([HEAD, *_matrix(), *_sections(known()), ""])


def _matrix() -> Iterator[str]:
    filled = {(cell.stage, cell.signal): cell for cell in frame()}
    yield "## Stages and learning signals\n"
    yield "In brackets: what the literature has and this project has not.\n"
    yield f"| | {' | '.join(name.replace('_', ' ') for name in SIGNALS)} |"
    yield "|---" * (len(SIGNALS) + 1) + "|"
    for stage in STAGES:
        cells = [filled.get((stage, signal)) for signal in SIGNALS]
        texts = [
            "" if cell is None else ", ".join(map(_code, cell.ours)) or f"({cell.published})"
            for cell in cells
        ]
        yield f"| **{stage}** | {' | '.join(texts)} |"
    yield ""


def _sections(entries: Iterable[Known]) -> Iterator[str]:
    for kind, group in groupby(entries, lambda entry: entry.kind):
        yield f"## {'Data makers' if kind == 'data' else kind.capitalize() + 's'}\n"
        for entry in group:
            yield from _entry(entry)


def _entry(entry: Known) -> Iterator[str]:
    yield f"### {entry.name}: {entry.title}\n"
    yield f"{entry.description} {entry.citation}\n".replace("  ", " ")
    for label, key in (("When", "use"), ("Data", "data"), ("Cost", "cost"), ("Cells", "cells")):
        yield f"- {label}: {_text(entry.facts.get(key, ''))}"
    if entry.options:
        yield "\n| option | default | what it is |\n|---|---|---|"
    for option in entry.options:
        yield f"| {_code(option['name'])} | {_text(option['default'])} | {option.get('help', '')} |"
    yield ""


def _text(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text.replace("|", "\\|")


def _code(name: str) -> str:
    return f"`{name}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
