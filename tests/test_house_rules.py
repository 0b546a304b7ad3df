"""Rules of the house that no linter has."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST_FUNCTION = 50
SOURCES = sorted((ROOT / "workbench").rglob("*.py")) + sorted((ROOT / "scripts").glob("*.py"))
PAPERS = [path for path in SOURCES if path.parent.name in {"methods", "quantizers"}]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_fit_on_a_screen(path: Path):
    long = [
        f"{node.name} has {lines} lines"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert not long, f"split these ({LONGEST_FUNCTION} lines at most): {long}"


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_methods_and_quantizers_say_what_they_are(path: Path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
