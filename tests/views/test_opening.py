"""Where work begins, as view-models: cards, what is on screen, things to try."""

from __future__ import annotations

import json
from typing import Any

import pytest

from workbench.session import zoo
from workbench.views import opening, strings

CARD = {
    "task": "digits", "parameters": 99_674, "bytes": 441_941, "licence": "Apache-2.0",
    "score": {"metric": "top-1", "value": 98.17, "unit": "%", "n": 3000},
    "rtn": {"W3A8": 95.3}, "gram": {"W3A8": 98.0},
}  # fmt: skip
MODEL = {"name": "one", "title": "One", "card": CARD, "own_data": True, "absent": ()}
LARGER = {
    "name": "two", "title": "Two, 22.7 M parameters (extra 'zoo')", "own_data": False,
    "card": {"parameters": 22_700_000, "task": "sentences"}, "absent": ("transformers",),
}  # fmt: skip
OPENED = {
    "name": "one", "from": "your file", "layers": 1, "parameters": 812,
    "inputs": [{"name": "<b>", "shape": ["batch", "8"], "type": "float32"}],
}  # fmt: skip
DATA = {
    "kind": "given", "name": "x.npz", "about": "", "calibration": 80, "test": 1200,
    "labels": "classes", "replaces": False,
}  # fmt: skip


def card(model: dict[str, Any], current: str = "") -> dict[str, Any]:
    (group,) = opening.cards([model], current)["groups"]
    return group["cards"][0]


def test_a_card_says_what_a_sample_is_and_what_learning_brings() -> None:
    found = card(MODEL, "one")
    assert [fact["value"] for fact in found["facts"]] == ["98.2 %", "99.7 k", "442 kB"]
    assert found["facts"][0]["help"] == "top-1 on 3,000 held-out examples"
    assert found["learning"] == "at 3 bits 95.3 → 98.0 %"
    assert found["task"] == strings.OPEN_TASKS["digits"]
    assert found["current"]
    assert not found["absent"]


def test_a_card_without_score_or_file_says_so() -> None:
    found = card(LARGER)
    assert [fact["value"] for fact in found["facts"]] == ["–", "22.7 M", "90.8 MB"]
    assert found["facts"][0]["help"] == strings.OPEN_NO_SCORE
    assert "float32" in found["facts"][2]["help"]
    assert found["title"] == "Two"
    assert found["learning"] == ""


def test_a_card_whose_packages_are_missing_cannot_be_opened_and_says_the_cure() -> None:
    found = card(LARGER)
    assert found["absent"] == "not installed: make zoo"
    assert "transformers" in found["tip"]


def test_models_that_bring_data_come_first() -> None:
    view = opening.cards([LARGER, MODEL], "", waiting="Opening…")
    assert [[c["name"] for c in group["cards"]] for group in view["groups"]] == [["one"], ["two"]]
    assert view["waiting"] == "Opening…"


def test_every_known_model_has_a_card() -> None:
    models = [
        {"name": k.name, "title": k.title, "card": k.card, "own_data": k.data, "absent": ()}
        for k in zoo.known().values()
    ]
    view = json.loads(json.dumps(opening.cards(models, "bytegpt"), allow_nan=False))
    cards = [c for group in view["groups"] for c in group["cards"]]
    assert {c["name"] for c in cards} == set(zoo.known())
    assert all(c["title"] and c["task"] and len(c["facts"]) == 3 for c in cards)
    assert not any("(extra" in c["title"] or "parameters" in c["title"] for c in cards)


def test_what_is_on_screen_is_told_with_its_examples() -> None:
    view = opening.loaded(OPENED, DATA)
    rows = {row["label"]: row["value"] for row in view["rows"]}
    assert rows["takes"] == "<b> (batch, 8) float32"
    assert rows["has"] == "1 layer with weights"
    assert rows["examples"] == "80 calibrate, 1,200 others judge"
    assert rows["labels"] == "yes, a class for each"
    assert view["note"] == ""
    assert view["actions"] == [{"label": strings.OPEN_USE_NONE, "send": {"kind": "data"}}]


def test_own_data_can_be_had_back() -> None:
    assert opening.loaded(OPENED, DATA | {"replaces": True})["actions"][0]["label"] == (
        strings.OPEN_USE_OWN
    )
    own = opening.loaded(OPENED, DATA | {"kind": "own", "about": "digits"})
    assert own["actions"] == []
    assert {"label": "data", "value": strings.OPEN_OWN, "more": "digits"} in own["rows"]


@pytest.mark.parametrize(
    ("data", "tone", "words"),
    [
        (DATA | {"labels": "none"}, "plain", "no score"),
        ({"kind": "none", "maker": "ZeroQ"}, "warn", "(ZeroQ)"),
        ({"problem": "it has 3 channels"}, "bad", "3 channels"),
    ],
)
def test_what_data_lack_is_said_in_words(data: dict[str, Any], tone: str, words: str) -> None:
    view = opening.loaded(OPENED, data)
    assert view["tone"] == tone
    assert words in view["note"]
    assert len(view["rows"]) >= 3


def test_a_model_that_cannot_be_opened_is_one_sentence() -> None:
    view = opening.loaded({"problem": "it is gone"}, {})
    assert (view["rows"], view["note"], view["tone"]) == ([], "it is gone", "bad")


def test_things_to_try_say_why_they_cannot_be_yet() -> None:
    states = ("done", "running", "blocked")
    steps = [{"name": n, "state": s} for n, s in zip(strings.TRIES, states, strict=True)]
    view = opening.tries(steps)
    assert [step["number"] for step in view["steps"]] == [1, 2, 3]
    assert [step["words"] for step in view["steps"]] == ["done", "being made", ""]
    assert view["steps"][2]["tip"] == strings.TRIES["compare"][2]
