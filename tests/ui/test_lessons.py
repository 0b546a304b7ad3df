"""The lessons in both doors: messages, traits, and what is left without JavaScript."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import traitlets

import workbench
from workbench.foundation.errors import RecipeError
from workbench.session.execute import Extent
from workbench.ui.gradio import lessons, survey
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


def test_a_demo_that_fails_says_so_below_it(monkeypatch: pytest.MonkeyPatch):
    widget = DemoWidget("number_line")
    shown = widget._view
    for stray in ({"kind": "list"}, {"kind": "open", "demo": "lsq"}, [], None):
        widget._received(widget, stray, [])
    assert (widget.name, widget._view) == ("number_line", shown)
    monkeypatch.setattr("workbench.ui.widgets.demo.view", lambda _: 1 / 0)
    widget._received(widget, {"kind": "set", "name": "bits", "value": 5}, [])
    assert "ZeroDivisionError" in widget.problem
    monkeypatch.undo()
    widget._received(widget, {"kind": "set", "name": "bits", "value": 4}, [])
    assert widget.problem == ""


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


def asked(desk: Desk, key: str, **message: Any) -> dict[str, Any]:
    found = survey.answer(desk, json.dumps({**message, "key": key}))
    assert found is not None
    return json.loads(found)


def test_the_maps_are_walked_and_asked(desk: Desk):
    workspace = desk.workspace(None)
    workspace.update(view="lessons")
    key = workspace.key
    found = asked(desk, key, kind="cell", cell="training/features")
    assert "kd" in {entry["name"] for entry in found["cell"]["methods"]}
    found = asked(desk, key, kind="method", of="method", name="kd")
    assert 'method = "kd"' in found["opened"]["recipe"]
    found = asked(desk, key, kind="ask", model="depthwise")
    assert found["advice"]["sample"] == "digits-mobilenet"
    for wrong in ({"kind": "cell", "cell": "a/b"}, {"kind": "ask", "model": "x"},
                  {"kind": "method", "of": "method", "name": "none"}):  # fmt: skip
        refused = asked(desk, key, **wrong)
        assert refused["problem"]
        assert refused["cell"] == found["cell"]
        assert refused["advice"] == found["advice"]
    assert Settings.from_record(workspace.settings.record()).survey == workspace.settings.survey


@pytest.mark.parametrize("message", [None, 3, "", "[", "[]", '{"key": 7}'])
def test_what_is_no_message_to_the_maps_is_left_alone(desk: Desk, message: object):
    assert survey.answer(desk, message) is None


def test_a_recipe_of_the_maps_is_opened_on_its_sample(desk: Desk):
    workspace = desk.workspace(None)
    asked(desk, workspace.key, kind="ask", constraint="w8a8")
    with pytest.raises(RecipeError, match="nothing"):
        survey.use(workspace, "opened")
    said = survey.use(workspace, "adviser")
    settings = workspace.settings
    assert settings.model in said
    assert (settings.view, settings.model) == ("layers", "digits-resnet")
    assert settings.form.recipe() == settings.survey.advice().recipe
    asked(desk, workspace.key, kind="method", of="transform", name="smooth")
    survey.use(workspace, "opened")
    assert workspace.settings.form.transforms == ("smooth",)


def test_the_maps_in_a_cell_follow_and_lead():
    widget = workbench.widgets.survey()
    widget._received(widget, {"kind": "cell", "cell": "range/task_loss"}, [])
    assert widget.cell == "range/task_loss"
    widget._received(widget, {"kind": "method", "of": "method", "name": "lsq"}, [])
    assert widget.opened is not None
    assert widget.opened.recipe.stages[0].method == "lsq"
    widget.constraint = "w2a2"
    assert json.loads(widget._view)["advice"]["constraint"] == "w2a2"
    before = widget.get_state()
    for message in ({"kind": "cell", "cell": "nowhere"}, {"kind": "cell"}, {"kind": "ask"},
                    {"kind": "ask", "colour": "red"},
                    {"kind": "ask", "data": 3}):  # fmt: skip
        widget._received(widget, message, [])
    assert widget.get_state() == before
    widget._received(widget, {"kind": "method", "of": "method", "name": "none"}, [])
    assert "none" in widget.problem
    with pytest.raises(traitlets.TraitError, match="known"):
        widget.model = "rnn"
    html = widget._repr_mimebundle_()[0]["text/html"]
    assert "qdrop" in html
    assert "<table" in html
