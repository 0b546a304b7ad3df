"""The widgets without a browser: traits, messages, and what stands in for them elsewhere."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import traitlets

from workbench import widgets
from workbench.session.execute import Extent
from workbench.session.recipe import Recipe
from workbench.session.runs import Run
from workbench.session.session import Session
from workbench.session.session import open as open_session
from workbench.ui.gradio.recipe_form import Form
from workbench.ui.gradio.settings import Settings
from workbench.ui.gradio.workspace import Desk
from workbench.ui.widgets import LayersWidget, SignalsWidget
from workbench.ui.widgets.base import Pictured

EXTENT = Extent(naive=False, layer_examples=32, verify_examples=16, latency=False)


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory: pytest.TempPathFactory) -> Run:
    session = open_session(tiny.hostile, data=str(tiny.data))
    folder = tmp_path_factory.mktemp("widget") / "run"
    return session.quantize(weights=3, method="rtn", out=folder, extent=EXTENT)


@pytest.fixture(scope="module")
def other(tiny, tmp_path_factory: pytest.TempPathFactory) -> Run:
    session = open_session(tiny.hostile, data=str(tiny.data))
    folder = tmp_path_factory.mktemp("widget") / "other"
    return session.quantize(weights=2, method="gram", out=folder, extent=EXTENT)


@pytest.fixture
def session(tiny) -> Session:
    return open_session(tiny.model, data=str(tiny.data))


def trait(widget: Pictured, name: str = "_view") -> Any:
    return json.loads(getattr(widget, name))


def send(widget: Pictured, **message: Any) -> None:
    """What a browser would."""
    widget._received(widget, message, [])


def elsewhere(widget: Pictured) -> str:
    """What viewers without widgets show."""
    bundle = widget._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in data
    return data["text/html"]


def test_the_worst_layer_is_selected_first(run: Run):
    widget = LayersWidget(run)
    assert widget.selected == widget.names[0]
    assert trait(widget, "_table")["selected"] == widget.selected
    assert trait(widget, "_detail")["layer"] == widget.selected


def test_selection_from_python_changes_the_picture(run: Run):
    widget = LayersWidget(run)
    widget.selected = widget.names[2]
    assert trait(widget, "_detail")["layer"] == widget.names[2]
    assert trait(widget, "_table")["selected"] == widget.names[2]


def test_a_channel_and_exact_numbers_on_request(run: Run, monkeypatch: pytest.MonkeyPatch):
    widget = LayersWidget(run)
    widget._received(widget, {"kind": "channel", "channel": 1}, [])
    weights = trait(widget, "_detail")["weights"]
    assert weights["channel"] == 1
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(widget, "send", sent.append)
    question = {"kind": "clip", "id": 7, "site": weights["site"], "channel": 1}
    question |= {"scale": weights["scale"], "zero_point": 0}
    widget._received(widget, question, [])
    assert sent[0]["id"] == 7
    assert sent[0]["value"]["gain_db"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("granularity", ["tensor", "group"])
def test_channels_and_weights_of_shared_scales_are_looked_at(
    session: Session, tmp_path, granularity
):
    weights = {"bits": 4, "granularity": granularity}
    recipe = Recipe.model_validate(
        {"weights": weights, "activations": None, "stages": [{"method": "rtn"}]}
    )
    widget = LayersWidget(session.quantize(recipe=recipe, out=tmp_path / "run", extent=EXTENT))
    widget.selected = "head"
    send(widget, kind="channel", channel=3)
    send(widget, kind="weight", weight=3)
    found = trait(widget, "_detail")
    assert (found["weights"]["channel"], found["weights"]["channels"]) == (3, 4)
    assert not found["weights"]["draggable"]
    assert found["cells"]["weight"] == 3
    with pytest.raises(traitlets.TraitError, match="channels 0 to 3"):
        widget.channel = 4


def test_a_session_is_diagnosed_first(tiny):
    widget = LayersWidget(open_session(tiny.model, data=str(tiny.data)), weights=2)
    assert len(trait(widget, "_table")["rows"]) == 4
    assert trait(widget, "_detail")["weights"]["counts"]


def test_viewers_without_widgets_get_a_table_as_text(run: Run):
    html = elsewhere(LayersWidget(run))
    assert "<table>" in html
    assert "<img" not in html
    assert "&lt;img" in html


def test_signals_of_a_run_in_a_cell(run: Run):
    widget = SignalsWidget(run)
    (ranges,) = trait(widget, "_view")["units"]
    assert {site["name"] for site in ranges["sites"]} == set(ranged_sites(run))
    assert widget.concerns == []
    html = elsewhere(widget)
    assert run.name in html
    assert "<img" not in html


def ranged_sites(run: Run) -> list[str]:
    """Sites with a range of their own."""
    return [
        name for name, site in run.model.sites.items() if site.kind != "bias" and not site.shares
    ]


def test_the_graph_and_single_weights_come_on_demand(run: Run):
    widget = LayersWidget(run)
    assert trait(widget, "_table")["graph"] is None
    widget._received(widget, {"kind": "form", "form": "graph"}, [])
    graph = trait(widget, "_table")["graph"]
    assert sum(node["role"] == "layer" for node in graph["nodes"]) == 4
    widget._received(widget, {"kind": "fold", "block": graph["blocks"][0]["name"]}, [])
    assert trait(widget, "_table")["graph"]["blocks"][0]["open"] is False
    widget.selected = widget.names[0]
    widget._received(widget, {"kind": "channel", "channel": 1}, [])
    widget._received(widget, {"kind": "weight", "weight": 2}, [])
    cells = trait(widget, "_detail")["cells"]
    assert cells["weight"] == cells["detail"]["weight"] == 2


def test_a_layer_that_is_not_there_is_refused(run: Run):
    widget = LayersWidget(run)
    before = widget.selected
    with pytest.raises(traitlets.TraitError, match="no layer"):
        widget.selected = "nothing"
    with pytest.raises(traitlets.TraitError):
        widget.channel = 4_000
    send(widget, kind="measure", measure="beauty")
    assert widget.selected == before
    assert widget.channel is None
    assert widget.measure == trait(widget, "_table")["measure"] == "weights"


WRONG: list[Any] = [
    None, 7, "layer", [], {}, {"kind": None}, {"kind": ["layer"]}, {"kind": "no such kind"},
    {"kind": "layer"}, {"kind": "layer", "layer": 3}, {"kind": "layer", "layer": "nothing"},
    {"kind": "layer", "value": "nothing"}, {"kind": "layer", "layer": "x" * 10_000},
    {"kind": "channel"}, {"kind": "channel", "channel": "1"}, {"kind": "channel", "channel": -1},
    {"kind": "channel", "channel": 1e9}, {"kind": "channel", "channel": True},
    {"kind": "weight", "weight": 0},
    {"kind": "clip"}, {"kind": "clip", "site": "x", "scale": "wide", "zero_point": 0},
    {"kind": "clip", "site": "x", "scale": float("nan"), "zero_point": 0},
    {"kind": "bits", "value": 99}, {"kind": "bits", "value": "4"}, {"kind": "bits", "value": 3.5},
    {"kind": "tune", "layer": "stem", "key": "colour", "value": 1},
    {"kind": "tune", "layer": "stem", "key": "bits", "value": 0},
    {"kind": "tune", "layer": "stem", "key": "method", "value": "lsq"},
    {"kind": "untune"}, {"kind": "part", "part": "none"}, {"kind": "part", "part": None},
    {"kind": "compared", "run": 1}, {"kind": "compared", "run": "99"},
    {"kind": "choice", "choice": "point:99"}, {"kind": "use", "choice": None},
    {"kind": "site", "name": "nothing"}, {"kind": "cure", "cure": "prayer"}, {"kind": "cure"},
]  # fmt: skip


def test_messages_that_are_none_change_nothing(
    run: Run, other: Run, session: Session, monkeypatch: pytest.MonkeyPatch
):
    shown = [
        widgets.layers(run), widgets.graph(run), widgets.histogram(session, "stem"),
        widgets.tune(session, examples=32), widgets.signals(run), widgets.compare(run, other),
        widgets.verify(run, examples=16), widgets.pareto(session, points=2),
    ]  # fmt: skip
    for widget in shown:
        monkeypatch.setattr(widget, "send", lambda *_: None)
        before = {**widget.get_state(), "problem": ""}
        for message in WRONG:
            widget._received(widget, message, [])
            assert {**widget.get_state(), "problem": ""} == before, (type(widget), message)
    assert session.tuned == {}


def test_everything_has_a_picture_where_no_widget_runs(run: Run, other: Run, session: Session):
    session.tune("head", bits=2)
    told = {
        "<table": (widgets.layers(run), widgets.tune(session, examples=32),
                   widgets.compare(run, other), widgets.verify(run, examples=16)),
        "<svg": (widgets.graph(run), widgets.histogram(run), widgets.signals(other),
                 widgets.pareto(session, points=2)),
    }  # fmt: skip
    for mark, shown in told.items():
        for widget in shown:
            html = elsewhere(widget)
            assert mark in html, type(widget)
            assert "<img" not in html, type(widget)
            assert "<script" not in html.lower(), type(widget)


def test_a_grid_follows_the_hand_and_the_trait(session: Session, monkeypatch: pytest.MonkeyPatch):
    widget = widgets.histogram(session, "stem", bits=3)
    found = widget.exact
    assert found["gain_db"] == pytest.approx(0, abs=1e-6)
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(widget, "send", sent.append)
    send(widget, kind="clip", id="a-1", site="w0", channel=None, scale=0.5, zero_point=0)
    assert widget.clip == 0.5
    assert sent[0]["id"] == "a-1"
    assert sent[0]["value"] == widget.exact
    assert widget.exact["clipped"] > found["clipped"]
    dragged = trait(widget)["dragged"]
    assert dragged["scale"] == 0.5
    assert dragged["exact"]["sqnr_db"] == pytest.approx(widget.exact["sqnr_db"])
    send(widget, kind="reset")
    assert widget.clip == 1.0
    assert trait(widget)["dragged"] is None
    send(widget, kind="channel", channel=2)
    assert widget.channel == 2
    widget.bits = 8
    assert widget.exact["sqnr_db"] > 40
    send(widget, kind="layer", value="head")
    assert (widget.layer, widget.channel, trait(widget)["site"]) == ("head", None, "w3")
    with pytest.raises(traitlets.TraitError, match="headd"):
        widget.layer = "headd"


def test_a_run_shows_the_grid_that_it_learned(other: Run):
    widget = widgets.histogram(other)
    site = next(s for s in other.model.of_kind("weight") if s.layer == widget.layer)
    assert widget.bits == site.grid.bits
    with pytest.raises(traitlets.TraitError, match="bits"):
        widget.bits = 5


def test_what_is_tuned_by_hand_is_what_the_session_makes(
    session: Session, monkeypatch: pytest.MonkeyPatch
):
    widget = widgets.tune(session, examples=32)
    send(widget, kind="tune", layer="stem", key="bits", value=2)
    assert widget.tuned == {"stem": {"bits": 2}}
    assert session.what_if("stem", examples=32)[0].grid.startswith("int2")
    row = next(r for r in trait(widget)["rows"] if r["layer"] == "stem")
    assert (row["bits"], row["tuned"], row["tone"]) == (2, True, "bad")
    assert row["sqnr"] == f"{session.what_if('stem', examples=32)[0].sqnr_db:.1f}"
    widget.selected = "head"
    monkeypatch.setattr(widget, "send", lambda *_: None)
    send(widget, kind="clip", id="b-1", site="w3", channel=None, scale=0.7, zero_point=0)
    assert widget.tuned["head"] == {"method": "nearest", "share": 0.7}
    assert trait(widget, "_detail")["dragged"]["scale"] == 0.7
    recipe = session.recipe(4, 8, "rtn")
    assert [(o.pattern, o.weights) for o in recipe.overrides] == [("stem", 2)]
    assert recipe.stages[1].options["weight_share"] == 0.7
    widget.tuned = {"head": {"bits": 3, "method": "gram"}}
    assert set(session.tuned) == {"head"}
    with pytest.raises(traitlets.TraitError, match="headd"):
        widget.tuned = {"headd": {"bits": 3}}
    with pytest.raises(traitlets.TraitError, match="say what of it"):
        widget.tuned = {"head": 3}
    assert widget.tuned == {"head": {"bits": 3, "method": "gram"}}
    send(widget, kind="untune", layer="")
    assert session.tuned == {}
    session.tune("stem", bits=3)
    widget.refresh()
    assert widget.tuned == {"stem": {"bits": 3}}


def test_what_is_tuned_is_never_half_there(session: Session):
    """A cell that runs while a click is handled sees what was asked before it, or after it."""
    widget = widgets.tune(session, examples=32)
    wanted = [{"stem": {"bits": 2}, "head": {"bits": bits}} for bits in (3, 4)]
    widget.tuned = wanted[0]
    seen: set[int] = set()
    clicks = threading.Thread(target=lambda: [set_tuned(widget, wanted[k % 2]) for k in range(30)])
    clicks.start()
    while clicks.is_alive():
        seen.add(len(session.tuned))
    clicks.join()
    assert seen == {2}


def set_tuned(widget: Any, wanted: dict[str, Any]) -> None:
    widget.tuned = wanted


def test_changes_of_two_threads_all_reach_the_browser(
    session: Session, monkeypatch: pytest.MonkeyPatch
):
    widget = widgets.tune(session, examples=32)
    shown: dict[str, Any] = {}
    pristine = widget.send_state

    def slowly(key: Any = None) -> None:
        shown.update(widget.get_state(key))
        time.sleep(0.003)  # a socket that is busy
        pristine(key)

    monkeypatch.setitem(widget.__dict__, "send_state", slowly)
    missed: list[str] = []

    def look() -> None:
        with widget.turn:
            state = widget.get_state(("_view", "_detail", "tuned", "selected"))
            missed.extend(name for name, value in state.items() if shown[name] != value)

    def browse() -> None:
        for bits in 10 * (2, 3, 5, 7):
            handled(widget, {"kind": "tune", "layer": "stem", "key": "bits", "value": bits})
            look()

    widget.send_state()
    browser = threading.Thread(target=browse)
    browser.start()
    for name in 20 * ("head", "stem"):
        widget.selected = name
        look()
    browser.join()
    assert not missed
    assert json.loads(shown["_view"])["rows"][0]["bits"] == 7


def handled(widget: Any, message: dict[str, Any]) -> None:
    """As a message of Jupyter's."""
    data = {"method": "custom", "content": message}
    widget._handle_msg({"content": {"data": data}, "buffers": []})


