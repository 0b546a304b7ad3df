"""From a layer that suffers to its cause, a cure and the proof: wiring, and once in a browser."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import Served
from workbench.foundation.errors import RecipeError, RunError
from workbench.session import whys
from workbench.session.execute import Extent
from workbench.session.runs import Run
from workbench.session.studies import Study
from workbench.ui.gradio import cures, screen
from workbench.ui.gradio.recipe_form import Form
from workbench.ui.gradio.settings import Settings
from workbench.ui.gradio.workspace import Desk, Workspace
from workbench.views import strings

FEW = Extent(naive=False, latency=False, verify=False, examples=32, layer_examples=16)
PATIENCE = 120_000


@pytest.fixture
def workspace(tiny, tmp_path: Path) -> Workspace:
    """A page on the tiny model, whose form asks for 2 bits."""
    first = Settings(str(tiny.model), "tiny", str(tiny.data), Form(2, 8, 0, "rtn"))
    return Desk(tmp_path / "app", FEW, first).workspace("a" * 32)


def why(workspace: Workspace) -> dict:
    return screen.screen(workspace)["why"]


def test_before_there_is_a_run_the_panel_waits(workspace: Workspace) -> None:
    assert why(workspace)["message"] == strings.WHY_WAITING
    for action in (cures.measure, lambda w: cures.look(w, "stem")):
        with pytest.raises(RunError, match="no finished run"):
            action(workspace)
    assert not cures.busy(workspace)


def test_states_of_a_layer_whose_causes_are_not_known(workspace: Workspace, shown: Run) -> None:
    assert why(workspace)["progress"]["text"] == f"{strings.WHY_BUSY}…"
    assert cures.busy(workspace)
    study = Study(shown.directory, "causes")
    study.place.mkdir(exist_ok=True)
    (study.place / "causes.json").write_text('{"error": "no memory"}')
    assert why(workspace)["message"] == "no memory"
    assert not cures.busy(workspace)
    (study.place / "causes.json").write_text('{"record": {"left": []}}')
    assert why(workspace)["actions"][0]["send"]["kind"] == "look"


def test_what_the_browser_sends_is_checked(workspace: Workspace, shown: Run) -> None:
    with pytest.raises(RunError, match="not known here"):
        cures.apply(workspace, "stem", 1)
    whys.look(shown.directory, lambda *_: None)
    layer = why(workspace)["layer"]
    with pytest.raises(RecipeError, match="cure was 99"):
        cures.apply(workspace, layer, 99)
    workspace.update(cure="../../x", adopted=False)
    assert why(workspace)["trial"] is None


@pytest.mark.slow
def test_a_cure_is_a_job_that_outlives_its_page_and_is_taken_over(
    workspace: Workspace, shown: Run
) -> None:
    whys.look(shown.directory, lambda *_: None)
    workspace.update(layer="blocks.0.project")
    panel = why(workspace)
    json.dumps(panel, allow_nan=False)
    best = next(
        c for each in panel["causes"] for c in each["cures"] if "8 bits for '" in c["words"]
    )
    cures.apply(workspace, panel["layer"], best["send"]["number"])
    assert cures.active(workspace)
    assert why(workspace)["trial"]["actions"][0]["send"] == {"kind": "stop"}
    assert all(c["disabled"] for each in why(workspace)["causes"] for c in each["cures"])
    with pytest.raises(RunError, match="is being tried already"):
        cures.automatic(workspace, None, None)

    again = Desk(workspace.desk.root, FEW).workspace(workspace.key)  # the server was restarted
    remedy = cures._remedy(again)
    assert remedy is not None
    assert remedy.study.wait(240) == "done", remedy.study.message
    assert cures.busy(again)
    assert cures.settle(again)
    assert not cures.settle(again)
    assert again.chosen() is not None
    assert "weights = 8" in again.settings.form.more
    trial = why(again)["trial"]
    assert (trial["state"], trial["tone"]) == ("kept", "good")
    assert {row["label"] for row in trial["rows"]} >= {strings.PROOF_WEIGHTS, strings.PROOF_TOTAL}
    assert "8 bit for" in screen.hints(again)["exceptions"]["text"]
    cures.back(again)
    assert again.settings.run == "one"
    assert again.settings.form == Form.of(shown.recipe)
    assert why(again)["trial"] is None


@pytest.mark.slow
def test_a_cure_that_is_stopped_leaves_nothing(workspace: Workspace, shown: Run) -> None:
    cures.automatic(workspace, 0.0, None)
    assert cures.active(workspace)
    cures.stop(workspace)
    assert not cures.active(workspace)
    assert [run.name for run in workspace.runs()] == ["one"]
    assert workspace.settings.cure == ""


def opened(page: Page, served: Served) -> None:
    page.set_default_timeout(PATIENCE)
    page.goto(served.url)
    expect(page.locator("#wb-layers .wb-list .wb-row")).to_have_count(4, timeout=PATIENCE)
    page.wait_for_function("localStorage.getItem('workbench-key') !== null")
    expect(page.locator("#wb-download-model")).to_be_enabled(timeout=PATIENCE)


@pytest.mark.browser
@pytest.mark.slow
def test_layers_and_network_follow_the_measure_and_sort(page: Page, served: Served) -> None:
    opened(page, served)
    layers = page.locator("#wb-layers")
    expect(layers.locator(".wb-measures")).to_have_value("damage", timeout=PATIENCE)
    expect(page.locator("#wb-inspector")).to_contain_text(
        "Damage along the network", timeout=PATIENCE
    )
    layers.locator(".wb-measures").select_option("bytes")
    expect(page.locator("#wb-inspector")).to_contain_text(
        "Bytes along the network", timeout=PATIENCE
    )
    expect(page.locator("#wb-inspector .wb-network-bar")).to_have_count(4, timeout=PATIENCE)
    expect(layers.locator(".wb-row[data-name]").first).to_have_attribute(
        "data-name", "blocks.0.project", timeout=PATIENCE
    )
    sort = layers.locator("[data-sort=network]")
    sort.focus()
    page.keyboard.press("Enter")
    expect(layers.locator(".wb-row[data-name]").first).to_have_attribute(
        "data-name", "stem", timeout=PATIENCE
    )
    expect(layers.locator("[data-sort=network]")).to_be_focused(timeout=PATIENCE)
    page.keyboard.press("Enter")
    expect(layers.locator(".wb-row[data-name]").first).to_have_attribute(
        "data-name", "head", timeout=PATIENCE
    )
    page.reload()
    expect(layers.locator(".wb-measures")).to_have_value("bytes", timeout=PATIENCE)


@pytest.mark.browser
@pytest.mark.slow
def test_from_the_worst_layer_to_a_proved_cure(page: Page, served: Served, watch) -> None:
    opened(page, served)
    page.locator("#wb-layers .wb-list").press("Home")
    panel = page.locator("#wb-why")
    expect(panel.locator(".wb-cause").first).to_be_visible(timeout=PATIENCE)
    expect(panel.locator(".wb-share").first).to_contain_text("%", timeout=PATIENCE)
    cure = panel.locator(".wb-cure", has_text="8 bits for '").first
    expect(cure).to_contain_text("damage", timeout=PATIENCE)
    cure.focus()
    page.keyboard.press("Enter")
    trial = panel.locator(".wb-trial")
    expect(trial).to_be_visible(timeout=PATIENCE)
    expect(trial.get_by_role("button", name="Stop")).to_be_visible(timeout=PATIENCE)
    page.reload()
    expect(trial).to_be_visible(timeout=PATIENCE)
    expect(trial).to_have_attribute("data-state", "kept", timeout=PATIENCE)
    expect(trial.get_by_role("button", name="Undo")).to_be_visible(timeout=PATIENCE)
    for label in ("score", "KL to float", "its weights", "size of weights"):
        expect(trial.locator(".wb-proof")).to_contain_text(label, timeout=PATIENCE)
    expect(page.locator("#wb-exceptions")).to_contain_text("8 bit for", timeout=PATIENCE)
    expect(page.locator("#wb-runs tbody tr")).to_have_count(2, timeout=PATIENCE)
    if shot := os.environ.get("WORKBENCH_SCREENSHOT"):
        page.screenshot(path=shot)
    trial.get_by_role("button", name="Undo").click()
    expect(trial).not_to_be_visible(timeout=PATIENCE)
    expect(page.locator("#wb-exceptions")).not_to_be_visible(timeout=PATIENCE)
    cut_off = ("AbortError", "Connection errored out")  # what the reload did, no fault of the page
    kept = [text for text in watch.console_errors if not any(word in text for word in cut_off)]
    watch.console_errors[:] = kept
    watch.assert_clean()


@pytest.mark.browser
@pytest.mark.slow
def test_an_automatic_cure_is_stopped(page: Page, served: Served) -> None:
    opened(page, served)
    page.locator("#wb-why .wb-auto-button").click()
    trial = page.locator("#wb-why .wb-trial")
    trial.get_by_role("button", name="Stop").click()
    expect(trial).not_to_be_visible(timeout=PATIENCE)
    expect(page.locator("#wb-why .wb-auto-button")).to_be_enabled(timeout=PATIENCE)
    expect(page.locator("#wb-run")).to_be_enabled(timeout=PATIENCE)
