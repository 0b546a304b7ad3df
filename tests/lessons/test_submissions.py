"""Submissions are read, never run, and one that is broken harms nobody else."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

import pytest

from workbench.lessons.submissions import (
    MOST_BYTES,
    MOST_CODE,
    Submission,
    UnreadableError,
    collect,
    literal,
    read,
)


def notebook(*cells: str) -> str:
    made = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    made.insert(0, {"cell_type": "markdown", "source": ['course.check("1.1", 7)']})
    return json.dumps({"cells": made, "nbformat": 4, "nbformat_minor": 5, "metadata": {}})


def of(path: Path, text: str) -> Submission:
    path.write_text(text, encoding="utf-8")
    found = Submission("ann")
    read(path, found)
    return found


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("32", 32),
        ("-0.5", -0.5),
        ("2**5 - 1", 31),
        ("20 * (3 + 1) / 4", 20.0),
        ("'both'", "both"),
        ("[1, (2, 3), {'a': None}]", [1, (2, 3), {"a": None}]),
        ("True", True),
    ],
)
def test_literals_and_arithmetic_are_values(code: str, value: object):
    assert literal(ast.parse(code, mode="eval").body) == value


@pytest.mark.parametrize(
    "code",
    [
        "__import__('os').system('touch pwned')",
        "open('x')",
        "x",
        "f'{1}'",
        "[i for i in range(9)]",
        "2**9**9",
        "10**65",
        "1 / 0",
        "'a' * 10**9",
        "[1] * 10**9",
        "True + 1",
        "1 << 99999999",
        f"0x{'f' * 2000} * 2",
        "*".join(["2**60"] * 80),
        "{**{}}",
    ],
)
def test_what_would_have_to_run_is_refused(code: str):
    with pytest.raises(UnreadableError):
        literal(ast.parse(code, mode="eval").body)


def test_a_notebook_gives_its_answers(tmp_path: Path):
    found = of(
        tmp_path / "a.ipynb",
        notebook(
            "%matplotlib inline\n!ls\nfrom workbench import course",
            "answer = 2**5\ncourse.check('1.1', answer)",
            "answer = None\nworkbench.course.check('1.2', answer)",
            "verdict = check('1.3', [0, 1])\ncourse.score('4', {'weights': 2, 'method': 'gram'})",
        ),
    )
    assert found.answers == {"1.1": 32, "1.2": None, "1.3": [0, 1]}
    assert found.choices == {"4": {"weights": 2, "method": "gram"}}
    assert not found.problems


def test_the_last_answer_counts_and_nothing_replaces_none(tmp_path: Path):
    code = "course.check('1.1', 1)\ncourse.check('1.1', 2)\ncourse.check('1.1', None)\n"
    assert of(tmp_path / "a.py", code).answers == {"1.1": 2}


@pytest.mark.parametrize(
    ("code", "answer", "problems"),
    [
        ("answer = 1\nanswer += 1\ncheck('1.2', answer)", None, 1),
        ("answer = None\nwith torch.no_grad():\n    answer = f(3)\ncheck('1.2', answer)", None, 1),
        ("answer = None\nanswer, other = 1, 2\ncheck('1.2', answer)", None, 1),
        ("for answer in (1, 2):\n    check('1.2', answer)", None, 1),
        ("answer: float = 3\ncheck('1.2', answer)", 3, 0),
        ("course.check('1.2', answer=32)", 32, 0),
        ("course.check('1.2')", None, 1),
    ],
)
def test_a_name_stands_for_what_it_was_given_last(
    tmp_path: Path, code: str, answer: object, problems: int
):
    found = of(tmp_path / "ann.py", code)
    assert found.answers.get("1.2") == answer
    assert len(found.problems) == problems, found.problems


def test_nothing_is_run(tmp_path: Path):
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w')\ncourse.check('1.1', open({str(mark)!r}, 'w'))\n"
    found = of(tmp_path / "a.py", code)
    assert not mark.exists()
    assert found.answers == {}
    assert "would have to be run" in found.problems[0]


def test_a_broken_cell_is_named_and_the_others_count(tmp_path: Path):
    found = of(
        tmp_path / "a.ipynb", notebook("course.check('1.1', (", "?help", "course.check('1.2', 3)")
    )
    assert found.answers == {"1.2": 3}
    assert "cell 0" in found.problems[0]


def test_json_holds_answers_and_scores(tmp_path: Path):
    found = of(tmp_path / "answers.json", json.dumps({"1.1": 32, "scores": {"4": {"weights": 2}}}))
    assert found.answers == {"1.1": 32}
    assert found.choices == {"4": {"weights": 2}}


def test_students_are_folders_and_files(tmp_path: Path):
    (tmp_path / "ann" / "week 1").mkdir(parents=True)
    (tmp_path / "ann" / "week 1" / "01.py").write_text("course.check('1.1', 1)")
    (tmp_path / "ann" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "ann" / ".ipynb_checkpoints" / "01.py").write_text("course.check('1.1', 2)")
    (tmp_path / "bob.json").write_text('{"1.1": 3}')
    (tmp_path / "readme.txt").write_text("no student")
    (tmp_path / "eve").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "ann")
    found = {each.student: each for each in collect(tmp_path)}
    assert set(found) == {"ann", "bob", "eve"}
    assert found["ann"].answers == {"1.1": 1}
    assert found["bob"].answers == {"1.1": 3}
    assert "nothing that ends in" in found["eve"].problems[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ipynb", b"{"),
        ("a.ipynb", b"[]"),
        ("a.ipynb", b'{"cells": 3}'),
        ("a.json", b"[1]"),
        ("a.json", b"[" * 100_000),
        ("a.json", b"\xff\xfe"),
        ("a.json", b" " * (MOST_BYTES + 1)),
        ("a.py", b"course.check('1.1', " + b"(" * 5000),
        ("a.py", b"course.check('1.1', " + b"-" * 100_000 + b"1)"),
        ("a.py", b"\x00"),
        ("a.py", b"course.check('1.1', 1)\n" + b"x.y;" * MOST_CODE),
    ],
)
def test_what_cannot_be_read_is_a_problem(tmp_path: Path, name: str, content: bytes):
    (tmp_path / "eve").mkdir()
    (tmp_path / "eve" / name).write_bytes(content)
    (tmp_path / "zoe.json").write_text('{"1.1": 3}')
    eve, zoe = collect(tmp_path)
    assert eve.problems
    assert not eve.answers
    assert zoe.answers == {"1.1": 3}


def test_a_pipe_is_no_submission(tmp_path: Path):
    (tmp_path / "eve").mkdir()
    os.mkfifo(tmp_path / "eve" / "a.py")
    os.mkfifo(tmp_path / "bob.py")
    (found,) = collect(tmp_path)
    assert found.problems
