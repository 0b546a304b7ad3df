"""A job that waits for its turn, as its page sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.foundation.errors import RunError
from workbench.session.execute import Extent
from workbench.ui.gradio import screen
from workbench.ui.gradio.recipe_form import Form
from workbench.ui.gradio.settings import Settings
from workbench.ui.gradio.workspace import Desk, Workspace

FEW = Extent(naive=False, layers=False, latency=False, verify=False)


@pytest.fixture
def workspace(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A page of a machine that has no room."""
    monkeypatch.setattr("workbench.session.queueing.Queue.wake", lambda _: None)
    monkeypatch.setattr("workbench.ui.gradio.workspace._JOBS", 0)
    first = Settings(str(tiny.model), "tiny", str(tiny.data), Form(4, 8, 8, "rtn"))
    return Desk(tmp_path / "app", FEW, first).workspace("d" * 32)


def test_it_waits_says_so_and_can_be_stopped_and_resumed(workspace: Workspace) -> None:
    run = workspace.start()
    assert workspace.state(run) == "queued"
    assert workspace.at_work() is not None
    view = screen.learning(workspace)
    assert view["running"]
    assert "waiting · it is next" in view["status"]
    assert screen.busy(workspace)
    assert "waiting" in str(screen.runs(workspace)["rows"])
    with pytest.raises(RunError, match="being made already"):
        workspace.start()
    workspace.stop()
    assert workspace.state(run) == "stopped"
    assert workspace.at_work() is None
    workspace.resume()
    assert workspace.state(run) == "queued"


def test_a_server_that_is_restarted_knows_who_waits(workspace: Workspace) -> None:
    run = workspace.start()
    again = Desk(workspace.desk.root, FEW, workspace.desk.first)
    assert [ticket.directory for ticket in again.queue.waiting()] == [run.directory]
    assert again.workspace(workspace.key).state(run) == "queued"
