"""The widget: its traits without a browser, and its picture in a real JupyterLab."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from workbench.session.execute import Extent
from workbench.session.runs import Run
from workbench.session.session import open as open_session
from workbench.ui.widgets import LayersWidget, SignalsWidget

EXTENT = Extent(naive=False, layer_examples=32, verify_examples=16, latency=False)


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory: pytest.TempPathFactory) -> Run:
    session = open_session(tiny.hostile, data=str(tiny.data))
    folder = tmp_path_factory.mktemp("widget") / "run"
    return session.quantize(weights=3, method="rtn", out=folder, extent=EXTENT)


def trait(widget: LayersWidget, name: str) -> Any:
    return json.loads(getattr(widget, name))


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


def test_a_session_is_diagnosed_first(tiny):
    widget = LayersWidget(open_session(tiny.model, data=str(tiny.data)), weights=2)
    assert len(trait(widget, "_table")["rows"]) == 4
    assert trait(widget, "_detail")["weights"]["counts"]


def test_viewers_without_widgets_get_a_table_as_text(run: Run):
    bundle = LayersWidget(run)._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "<table>" in data["text/html"]
    assert "<img" not in data["text/html"]
    assert "&lt;img" in data["text/html"]


def test_signals_of_a_run_in_a_cell(run: Run):
    widget = SignalsWidget(run)
    (ranges,) = trait(widget, "_view")["units"]
    assert {site["name"] for site in ranges["sites"]} == set(ranged_sites(run))
    assert widget.concerns == []
    bundle = widget._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert run.name in data["text/html"]
    assert "<img" not in data["text/html"]


def ranged_sites(run: Run) -> list[str]:
    """Sites with a range of their own."""
    return [
        name for name, site in run.model.sites.items() if site.kind != "bias" and not site.shares
    ]


@pytest.fixture
def lab(tmp_path: Path, run: Run) -> Iterator[str]:
    """JupyterLab on a notebook that shows the widget; yields its address."""
    cells = [
        "from workbench.session.runs import Run\nfrom workbench.ui.widgets import LayersWidget",
        f"widget = LayersWidget(Run({str(run.directory)!r}))\nwidget",
        "print('selected:', widget.selected)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "show.ipynb")
    token, port = secrets.token_hex(8), free_port()
    home = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    kernels = {**os.environ, **home, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
         "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
         "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=",
         f"--ServerApp.root_dir={tmp_path}"],
        env=kernels, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/api?token={token}")
        yield f"{address}/lab/tree/show.ipynb?token={token}&reset"
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(address: str, seconds: float = 90.0) -> None:
    import time

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
        else:
            return
    raise AssertionError("JupyterLab did not answer")


@pytest.mark.browser
@pytest.mark.slow
def test_the_widget_in_jupyterlab(browser, lab: str, tiny, watch):
    context = browser.new_context(viewport={"width": 1300, "height": 1000})
    page = context.new_page()
    watch.attach(page)
    page.set_default_timeout(90_000)
    page.goto(lab)
    page.wait_for_function("window.jupyterapp !== undefined")
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
    page.evaluate("window.jupyterapp.started")
    page.wait_for_timeout(1500)
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    rows = page.locator(".wb-widget .wb-list .wb-row")
    rows.nth(3).wait_for()
    assert rows.count() == 4
    rows.nth(2).click()
    name = rows.nth(2).get_attribute("data-name")
    assert name in tiny.names
    crumb = page.locator(f".wb-widget .wb-crumb .wb-name[title={json.dumps(name)}]")
    crumb.wait_for()
    handle = page.locator(".wb-widget .wb-handle").first
    handle.press("ArrowRight")
    page.locator(".wb-widget .wb-readout", has_text="exact").first.wait_for()
    page.locator(".jp-CodeCell").nth(2).click()
    page.keyboard.press("Shift+Enter")
    page.locator(".jp-OutputArea-output", has_text=f"selected: {name}").wait_for()
    assert page.evaluate("window.hit") is None
    if shot := os.environ.get("WORKBENCH_SCREENSHOT"):
        page.screenshot(path=shot)
    context.close()
    assert not watch.external_requests, watch.external_requests


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
