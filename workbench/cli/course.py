"""`course`: exercises and challenges, and marks for what students hand in."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli.console import AsJson, app, emit, output, say, show
from workbench.foundation.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.lessons.grading import Marks

SIGNS = {"right": "✓", "wrong": "✗", "open": "·"}
Lessons = Annotated[
    list[str] | None, typer.Option("--lesson", help="Only this one, such as 3; again for more.")
]
course = typer.Typer(help="Exercises of the course in notebooks/, and marks for submissions.")
app.add_typer(course, name="course")


@course.command(name="list")
def list_all(lesson: Lessons = None, as_json: AsJson = False) -> None:
    """Exercises and challenges, lesson by lesson."""
    from workbench.lessons.challenges import CHALLENGES
    from workbench.lessons.checking import EXERCISES
    from workbench.lessons.grading import exercises

    found = [EXERCISES[name] for name in exercises(lesson or ())]
    tasks = [c for c in CHALLENGES.values() if not lesson or c.name in lesson]
    if as_json:
        emit(
            {
                "exercises": [
                    {"id": e.name, "title": e.title, "task": e.description} for e in found
                ],
                "challenges": [
                    {"id": c.name, "model": c.model, "task": c.task, "bytes": c.most_bytes}
                    for c in tasks
                ],
            }
        )
        return
    show("Exercises", ("id", "title", "task"), [(e.name, e.title, e.description) for e in found])
    rows = [(c.name, c.model, f"{c.most_bytes:,}", c.task) for c in tasks]
    if rows:
        show("Challenges: best held-out score", ("lesson", "model", "bytes", "task"), rows)


@course.command(name="check")
def check_one(
    exercise: Annotated[str, typer.Argument(help="Such as 1.2.")],
    answer: Annotated[str, typer.Argument(help="A number, a word, or a list such as '[1, 2]'.")],
    as_json: AsJson = False,
) -> None:
    """Whether an answer is right; exit code 1 if not."""
    from workbench.lessons.checking import check

    verdict = check(exercise, _value(answer))
    if as_json:
        emit({"exercise": exercise, "right": verdict.right, "text": verdict.text})
    else:
        output.print(str(verdict), markup=False)
    if not verdict:
        raise typer.Exit(1)


@course.command()
def grade(
    folder: Annotated[Path, typer.Argument(help="With a subfolder or file for each student.")],
    lesson: Lessons = None,
    challenges: Annotated[
        bool, typer.Option("--challenges", help="Learn and judge chosen recipes too: minutes.")
    ] = False,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the marks there too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Marks for notebooks, answers.json or scripts; they are read, and never run."""
    from workbench.lessons.grading import as_csv, leaders
    from workbench.lessons.grading import grade as grade_all

    if csv is not None and not csv.parent.is_dir():
        raise RecipeError(f"--csv was '{csv}'; the folder '{csv.parent}' does not exist")
    found = grade_all(folder, lesson or (), challenges=challenges)
    if csv is not None:
        csv.write_text(as_csv(found), encoding="utf-8")
    if as_json:
        emit({"students": [each.record() for each in found], "leaders": leaders(found)})
        return
    _show_marks(found)
    for name, students in leaders(found).items():
        output.print(f"challenge {name}: {', '.join(students)}", markup=False)


def _show_marks(found: Sequence[Marks]) -> None:
    """A row for each student; below it what could not be read."""
    names = list(found[0].marks)
    rows = [
        (m.student, f"{m.points}/{len(names)}", " ".join(SIGNS[m.marks[n]] for n in names))
        for m in found
    ]
    show("", ("student", "points", f"{names[0]} to {names[-1]}" if names else ""), rows)
    for each in found:
        for problem in each.problems:
            say(f"! {each.student}: {problem}")


def _value(text: str) -> object:
    """A literal of Python, else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text
