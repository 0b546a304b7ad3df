"""The lessons in both doors: messages, traits, and what is left without JavaScript."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import workbench
from workbench.foundation.errors import RecipeError
from workbench.session.execute import Extent
from workbench.ui.gradio import lessons
from workbench.ui.gradio.settings import Settings
from workbench.ui.gradio.workspace import Desk
from workbench.ui.widgets import DemoWidget


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, Extent(), Settings())


def told(desk: Desk, key: str | None, **message: Any) -> dict[str, Any]:
    found = lessons.answer(desk, json.dumps({**message, "key": key}))
    assert found is not None
    return json.loads(found)


def test_a_page_keeps_its_own_place(desk: Desk):
    mine, other = desk.workspace(None).key, desk.workspace(None).key
    for key in (mine, other):
        desk.workspace(key).update(view="lessons")
    told(desk, mine, kind="open", demo="number_line")
    told(desk, mine, kind="set", name="bits", value=5)
    reopened = lessons.view(desk.workspace(mine))
    assert {c["name"]: c["value"] for c in reopened["controls"]}["bits"] == 5
    assert lessons.view(desk.workspace(other))["topics"]


@pytest.mark.parametrize(
    "message", [None, 3, "", "[", "[]", '{"key": 7}', '{"kind": "' + "x" * 5000 + '"}']
)
def test_what_is_no_message_is_left_alone(desk: Desk, message: object):
    assert lessons.answer(desk, message) is None


def test_the_widget_follows_and_leads():
    widget = workbench.demo.number_line(bits=4)
    assert widget.options == {"bits": 4}
    widget._received(widget, {"kind": "set", "name": "bits", "value": 5}, [])
    assert widget.options == {"bits": 5}
    widget.options = {"value": 0.2}
    shown = json.loads(widget._view)
    assert {c["name"]: c["value"] for c in shown["controls"]}["value"] == 0.2
    assert widget.right is None
    widget.guess = widget.answer
    assert widget.right is True
    assert json.loads(widget._view)["revealed"]
    widget.guess = None
    assert not json.loads(widget._view)["revealed"]


def test_the_widget_refuses_what_cannot_be():
    widget = DemoWidget("number_line")
    with pytest.raises(RecipeError):
        widget.options = {"bits": 99}
    with pytest.raises(RecipeError):
        widget.guess = "no level"
    assert (widget.options, widget.guess) == ({}, None)
    with pytest.raises(AttributeError, match="there is no demo 'nothing'"):
        workbench.demo.nothing  # noqa: B018


@pytest.mark.parametrize("name", dir(workbench.demo))
def test_a_picture_is_left_without_javascript(name: str):
    widget = DemoWidget(name)
    before = _html(widget)
    widget.reveal()
    after = _html(widget)
    assert "Answer:" not in before
    assert "Answer:" in after
    assert after.count("<svg") + after.count("<table") > 1
    assert "NaN" not in after
    assert len(after) < 300_000


def _html(widget: DemoWidget) -> str:
    found = widget._repr_mimebundle_()
    data = found[0] if isinstance(found, tuple) else found
    return data["text/html"]
