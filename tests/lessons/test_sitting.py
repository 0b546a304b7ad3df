"""What the browser sends changes a sitting, and nothing else does."""

from __future__ import annotations

import pytest

from workbench.lessons.sitting import Sitting
from workbench.views.lesson import view

OPEN = {"kind": "open", "demo": "number_line"}


def after(*messages: dict) -> Sitting:
    found = Sitting()
    for message in messages:
        found = found.after(message)
    return found


def test_a_demo_is_opened_and_left():
    assert after(OPEN).demo == "number_line"
    assert after(OPEN, {"kind": "list"}) == Sitting()
    assert [topic["title"] for topic in view(Sitting())["topics"]][:2] == ["Grids", "Ranges"]


def test_controls_change_options_and_keep_only_what_differs():
    found = after(OPEN, {"kind": "set", "name": "bits", "value": 5})
    assert found.options == {"bits": 5}
    assert found.after({"kind": "set", "name": "bits", "value": 3}).options == {}
    assert found.after({"kind": "reset"}).options == {}


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "set", "name": "bits", "value": 99},
        {"kind": "set", "name": "bits", "value": None},
        {"kind": "set", "name": "__class__", "value": 1},
        {"kind": "open", "demo": "../../secret"},
        {"kind": "guess", "value": "no such level"},
        {"kind": "guess", "value": {"a": 1}},
        {"kind": "toggle", "name": "bits", "value": [1]},
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(message: dict):
    before = after(OPEN)
    found = before.after(message)
    assert found.problem
    assert (found.demo, found.options, found.revealed) == ("number_line", {}, False)
    assert view(found)["problem"] == found.problem


@pytest.mark.parametrize("message", [{}, {"kind": 3}, {"kind": "set"}, {"kind": "toggle"}])
def test_nonsense_is_harmless(message: dict):
    assert after(OPEN).after(message).demo == "number_line"
    assert Sitting().after(message).demo == ""


def test_a_guess_reveals_and_is_judged_for_the_present_options():
    right = after(OPEN, {"kind": "guess", "value": "code 5: 0.1429"})
    assert view(right)["question"]["right"] is True
    wrong = after(OPEN, {"kind": "guess", "value": "code 0: -0.2143"})
    question = view(wrong)["question"]
    assert question["right"] is False
    assert question["answer"] == "code 5: 0.1429"
    assert after(OPEN, {"kind": "reveal"}).revealed
    assert not wrong.after({"kind": "again"}).revealed


def test_records_survive_and_damaged_ones_are_forgotten():
    found = after(OPEN, {"kind": "set", "name": "bits", "value": 5}, {"kind": "reveal"})
    assert Sitting.from_record(found.record()) == found
    assert Sitting.from_record({"demo": "gone", "options": {}}) == Sitting()
    assert Sitting.from_record({"demo": "number_line", "options": {"bits": 99}}) == Sitting()
    assert Sitting.from_record({"unknown": 1}) == Sitting()
