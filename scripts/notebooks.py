"""Write the course's notebooks from their sources: `python -m scripts.notebooks`.

The source of a lesson is a script in jupytext's percent format, which reviewers can read; its
notebook lies beside it, without outputs. `--check` writes nothing and names what differs.

An exercise is a cell that begins with `answer = None` and one that calls `course.check`; they get
the metadata by which nbgrader knows what students write and what gives a point.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
UNSOLVED = "answer = None"
CHECK = re.compile(r'course\.check\("([\d.]+)", answer')
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def sources(folder: Path = FOLDER) -> list[Path]:
    """The scripts that notebooks are made from: the index, then the course in order."""
    return [folder / "index.py", *sorted((folder / "course").glob("*.py"))]


def notebook(source: Path) -> str:
    """The notebook of a source, as JSON text that depends on the source alone."""
    found: Any = jupytext.read(source, fmt="py:percent")
    found.metadata = nbformat.from_dict(METADATA)
    found.nbformat, found.nbformat_minor = 4, 5
    for number, cell in enumerate(found.cells):
        cell["id"] = f"cell-{number:02d}"
        cell.source = cell.source.strip("\n")
        cell.metadata.pop("lines_to_next_cell", None)
        checked = CHECK.match(cell.source)
        if checked and found.cells[number - 1].source.startswith(UNSOLVED):
            name = checked[1].replace(".", "-")
            found.cells[number - 1].metadata["nbgrader"] = _graded(f"answer-{name}", solution=True)
            cell.metadata["nbgrader"] = _graded(f"check-{name}", solution=False)
    nbformat.validate(found)
    return nbformat.writes(found) + "\n"


def _graded(name: str, *, solution: bool) -> dict[str, Any]:
    """nbgrader's metadata: what a student fills in, or a locked cell that gives the point."""
    facts = {"grade": not solution, "solution": solution, "locked": not solution, "task": False}
    points = {} if solution else {"points": 1}
    return {"grade_id": name, "schema_version": 3, **facts, **points}


def differing(folder: Path = FOLDER) -> Iterator[Path]:
    """Notebooks that are missing, differ from their source, or have none."""
    expected = {path.with_suffix(".ipynb"): path for path in sources(folder)}
    for target, source in expected.items():
        if not target.exists() or target.read_text(encoding="utf-8") != notebook(source):
            yield target
    yield from (path for path in (folder / "course").glob("*.ipynb") if path not in expected)


def main() -> int:
    """Write or check; the exit code."""
    parser = argparse.ArgumentParser(description="Write notebooks from their sources.")
    parser.add_argument("--check", action="store_true", help="write nothing, name what differs")
    if parser.parse_args().check:
        found = list(differing())
        for path in found:
            sys.stdout.write(
                f"{path.relative_to(ROOT)} is not as its source; run: make notebooks\n"
            )
        return 1 if found else 0
    for source in sources():
        source.with_suffix(".ipynb").write_text(notebook(source), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
