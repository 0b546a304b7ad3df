"""Hostile and broken files, each made by a small function into a folder of its own.

A case says what is handed to the workbench (`open` a model, `data` for a small picture model,
`text` for one of bytes, a `recipe`, a `run` directory) and what must come of it: words of the
refusal, or None where the file has to open.
"""

from __future__ import annotations

from tests.hostile.corpus import data, files, graphs, places, recipes, runs
from tests.hostile.corpus.case import CASES, MARK, Case

__all__ = ["CASES", "MARK", "Case"]

_MODULES = (files, places, graphs, data, recipes, runs)  # importing them files their cases
