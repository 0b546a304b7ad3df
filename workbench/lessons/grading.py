"""Marks for a folder of submissions; nothing that was handed in is run."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workbench.foundation.errors import DataError, WorkbenchError
from workbench.lessons.challenges import CHALLENGES, score
from workbench.lessons.checking import EXERCISES, UNSOLVED, check
from workbench.lessons.submissions import Submission, collect

log = logging.getLogger(__name__)

RIGHT, WRONG, OPEN = "right", "wrong", "open"
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Marks:
    """What one student's answers are worth.

    Attributes:
        marks: "right", "wrong" or "open" by exercise.
        scores: final ones by challenge, as records.
        problems: what could not be read, a sentence each.
    """

    student: str
    marks: Mapping[str, str]
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problems: Sequence[str] = ()

    @property
    def points(self) -> int:
        """Exercises that are right."""
        return sum(mark == RIGHT for mark in self.marks.values())

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "points": self.points, "of": len(self.marks)}


def in_order(names: Sequence[str]) -> list[str]:
    """Ids in the order of lessons: "2.1" before "10.1"."""
    return sorted(names, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])


def exercises(lessons: Sequence[str] = ()) -> list[str]:
    """Ids of the exercises, of all lessons or of some ("3", "10")."""
    every = in_order(EXERCISES.names())
    return [name for name in every if not lessons or name.partition(".")[0] in lessons]


def grade(folder: Path, lessons: Sequence[str] = (), *, challenges: bool = False) -> list[Marks]:
    """Marks of every student in a folder, by name.

    Args:
        folder: with a subfolder or a file for each student.
        lessons: only these count; none: all.
        challenges: learn and judge the recipes that were chosen too, which takes its time.

    Raises:
        DataError: no folder, or nobody in it.
    """
    if not folder.is_dir():
        raise DataError(f"'{folder}' is no folder; give one with a subfolder for each student")
    found = collect(folder)
    if not found:
        raise DataError(f"nobody handed in anything in '{folder}'")
    return [_marks(each, exercises(lessons), challenges=challenges) for each in found]


def _marks(submission: Submission, names: Sequence[str], *, challenges: bool) -> Marks:
    problems = list(submission.problems)
    unknown = [name for name in submission.answers if name not in EXERCISES]
    problems += [f"there is no exercise '{name}'" for name in unknown]
    marks = {name: _mark(name, submission.answers.get(name)) for name in names}
    scores = _scores(submission, problems) if challenges else {}
    return Marks(submission.student, marks, scores, tuple(problems))


def _mark(name: str, answer: object) -> str:
    verdict = check(name, answer)
    if verdict:
        return RIGHT
    return OPEN if verdict.text == UNSOLVED else WRONG


def _scores(submission: Submission, problems: list[str]) -> dict[str, dict[str, Any]]:
    """Final scores of the recipes that were chosen."""
    found = {}
    for name, choice in submission.choices.items():
        if choice is None:
            continue
        try:
            found[name] = score(name, choice, final=True).record()
        except Exception as error:  # one choice does not end the marks of all
            log.warning("challenge %s", name, exc_info=not isinstance(error, WorkbenchError))
            problems.append(f"challenge {name}: {error}")
    return found


def leaders(every: Sequence[Marks]) -> dict[str, list[str]]:
    """Students by challenge, the best first; who is over the budget is not among them."""
    found = {}
    for name in CHALLENGES:
        held = [m for m in every if m.scores.get(name, {}).get("within")]
        ranked = sorted(held, key=lambda m: (-m.scores[name]["score"], m.scores[name]["bytes"]))
        found[name] = [m.student for m in ranked]
    return {name: students for name, students in found.items() if students}


def as_csv(every: Sequence[Marks]) -> str:
    """A row for each student; a name that a spreadsheet would take for a formula is quoted."""
    names = list(every[0].marks) if every else []
    held = in_order(sorted({name for each in every for name in each.scores}))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    challenges = [f"challenge {name}" for name in held]
    writer.writerow(["student", "points", "of", *names, *challenges, "problems"])
    for each in every:
        marks = [{RIGHT: "1", WRONG: "0"}.get(each.marks[name], "") for name in names]
        scores = [str(each.scores.get(name, {}).get("score", "")) for name in held]
        problems = "; ".join(each.problems)
        row = [each.student, each.points, len(names), *marks, *scores, problems]
        writer.writerow([_cell(value) for value in row])
    return stream.getvalue()


def _cell(value: object) -> str:
    text = str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
