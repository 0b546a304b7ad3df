"""Marks: right, wrong, open; tables and CSV; challenges are learned and judged here."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workbench.foundation.errors import DataError, RecipeError
from workbench.lessons import challenges
from workbench.lessons.challenges import CHALLENGES, Score, packed_bytes, score
from workbench.lessons.grading import as_csv, exercises, grade, leaders


@pytest.fixture
def handed_in(tmp_path: Path) -> Path:
    folder = tmp_path / "handed-in"
    (folder / "ann").mkdir(parents=True)
    (folder / "ann" / "01.py").write_text("answer = 2**5\ncourse.check('1.1', answer)\n")
    (folder / "=bob.json").write_text('{"1.1": 31, "99.9": 1}')
    (folder / "eve").mkdir()
    (folder / "eve" / "a.ipynb").write_text("{")
    return folder


def test_right_wrong_and_open(handed_in: Path):
    bob, ann, eve = grade(handed_in, ["1"])
    assert (bob.student, bob.marks["1.1"], bob.points) == ("=bob", "wrong", 0)
    assert "there is no exercise '99.9'" in bob.problems
    assert (ann.marks["1.1"], ann.points) == ("right", 1)
    assert set(eve.marks.values()) == {"open"}
    assert "no JSON" in eve.problems[0]


def test_lessons_come_in_order():
    names = exercises()
    assert names == sorted(names, key=lambda name: tuple(map(int, name.split("."))))
    assert exercises(["1"]) == [name for name in names if name.startswith("1.")]


def test_a_folder_without_students_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="nobody"):
        grade(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        grade(tmp_path / "missing")


def test_csv_holds_a_row_for_each_and_no_formula(handed_in: Path):
    rows = list(csv.DictReader(io.StringIO(as_csv(grade(handed_in, ["1"])))))
    assert [row["student"] for row in rows] == ["'=bob", "ann", "eve"]
    assert [row["1.1"] for row in rows] == ["0", "1", ""]


def test_the_command_prints_a_table_json_and_csv(
    handed_in: Path, tmp_path: Path, call: Callable[..., Any]
):
    code, shown, said = call("course", "grade", handed_in, "--csv", tmp_path / "marks.csv")
    assert code == 0, said
    assert "ann" in shown
    assert "eve: a.ipynb" in said
    assert (tmp_path / "marks.csv").read_text().startswith("student,points")
    code, shown, said = call("course", "grade", handed_in, "--json")
    found = {each["student"]: each for each in json.loads(shown)["students"]}
    assert found["ann"]["marks"]["1.1"] == "right"
    assert call("course", "grade", tmp_path / "missing")[0] == 2


def test_the_command_lists_and_checks(call: Callable[..., Any]):
    code, shown, _ = call("course", "list", "--json")
    assert code == 0
    listed = json.loads(shown)
    assert [each["id"] for each in listed["exercises"]] == exercises()
    assert {each["id"] for each in listed["challenges"]} == set(CHALLENGES)
    assert call("course", "check", "1.1", "32")[0] == 0
    code, shown, _ = call("course", "check", "1.1", "31", "--json")
    assert code == 1
    assert json.loads(shown)["right"] is False
    assert call("course", "check", "99.9", "1")[0] == 2


# --- challenges -----------------------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch):
    """A challenge on few examples."""
    made = replace(CHALLENGES["4"], given={**challenges.ALIKE, "calibration_examples": 16})
    monkeypatch.setitem(CHALLENGES, "4", made)
    monkeypatch.setattr(challenges, "HELD_OUT", 64)


@pytest.mark.usefixtures("few")
def test_the_same_choice_has_the_same_score():
    choice = {"weights": 2, "method": "rtn"}
    shown, again, final = score("4", choice), score("4", choice), score("4", choice, final=True)
    assert (shown.score, shown.bytes) == (again.score, again.bytes)
    assert shown.within
    assert not shown.final
    assert final.final
    assert final.bytes == shown.bytes
    assert "challenge 4" in shown._repr_html_()


@pytest.mark.usefixtures("few")
def test_more_bits_do_not_fit():
    found = score("4", {"weights": 8, "method": "rtn"})
    assert not found.within
    assert "does not count" in str(found)


def test_within_comes_first_then_score_then_bytes():
    def made(top: float, size: int) -> Score:
        return Score("4", top, 98.0, size, 100, 1.0, final=False)

    best = max([made(99, 101), made(90, 100), made(91, 100), made(91, 99)], key=lambda s: s.rank)
    assert (best.score, best.bytes) == (91, 99)


@pytest.mark.usefixtures("few")
def test_what_is_given_cannot_be_changed():
    with pytest.raises(RecipeError, match="'seed' is given"):
        score("4", {"seed": 3})
    with pytest.raises(RecipeError, match="'teacher' is given"):
        score("4", {"method": "kd", "teacher": "/etc/passwd"})
    for nonsense in (None, 3, {"method": "nonsense"}, {"stages": []}, {"weights": "many"}):
        with pytest.raises(RecipeError):
            score("4", nonsense)
    with pytest.raises(RecipeError, match="challenge 'nine'"):
        score("nine", {})


@pytest.mark.usefixtures("few")
def test_what_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(CHALLENGES, "4", replace(CHALLENGES["4"], seconds=0.0))
    with pytest.raises(RecipeError, match="takes longer"):
        score("4", {"method": "adaround"})


def test_a_float_weight_counts_four_bytes():
    opened = challenges.session("digits-resnet")
    from workbench.session.execute import build

    packed = {
        bits: packed_bytes(build(opened, opened.recipe(weights=bits, method="rtn", edges=None), {}))
        for bits in (2, 4)
    }
    weights = sum(p.numel() for n, p in opened.model.named_parameters() if n.endswith("weight"))
    assert packed[4] - packed[2] == pytest.approx(weights / 4, abs=10)
    override = [{"pattern": "stem", "weights": 0}]
    kept = build(opened, opened.recipe(weights=4, method="rtn", edges=None, overrides=override), {})
    stem = opened.model.get_parameter("stem_weight")
    grown = 4 * stem.numel() - (stem.numel() // 2 + 4 * stem.shape[0])
    assert packed_bytes(kept) - packed[4] == grown


@pytest.mark.usefixtures("few")
def test_recipes_are_graded_on_the_other_half(tmp_path: Path):
    good = '{"scores": {"4": {"weights": 2, "method": "rtn"}}}'
    (tmp_path / "ann.json").write_text(good)
    (tmp_path / "bob.json").write_text('{"scores": {"4": {"weights": 8, "method": "rtn"}}}')
    (tmp_path / "eve.json").write_text('{"scores": {"4": {"method": "nonsense"}, "x": {}}}')
    found = grade(tmp_path, challenges=True)
    assert found[0].scores["4"]["final"]
    assert leaders(found) == {"4": ["ann"]}
    assert len(found[2].problems) == 2
    assert "challenge 4" in as_csv(found).splitlines()[0]
