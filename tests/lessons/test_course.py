"""The course holds together: notebooks as their sources, exercises in their lessons, an index."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from scripts.notebooks import FOLDER, differing, notebook, sources
from workbench import widgets
from workbench.lessons.challenges import CHALLENGES
from workbench.lessons.grading import exercises
from workbench.lessons.registry import DEMOS

LESSONS = [path for path in sources() if path.stem[:2].isdigit()]
EVERY = [path for path in sources() if path.parent.name == "course"]
MOST_LINES = 400

each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def number(path: Path) -> str:
    return str(int(path.stem[:2]))


def cells(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]


def test_notebooks_are_as_their_sources():
    assert not [path.name for path in differing()], "run: make notebooks"


def test_a_source_makes_one_notebook():
    path = LESSONS[0]
    assert notebook(path) == notebook(path)
    made = json.loads(notebook(path))
    assert {cell["cell_type"] for cell in made["cells"]} == {"markdown", "code"}
    assert not any(cell.get("outputs") for cell in made["cells"])


def test_a_notebook_that_was_changed_is_named(tmp_path: Path):
    (tmp_path / "course").mkdir()
    source = tmp_path / "index.py"
    source.write_text("# %%\n1 + 1\n", encoding="utf-8")
    assert list(differing(tmp_path)) == [tmp_path / "index.ipynb"]
    (tmp_path / "index.ipynb").write_text(notebook(source), encoding="utf-8")
    assert not list(differing(tmp_path))
    (tmp_path / "course" / "stray.ipynb").write_text("{}", encoding="utf-8")
    assert [path.name for path in differing(tmp_path)] == ["stray.ipynb"]


def test_there_are_fourteen_lessons_and_two_capstones():
    assert [number(path) for path in LESSONS] == [str(n) for n in range(1, 15)]
    assert len(EVERY) == 16


@each_lesson
def test_a_lesson_has_its_parts(path: Path):
    text = path.read_text(encoding="utf-8")
    assert re.search(rf"^# # Lesson {number(path)}: ", text, re.MULTILINE)
    for part in ("**You will be able to**", "**You need**", "## Exercises", "## What to remember"):
        assert part in text, part
    assert len(re.findall(r"^\s*assert ", text, re.MULTILINE)) >= 5
    assert len(text.splitlines()) <= MOST_LINES


@each_lesson
def test_a_lesson_has_its_exercises(path: Path):
    text = path.read_text(encoding="utf-8")
    asked = re.findall(r'^course\.check\("([\d.]+)", answer\)$', text, re.MULTILINE)
    assert asked == exercises([number(path)])
    assert len(asked) >= 3
    assert re.findall(r"^# \*\*([\d.]+)\*\* ", text, re.MULTILINE) == asked
    scored = re.findall(r'course\.score\("(\d+)"', text)
    assert scored == ([number(path)] if number(path) in CHALLENGES else [])


@each_lesson
def test_nbgrader_finds_answers_and_points(path: Path):
    found = [cell["metadata"]["nbgrader"] for cell in cells(path) if cell["metadata"]]
    answers = [facts["grade_id"] for facts in found if facts["solution"]]
    tests = [facts for facts in found if facts["grade"]]
    names = [name.replace(".", "-") for name in exercises([number(path)])]
    assert answers == [f"answer-{name}" for name in names]
    assert [facts["grade_id"] for facts in tests] == [f"check-{name}" for name in names]
    assert all(facts["locked"] and facts["points"] == 1 for facts in tests)


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_demos_that_are_called_exist(path: Path):
    called = re.findall(r"^demo\.(\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(called) <= set(DEMOS.names())


@pytest.mark.parametrize("path", [*sources(), FOLDER / "TEACHING.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path):
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s#]+)\)", text):
        if not link.startswith("http"):
            assert (path.parent / link).is_file(), link


def test_the_index_leads_to_every_notebook():
    linked = re.findall(r"\]\(([^)\s]+\.ipynb)\)", (FOLDER / "index.py").read_text("utf-8"))
    every = [path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.ipynb")]
    every = [path for path in every if ".ipynb_checkpoints" not in path]
    assert set(linked) == set(every) - {"index.ipynb"}


def test_the_index_names_every_widget():
    text = (FOLDER / "index.py").read_text("utf-8")
    functions = [name for name in widgets.__all__ if name.islower()]
    assert [name for name in functions if f"widgets.{name}(" not in text] == []


def test_the_lab_opens_on_the_index(call: Any, monkeypatch: pytest.MonkeyPatch):
    started: list[list[str]] = []
    monkeypatch.setattr("workbench.cli.doors.os.execv", lambda _, command: started.append(command))
    assert call("lab")[0] == 0
    assert started[0][-2:] == ["lab", str(FOLDER / "index.ipynb")]
    assert "jupyter lab notebooks/index.ipynb" in (FOLDER.parent / "Makefile").read_text("utf-8")
