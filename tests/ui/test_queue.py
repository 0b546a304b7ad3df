"""Jobs that wait for their turn, as their page sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.foundation.errors import RunError, WorkbenchError
from workbench.session.execute import Extent
from workbench.session.runs import Run, set_state
from workbench.session.store import write_json
from workbench.ui.gradio import screen
from workbench.ui.gradio.limits import CLASSROOM, Limits, stored_bytes
from workbench.ui.gradio.recipe_form import Form
from workbench.ui.gradio.serving import serving
from workbench.ui.gradio.settings import Settings
from workbench.ui.gradio.workspace import Desk, Workspace

FEW = Extent(naive=False, layers=False, latency=False, verify=False)


@pytest.fixture
def workspace(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A page of a machine that has no room."""
    monkeypatch.setattr("workbench.session.queueing.Queue.wake", lambda _: None)
    monkeypatch.setattr("workbench.ui.gradio.workspace._JOBS", 0)
    first = Settings(str(tiny.model), "tiny", str(tiny.data), Form(4, 8, 8, "rtn"))
    return Desk(tmp_path / "app", FEW, first, Limits(waiting=3)).workspace("d" * 32)


def standing(workspace: Workspace) -> list[str]:
    """What the table says of where each run stands, the newest first."""
    return [row["cells"][1] for row in screen.runs(workspace)["rows"]]


def test_it_waits_says_so_and_can_be_stopped_and_resumed(workspace: Workspace) -> None:
    run = workspace.start()
    assert workspace.state(run) == "queued"
    assert workspace.at_work() is not None
    view = screen.learning(workspace)
    assert view["running"]
    assert "waiting · it is next" in view["status"]
    assert screen.busy(workspace)
    assert "waiting, next" in str(screen.runs(workspace)["rows"])
    workspace.stop()
    assert workspace.state(run) == "stopped"
    assert workspace.at_work() is None
    workspace.resume()
    assert workspace.state(run) == "queued"


def test_several_jobs_of_a_page_wait_each_with_its_place(workspace: Workspace) -> None:
    first, second, third = (workspace.start() for _ in range(3))
    assert [run.name for run in workspace.jobs()] == [first.name, second.name, third.name]
    assert [text.split(", in")[0] for text in standing(workspace)] == [
        "waiting, 2 before",
        "waiting, 1 before",
        "waiting, next",
    ]
    assert "2 jobs before it" in screen.learning(workspace)["status"]  # of the chosen one
    with pytest.raises(RunError, match="3 jobs of this page wait already"):
        workspace.start()
    workspace.update(run=second.name)
    assert "1 job before it" in screen.learning(workspace)["status"]
    stopped = workspace.stop()
    assert stopped is not None
    assert stopped.name == second.name
    assert [run.name for run in workspace.jobs()] == [first.name, third.name]
    workspace.resume()
    assert [run.name for run in workspace.jobs()] == [first.name, third.name, second.name]


def test_stop_acts_on_the_one_at_work_where_another_run_is_chosen(workspace: Workspace) -> None:
    done, first, _ = (workspace.start() for _ in range(3))
    workspace.update(run=done.name)
    workspace.stop()
    assert workspace.learner() is not None
    stopped = workspace.stop()  # of the jobs that are left, the next
    assert stopped is not None
    assert stopped.name == first.name
    assert workspace.state(done) == "stopped"


def test_a_run_at_work_tells_how_far_it_is(workspace: Workspace) -> None:
    run = workspace.start()
    workspace.desk.queue.leave(run.directory)
    set_state(run.files, "running")
    write_json(run.directory / "progress.json", {"fraction": 0.4, "eta_seconds": 12.0})
    assert standing(workspace) == ["40 % · 12 s left"]
    assert not screen.runs(workspace)["rows"][0]["removable"]


def test_owners_of_other_keys_see_nothing_and_have_limits_of_their_own(
    workspace: Workspace,
) -> None:
    for _ in range(3):
        workspace.start()
    other = workspace.desk.workspace("e" * 32)
    assert other.runs() == []
    assert other.waiting() == 0
    mine = other.start()
    place = workspace.desk.queue.places()[mine.directory]
    assert place.ahead == 1  # each page's first before anyone's second


def test_a_page_keeps_no_more_than_it_may_until_runs_are_removed(workspace: Workspace) -> None:
    run = workspace.start()
    held = stored_bytes(workspace.directory)
    workspace.desk.limits = Limits(stored=held - 1)
    with pytest.raises(RunError, match=r"may keep .*; remove runs in the list of runs"):
        workspace.start()
    with pytest.raises(RunError, match="may keep"):
        workspace.open_model(Path(workspace.settings.model))
    workspace.remove(run.name)
    assert workspace.runs() == []
    assert workspace.waiting() == 0
    assert workspace.start().directory.exists()


def test_a_class_gets_less_and_the_server_may_say_otherwise() -> None:
    assert serving().limits == Limits()
    assert serving(code="AB12CD").limits == CLASSROOM
    asked = serving(code="AB12CD", max_waiting=5, max_stored="300 MB").limits
    assert asked == Limits(waiting=5, stored=300_000_000)
    with pytest.raises(WorkbenchError, match="max_waiting"):
        serving(max_waiting=0)


def test_a_server_that_is_restarted_knows_who_waits(workspace: Workspace) -> None:
    run = workspace.start()
    again = Desk(workspace.desk.root, FEW, workspace.desk.first)
    assert [ticket.directory for ticket in again.queue.waiting()] == [run.directory]
    assert again.workspace(workspace.key).state(Run(run.directory)) == "queued"
