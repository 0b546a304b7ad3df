"""The bits view: measured once, chosen with a slider, put into the recipe; once in a browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from workbench.foundation.errors import RunError
from workbench.session.execute import Extent
from workbench.session.studies import Study
from workbench.ui.gradio import bits
from workbench.ui.gradio.recipe_form import Form
from workbench.ui.gradio.settings import Settings
from workbench.ui.gradio.workspace import Desk, Workspace

FEW = Extent(naive=False, layer_examples=16, latency=False, verify=False)
PATIENCE = 60_000


@pytest.fixture(scope="module")
def workspace(tiny, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A page with a finished run of the tiny model whose layers have been measured."""
    first = Settings(str(tiny.model), "tiny", str(tiny.data), view="bits")
    page = Desk(tmp_path_factory.mktemp("bits"), FEW, first).workspace("c" * 32)
    assert "no finished run" in bits.view(page)["message"]
    with pytest.raises(RunError, match="no finished run"):
        bits.measure(page)
    session = page.desk.session(page.settings)
    recipe = Form(4, 8, 8, "rtn", {}, "ort-cpu-vnni").recipe()
    run = session.quantize(recipe=recipe, out=page.directory / "runs" / "one", extent=FEW)
    page.update(run="one")
    assert bits.view(page)["action"]
    Study(run.directory, "bits").make()
    return page


def test_choices_are_named_by_layer_in_the_order_of_the_network(workspace: Workspace) -> None:
    view = bits.view(workspace)
    names = [weight["name"] for weight in view["weights"]]
    assert names == ["blocks.0.depthwise", "blocks.0.project"]  # the edges have their own bits
    first = view["choices"][view["first"]]
    assert first["average"] == pytest.approx(4, abs=0.5)
    assert len(view["choices"]) > 7


def test_a_choice_becomes_overrides_and_another_takes_their_place(workspace: Workspace) -> None:
    workspace.update(form=Form(4, 8, 8, "gram", more='[[overrides]]\npattern="head"\nweights=6'))
    view = bits.view(workspace)
    mixed = [c for c in view["choices"] if len(set(c["bits"])) == 2 and 4 not in c["bits"]]
    for choice in (mixed[0], mixed[-1]):
        assert "bits on average" in bits.use(workspace, choice["key"])
        recipe = workspace.settings.form.recipe()
        found = [each.weights for each in recipe.overrides]
        assert found == [6, *choice["bits"]]
        assert [stage.method for stage in recipe.stages] == ["gram"]


@pytest.mark.parametrize("key", ["point:999", "point:-1", "chosen", "", "point:x"])
def test_a_choice_that_is_not_there_is_refused(workspace: Workspace, key: str) -> None:
    with pytest.raises(RunError, match="measure the layers again"):
        bits.use(workspace, key)


@pytest.mark.browser
@pytest.mark.slow
def test_measure_slide_and_use_in_a_browser(page: Page, served, watch) -> None:
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.goto(served.url)
    expect(page.locator("#wb-layers .wb-list .wb-row")).to_have_count(4)
    page.wait_for_function("localStorage.getItem('workbench-key') !== null")
    page.locator("#wb-view label").filter(has_text="Bits").click()
    page.get_by_role("button", name="Measure each layer").click()
    slider = page.get_by_role("slider", name="Average bits")
    expect(slider).to_be_visible()
    before = page.locator("#wb-bits .wb-sentence").inner_text()
    slider.focus()
    slider.press("Home")
    expect(page.locator("#wb-bits .wb-sentence")).to_contain_text("2.00 bits on average")
    assert page.locator("#wb-bits .wb-sentence").inner_text() != before
    page.get_by_role("button", name="Use these bits").click()
    expect(page.locator("#wb-notice")).to_contain_text("2.00 bits on average")
    assert not watch.console_errors
