"""What travels between page and server: only what changed, and nothing that a stranger made up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from workbench.ui.gradio import sessions
from workbench.ui.gradio.app import build
from workbench.ui.gradio.downloads import served as served_file
from workbench.ui.gradio.settings import Settings
from workbench.ui.gradio.wire import (
    AT,
    BUSY,
    MORE,
    Packer,
    Pages,
    had,
    parsed,
    values_of,
)
from workbench.ui.gradio.workspace import Desk


class Part:
    """Stands for a component."""

    def __init__(self, name: str = "") -> None:
        self.elem_id = name


LAYERS, WHY, RUN, FORM = Part("layers"), Part("why"), Part(), Part()


@pytest.fixture
def packer() -> Packer:
    return Packer([LAYERS, WHY], [RUN, FORM])


def test_pictures_travel_only_when_they_changed(packer: Packer) -> None:
    first = json.loads(packer.news({LAYERS: '{"a":1}', WHY: "{}", BUSY: True}, {}))
    assert first["busy"] is True
    assert {name: text for name, (_, text, _) in first["pictures"].items()} == {
        "layers": '{"a":1}',
        "why": "{}",
    }
    has = {name: version for name, (version, _, _) in first["pictures"].items()}
    second = json.loads(packer.news({LAYERS: '{"a":2}', WHY: "{}"}, has))
    assert list(second["pictures"]) == ["layers"]
    assert second["at"] >= first["at"]


def test_parts_go_by_their_place_and_others_are_left_alone(packer: Packer) -> None:
    updates = {FORM: 4, RUN: gr.update(interactive=False), Part(): "of another page", MORE: True}
    news = json.loads(packer.news(updates, {}))
    parts = {place: properties for place, (properties, _) in news["parts"].items()}
    assert parts == {"1": {"value": 4}, "0": {"interactive": False}}
    assert news["more"] is True


def test_hostile_text_stays_text(packer: Packer) -> None:
    assert "<" not in packer.news({LAYERS: "</script><script>"}, {})


def test_the_last_of_several_updates_holds_all_before_it(packer: Packer) -> None:
    def handler(key: str) -> Iterator[dict[Any, Any]]:
        yield {LAYERS: key}
        yield {WHY: "later"}

    news = [json.loads(text) for text in packer.packed(handler, [])("k", "{}")]
    assert set(news[0]["pictures"]) == {"layers"}
    assert set(news[1]["pictures"]) == {"layers", "why"}


def test_what_was_seen_first_stays_as_old_as_it_is(packer: Packer) -> None:
    """Else it would overwrite what another answer brought meanwhile."""

    def handler(key: str) -> Iterator[dict[Any, Any]]:
        yield {LAYERS: key, FORM: 3, AT: 1000}
        yield {WHY: "later", AT: 2000}

    last = [json.loads(text) for text in packer.packed(handler, [])("k", "{}")][-1]
    assert {name: at for name, (_, _, at) in last["pictures"].items()} == {
        "layers": 1000,
        "why": 2000,
    }
    assert last["parts"]["1"] == [{"value": 3}, 1000]
    assert last["at"] == 2000


def test_what_was_shown_meanwhile_is_taken_back(packer: Packer) -> None:
    """A picture that ends as it began was another one in between."""

    def handler(key: str) -> Iterator[dict[Any, Any]]:
        yield {LAYERS: "checking", WHY: key}
        yield {LAYERS: "cards"}

    first = json.loads(packer.news({LAYERS: "cards", WHY: "k"}, {}))
    has = {name: version for name, (version, _, _) in first["pictures"].items()}
    have = json.dumps({"seen": "", "has": has})
    news = [json.loads(text) for text in packer.packed(handler, [])("k", have)]
    assert [each["pictures"]["layers"][1] for each in news] == ["checking", "cards"]


def test_what_gradio_fills_in_comes_first(packer: Packer) -> None:
    def handler(key: str, event: gr.EventData) -> dict[Any, Any]:
        return {LAYERS: f"{key} {event}"}

    news = json.loads(packer.packed(handler, [])("happened", "k", "{}"))
    assert news["pictures"]["layers"][1] == "k happened"


@pytest.mark.parametrize(
    "text", [None, 3, "", "[", "[]", "null", '"x"', "x" * 70_000, "[" * 4000, ["a"]]
)
def test_what_a_stranger_says_is_as_if_not_said(text: object) -> None:
    assert parsed(text) == {}
    assert had(text) == ("", {})


def test_versions_that_are_none_are_dropped() -> None:
    said = '{"seen": 3, "has": {"layers": "v", "why": 1}}'
    assert had(said) == ("", {"layers": "v"})
    assert had('{"has": [1]}') == ("", {})


@pytest.mark.parametrize("text", [None, "", "{}", "3", "[", "[" * 9000, "x" * 2_000_000])
def test_values_that_are_none_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r".*"):
        values_of(text)


def test_many_pages_ask_less_often_each() -> None:
    pages = Pages()
    assert pages.pause("a") == pages.pause("a") == 700
    pauses = [pages.pause(str(number)) for number in range(40)]
    assert pauses[-1] == 41 * 50


def test_a_file_is_copied_once_under_a_name_that_needs_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    file = tmp_path / "model.onnx"
    file.write_bytes(b"one")
    mine, again = served_file(file, "a" * 32, "run"), served_file(file, "a" * 32, "run")
    assert mine == again
    assert Path(mine["path"]).read_bytes() == b"one"
    assert "a" * 32 not in mine["path"]
    assert served_file(file, "b" * 32, "run")["path"] != mine["path"]
    file.write_bytes(b"another")
    assert Path(served_file(file, "a" * 32, "run")["path"]).read_bytes() == b"another"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> gr.Blocks:
    return build(tmp_path_factory.mktemp("wire"), model=str(tiny.model), data=str(tiny.data))


def test_events_stay_light(demo: gr.Blocks) -> None:
    """Each output that the server fills costs it a new component, each input a thread."""
    asked = [fn for fn in demo.fns.values() if fn.fn is not None and fn.api_visibility == "private"]
    assert len(asked) > 20
    assert max(len(fn.outputs) for fn in asked) <= 2
    assert max(len(fn.inputs) for fn in asked) <= 3


def test_tabs_share_what_no_event_has_replaced(demo: gr.Blocks) -> None:
    from gradio.state_holder import SessionState

    one, other = SessionState(demo), SessionState(demo)
    number = next(
        n for n, block in demo.blocks.items() if getattr(block, "elem_id", "") == "wb-more"
    )
    one._update_value_in_config(number, "mine")
    assert one.config_values[number]["props"]["value"] == "mine"
    assert other.config_values[number]["props"].get("value") != "mine"
    label = one.config_values[number]["props"]["label"]
    assert label is other.config_values[number]["props"]["label"]


def test_a_closed_tab_leaves_nothing(demo: gr.Blocks) -> None:
    from gradio.state_holder import StateHolder

    holder = StateHolder()
    holder.set_blocks(demo)
    _ = holder["tab"]
    unload = next(fn for fn in demo.fns.values() if any(t[1] == "unload" for t in fn.targets))
    assert unload.fn is not None
    unload.fn(SimpleNamespace(session_hash="tab"))
    assert "tab" not in holder
    assert sessions.CAPACITY < 10_000


def test_changes_at_the_same_time_do_not_undo_each_other(tiny, tmp_path: Path) -> None:
    first = Settings(str(tiny.model), "tiny", str(tiny.data))
    desk = Desk(tmp_path, None, first)
    key = "d" * 32

    def change(name: str) -> None:
        for number in range(24):
            desk.workspace(key).update(**{name: str(number)})

    names = ("layer", "measure", "title", "part")
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(change, names))
    now = desk.workspace(key).settings
    assert [getattr(now, name) for name in names] == ["23"] * len(names)
