"""The export view: wiring of records, studies, cures and restored files, and once in a browser."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from playwright.sync_api import Page, expect

from workbench.foundation.errors import ExportError, RunError
from workbench.session.execute import Extent
from workbench.session.jobs import Job
from workbench.session.runs import Run
from workbench.session.session import open as open_session
from workbench.session.store import write_json
from workbench.ui.gradio import export
from workbench.ui.gradio.recipe_form import Form
from workbench.ui.gradio.settings import Settings
from workbench.ui.gradio.workspace import Desk, Workspace

FEW = Extent(naive=False, layers=False, latency=False, examples=32, verify_examples=8)
PATIENCE = 60_000


@pytest.fixture
def workspace(tiny, tmp_path: Path) -> Workspace:
    """A page on the tiny model, whose form asks for 8 bits where sums may saturate."""
    form = Form(8, 8, 8, "rtn", {}, "ort-cpu-vnni")
    first = Settings(str(tiny.model), "tiny", str(tiny.data), form, view="export")
    return Desk(tmp_path / "app", FEW, first).workspace("a" * 32)


def test_coverage_follows_the_form(workspace: Workspace):
    seen = export.view(workspace)
    assert seen["parts"][0]["status"] == "9 of 9 nodes on integers"
    workspace.update(form=Form(8, 0, 8, "rtn"))
    assert export.view(workspace)["parts"][0]["status"] == "0 of 9 nodes on integers"
    workspace.update(form=Form(target="tensorrt"))
    assert "not 4" in export.view(workspace)["body"]["message"]


def test_without_a_run_there_is_nothing_to_measure(workspace: Workspace):
    for part in ("verification", "speed"):
        workspace.update(part=part)
        assert "no finished run" in export.view(workspace)["body"]["message"]
    for kind in ("prices", "times"):
        with pytest.raises(RunError, match="no finished run"):
            export.measure(workspace, kind)


@pytest.mark.parametrize("kind", ["rm", None, 3, ["times"], {}, "machine; x"])
def test_unknown_studies_are_refused(workspace: Workspace, kind: object):
    with pytest.raises(RunError):
        export.measure(workspace, kind)


def test_an_unknown_part_shows_the_first(workspace: Workspace):
    workspace.update(part="../..")
    assert export.view(workspace)["chosen"] == "coverage"


def test_a_cure_writes_a_file_that_onnx_can_read(workspace: Workspace, shown: Run):
    with pytest.raises(ExportError, match="measure the cures first"):
        export.cure(workspace, "7-bit")
    study = workspace.study("prices")
    assert study is not None
    study.make()
    record = study.record()
    assert record is not None
    # which layers saturate depends on the processor, so they are named here
    about = {"name": "7-bit", "words": "", "config": {}, "layers": ["stem", "blocks.0.project"]}
    cure = {**about, "price": record["price"]}
    write_json(study.place / "prices.json", {"record": {**record, "cures": [cure]}})
    workspace.update(part="verification")
    drawn = json.dumps(export.view(workspace))
    assert '"kind": "cure", "cure": "7-bit"' in drawn
    path = export.cure(workspace, "7-bit")
    onnx.checker.check_model(onnx.load(path))
    assert export.cured(workspace) == path
    assert shown.files.model.read_bytes() != path.read_bytes()
    with pytest.raises(ExportError):
        export.cure(workspace, "../7-bit")


@pytest.mark.slow
def test_a_file_we_exported_becomes_a_run_of_its_model(workspace: Workspace, shown: Run):
    words = workspace.open_model(shown.files.model)
    assert "W8A8 rtn" in words
    settings = workspace.settings
    assert settings.title == "tiny"
    assert settings.form == Form.of(shown.recipe)
    chosen = workspace.chosen()
    assert chosen is not None
    assert Job(chosen.directory).wait(120) == "done", chosen.message
    assert chosen.files.model.read_bytes() == shown.files.model.read_bytes()


@pytest.mark.slow
def test_a_file_whose_model_is_not_at_hand_waits_for_data(
    workspace: Workspace, shown: Run, tiny, tmp_path: Path
):
    other = Desk(tmp_path / "other", FEW).workspace("b" * 32)
    assert "give data" in other.open_model(shown.files.model)
    assert other.chosen() is None
    assert "stand for it" in other.open_data(tiny.data)
    chosen = other.chosen()
    assert chosen is not None
    assert Job(chosen.directory).wait(120) == "done", chosen.message
    assert open_session(chosen.files.model).about()["file"]["scores"]


def opened(page: Page, served) -> None:
    page.set_default_timeout(PATIENCE)
    page.goto(served.url)
    expect(page.locator("#wb-layers .wb-list .wb-row")).to_have_count(4, timeout=PATIENCE)
    page.wait_for_function("localStorage.getItem('workbench-key') !== null")
    page.locator("#wb-view label").filter(has_text="Export").click()


def part(page: Page, key: str) -> None:
    page.locator(f"#wb-export [data-key={key}]").click()
    expect(page.locator(f"#wb-export [data-key={key}]")).to_have_attribute("aria-selected", "true")


@pytest.mark.browser
@pytest.mark.slow
def test_from_coverage_to_times_in_a_browser(page: Page, served, watch):
    opened(page, served)
    rows = page.locator("#wb-export tbody tr")
    expect(rows).to_have_count(9)
    expect(page.locator("#wb-layers")).not_to_be_visible()
    page.locator("#wb-export").get_by_role("button", name="float only").click()
    expect(rows).not_to_have_count(9)
    part(page, "verification")
    expect(page.locator("#wb-export")).to_contain_text("Steps by tensor")
    part(page, "speed")
    page.get_by_role("button", name="Measure by node").click()
    expect(page.locator("#wb-export .wb-waiting")).to_be_visible()
    expect(page.get_by_role("button", name="Measure again")).to_be_visible(timeout=PATIENCE)
    assert rows.count() > 9
    part(page, "machine")
    expect(page.locator("#wb-export")).to_contain_text("VNNI")
    page.locator("#wb-target input").click()
    page.get_by_role("option", name="tensorrt").click()
    expect(page.locator("#wb-refusal")).to_contain_text("not 4")
    expect(page.locator("#wb-run")).to_be_disabled()
    page.locator("#wb-weights label", has_text="8").click()
    expect(page.locator("#wb-run")).to_be_enabled()
    page.reload()
    expect(page.locator("#wb-export")).to_contain_text("VNNI")
    expect(page.locator("#wb-layers")).not_to_be_visible()
    cut_off = ("AbortError", "Connection errored out")  # what the reload did, no fault of the page
    kept = [text for text in watch.console_errors if not any(word in text for word in cut_off)]
    watch.console_errors[:] = kept


@pytest.mark.browser
@pytest.mark.slow
def test_hostile_names_are_text_here_too(page: Page, served, tiny):
    opened(page, served)
    expect(page.locator("#wb-export tbody tr")).to_have_count(9)
    page.locator("#wb-uploads input[type=file]").first.set_input_files(tiny.hostile)
    for name in tiny.names:
        expect(page.locator("#wb-export .wb-name").get_by_text(name[:9]).first).to_be_visible()
    assert page.evaluate("window.hit") is None
    assert page.locator("#wb-main img").count() == 0