def test_a_choice_of_bits_tunes_the_session(session: Session):
    widget = widgets.pareto(session, points=3)
    keys = [choice["key"] for choice in trait(widget)["choices"]]
    send(widget, kind="choice", choice=keys[0])
    assert widget.chosen == trait(widget)["chosen"] == keys[0]
    widget.chosen = "uniform:0"
    bits = widget.choice.bits
    send(widget, kind="use", choice="uniform:0")
    assert {name: each.bits for name, each in session.tuned.items()} == {
        widget.allocation.patterns[name]: width for name, width in bits.items()
    }
    assert session.recipe(4, 8).overrides
    with pytest.raises(traitlets.TraitError, match="no choice"):
        widget.chosen = "point:99"


def test_runs_are_put_in_and_taken_out_of_a_comparison(run: Run, other: Run):
    widget = widgets.compare(run, other, run.directory)
    assert len(trait(widget)["body"]["choices"]) == 3
    send(widget, kind="compared", run="2")
    assert widget.chosen == (0, 1)
    send(widget, kind="compared", run="1")
    assert widget.chosen == (0, 1)  # two stay
    for part in ("layers", "predictions", "asked"):
        send(widget, kind="part", part=part)
        assert widget.part == trait(widget)["chosen"] == part
    widget.chosen = (1, 2)
    with pytest.raises(traitlets.TraitError, match="two or more"):
        widget.chosen = (1,)


