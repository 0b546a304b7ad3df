"""The compare view: which runs, which parts, pictures of flipped examples; once in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from workbench.session.execute import Extent
from workbench.session.runs import Run
from workbench.session.session import open as open_session
from workbench.session.store import Checkpoint
from workbench.ui.gradio import compare
from workbench.ui.gradio.recipe_form import Form
from workbench.ui.gradio.settings import Settings
from workbench.ui.gradio.workspace import Desk, Workspace

FEW = Extent(naive=False, layer_examples=16, latency=False, verify=False)
PATIENCE = 60_000


@pytest.fixture(scope="module")
def workspace(tiny, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A page with three finished runs of the tiny model: 8, 3 and 2 bits."""
    root: Path = tmp_path_factory.mktemp("compared")
    first = Settings(str(tiny.model), "tiny", str(tiny.data), view="compare")
    page = Desk(root, FEW, first).workspace("b" * 32)
    for bits in (8, 3, 2):
        session = page.desk.session(page.settings)
        recipe = Form(bits, 8, 8, "rtn", {}, "ort-cpu-vnni").recipe()
        run = session.quantize(recipe=recipe, out=page.directory / "runs" / f"w{bits}", extent=FEW)
    flip(run)
    return page


def flip(run: Run) -> None:
    """Let a run take three examples for the next class: so small a model answers as it did."""
    found = dict(Checkpoint.read(run.files.predictions) or {})
    found["onnxruntime"] = found["onnxruntime"].clone()
    found["onnxruntime"][:3] = (found["onnxruntime"][:3] + 1) % 4
    Checkpoint(run.files.predictions, "").save(found, 0)


def body(workspace: Workspace, part: str) -> dict:
    workspace.update(compare_part=part)
    return compare.view(workspace)["body"]


def test_the_oldest_is_the_base_and_each_can_be_left_out(workspace: Workspace) -> None:
    workspace.update(compared=())
    assert [c["label"][0] for c in body(workspace, "asked")["choices"]] == ["A", "B", "C"]
    compare.toggle(workspace, "w3")
    assert workspace.settings.compared == ("w8", "w2")
    assert [c["chosen"] for c in body(workspace, "asked")["choices"]] == [True, False, True]
    compare.toggle(workspace, "no-such-run")
    compare.toggle(workspace, "w3")
    assert set(workspace.settings.compared) == {"w8", "w3", "w2"}


def test_scores_stand_against_size_and_only_what_differs_is_listed(workspace: Workspace) -> None:
    workspace.update(compared=())
    found = body(workspace, "asked")
    assert {table["title"] for table in found["tables"]} == {"Asked", "Scores in ONNX Runtime"}
    keys = [row["cells"][0] for row in found["tables"][0]["rows"]]
    assert "weights.bits" in keys
    assert "target" not in keys
    assert [p["label"] for p in found["charts"][0]["points"]] == ["A", "B", "C"]


def test_layers_are_lines_over_each_other(workspace: Workspace) -> None:
    workspace.update(compared=())
    charts = body(workspace, "layers")["charts"]
    assert charts[0]["names"] == ["stem", "blocks.0.depthwise", "blocks.0.project", "head"]
    first, last = charts[0]["series"][0]["values"][-1], charts[0]["series"][2]["values"][-1]
    assert first > last  # dB of 8 bits against 2


def test_flipped_examples_have_their_pictures(workspace: Workspace) -> None:
    workspace.update(compared=())
    tables = body(workspace, "predictions")["tables"]
    flips = [table for table in tables if table["title"].startswith("Flipped")]
    assert len(flips) == 1
    assert [row["cells"][1] for row in flips[-1]["rows"]] == ["0", "1", "2"]
    for row in flips[-1]["rows"]:
        assert row["cells"][0]["picture"].startswith("data:image/png")


def test_one_run_alone_says_what_to_do(workspace: Workspace) -> None:
    workspace.update(compared=("w8",))
    found = body(workspace, "asked")
    assert "Choose two runs" in found["message"]
    assert not found["tables"]


@pytest.mark.browser
@pytest.mark.slow
def test_two_runs_in_a_browser(page: Page, served, tiny, watch) -> None:
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.goto(served.url)
    expect(page.locator("#wb-layers .wb-list .wb-row")).to_have_count(4, timeout=PATIENCE)
    page.wait_for_function("localStorage.getItem('workbench-key') !== null")
    page.locator("#wb-view label").filter(has_text="Compare").click()
    expect(page.locator("#wb-compared")).to_contain_text("nothing to be compared with")
    (user,) = served.root.glob("users/*")
    session = open_session(str(tiny.model), data=str(tiny.data), name="tiny")
    recipe = Form(2, 8, 8, "rtn", {}, "ort-cpu-vnni").recipe()
    flip(session.quantize(recipe=recipe, out=user / "runs" / "two", extent=FEW))
    page.reload()
    expect(page.locator("#wb-compared .wb-choice-chip[aria-pressed=true]")).to_have_count(2)
    expect(page.locator("#wb-compared .wb-chart circle").first).to_be_visible()
    page.locator("#wb-compared [data-key=predictions]").click()
    expect(page.locator("#wb-compared .wb-pictured img").first).to_be_visible()
    page.locator("#wb-compared [data-key=layers]").click()
    expect(page.locator("#wb-compared .wb-chart-line")).to_have_count(4)
    page.locator("#wb-compared .wb-chart svg").first.click(position={"x": 90, "y": 60})
    expect(page.locator("#wb-inspector")).to_contain_text("stem")
    cut_off = ("AbortError", "Connection errored out")  # what the reload did
    kept = [text for text in watch.console_errors if not any(word in text for word in cut_off)]
    watch.console_errors[:] = kept