def test_a_file_is_verified_and_its_cures_are_priced(other: Run, tmp_path: Path):
    exported = other.export(tmp_path / "small.onnx")
    widget = widgets.verify(exported, examples=16)
    assert widget.ok
    assert trait(widget)["body"]["sentence"] == widget.verification.sentence()
    send(widget, kind="measure")
    assert widget.verification.price is not None
    assert trait(widget)["body"]["tables"][0]["rows"]
    send(widget, kind="cure", cure="7-bit")
    assert "writes no file" in widget.problem
    again = widgets.verify(tmp_path / "small.onnx", session=other.session, examples=16)
    assert again.ok


def test_signals_follow_a_job_and_find_it_again(session: Session, tmp_path: Path):
    recipe = session.recipe(3, 8, "gram")
    job = session.start(recipe, out=tmp_path / "job", extent=EXTENT)
    widget = widgets.signals(job)
    assert job.wait(240) == "done", job.run.message
    wait_until(lambda: widget.state == "done")
    assert widget.fraction == 1.0
    assert set(widget.names) >= {"stem", "head"}
    again = widgets.signals(tmp_path / "job")
    assert trait(again) == trait(widget)
    send(again, kind="site", name="head")
    assert again.selected == trait(again)["selected"] == "head"
    with pytest.raises(traitlets.TraitError, match="nothing"):
        again.selected = "nothing"
    widget.close()


def wait_until(found, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_one_folder_of_runs_serves_both_doors(tiny, session: Session, tmp_path: Path):
    model, data = str(tiny.model), str(tiny.data)
    desk = Desk(tmp_path, EXTENT, Settings(model=model, title="tiny", data=data))
    workspace = desk.workspace(None)
    session.tune("head", bits=3)
    session.quantize(2, 8, "rtn", out=workspace.directory / "runs" / "mine", extent=EXTENT)
    (seen,) = workspace.runs()
    assert (seen.name, seen.state) == ("mine", "done")
    assert [(o.pattern, o.weights) for o in seen.recipe.overrides] == [("head", 3)]
    workspace.update(form=Form.of(seen.recipe))  # as a click on it does
    assert workspace.recipe() == seen.recipe
    widget = widgets.signals(seen.directory)
    assert (widget.state, widget.fraction) == ("done", 1.0)
