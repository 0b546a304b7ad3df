"""Jobs that wait: fair turns, places with their times, restarts, and faults."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import workbench
from workbench.foundation.errors import RunError
from workbench.session import queueing
from workbench.session.jobs import Job
from workbench.session.queueing import TICKET, USUAL, Queue
from workbench.session.runs import Run, set_state
from workbench.session.store import write_json


def at_work(job: Job) -> None:
    """As if a process had been started: so a run counts for its first seconds."""
    set_state(job.run.files, "running")


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """With room for two jobs, which only moves when it is told to."""
    monkeypatch.setattr(Queue, "wake", lambda _: None)
    return Queue(tmp_path, 2, at_work)


@pytest.fixture
def prepared(tiny: workbench.Session, tmp_path: Path):
    """Makes a run of an owner that waits to be started."""

    def prepare(owner: str, name: str) -> Path:
        directory = tmp_path / owner / "runs" / name
        tiny.prepare(tiny.recipe(8, 8, "rtn"), directory)
        return directory

    return prepare


def state(directory: Path) -> str:
    return Run(directory).state


def test_what_there_is_room_for_begins_at_once(queue: Queue, prepared) -> None:
    one, two, three = (prepared("ann", name) for name in "abc")
    for directory in (one, two, three):
        queue.put(directory)
    assert [state(d) for d in (one, two, three)] == ["running", "running", "stopped"]
    assert queue.place(one) is None
    assert queue.place(three).ahead == 0
    set_state(Run(one).files, "done")
    assert queue.advance() == [three]
    assert queue.waiting() == []


def test_owners_take_turns_however_many_jobs_one_of_them_brings(queue: Queue, prepared) -> None:
    for name in "abcde":
        queue.put(prepared("ann", name))
    queue.put(prepared("bob", "a"))
    queue.put(prepared("cat", "a"))
    order = [f"{t.owner}/{t.directory.name}" for t in queue.waiting()]
    assert order == ["bob/a", "cat/a", "ann/c", "ann/d", "ann/e"]


def test_a_place_says_how_long_it_takes(queue: Queue, prepared) -> None:
    directories = [prepared("ann", name) for name in "abcd"]
    for directory in directories:
        queue.put(directory)
    for directory, left in zip(directories[:2], (30.0, 100.0), strict=True):
        write_json(Run(directory).files.progress, {"eta_seconds": left, "seconds": 20.0})
    third, fourth = (queue.place(directory) for directory in directories[2:])
    assert (third.ahead, third.seconds) == (0, 30.0)
    assert (fourth.ahead, fourth.seconds) == (1, 100.0)  # the third takes 85 s from then on
    Run(directories[0]).files.progress.unlink()
    assert queue.place(directories[2]).seconds == USUAL


def test_who_leaves_is_not_started(queue: Queue, prepared) -> None:
    directories = [prepared("ann", name) for name in "abc"]
    for directory in directories:
        queue.put(directory)
    assert queue.leave(directories[2])
    assert not queue.leave(directories[2])
    set_state(Run(directories[0]).files, "done")
    assert queue.advance() == []
    assert state(directories[2]) == "stopped"


def test_a_job_that_cannot_be_started_fails_and_the_next_one_is(tmp_path, prepared, monkeypatch):
    monkeypatch.setattr(Queue, "wake", lambda _: None)
    broken = prepared("ann", "broken")

    def start(job: Job) -> None:
        if job.directory == broken:
            raise RunError("no memory for it")
        at_work(job)

    queue = Queue(tmp_path, 1, start)
    queue.put(broken)
    queue.put(good := prepared("ann", "good"))
    assert (state(broken), Run(broken).message) == ("failed", "no memory for it")
    assert state(good) == "running"


def test_damaged_tickets_are_thrown_away(queue: Queue, prepared) -> None:
    directory = prepared("ann", "a")
    (directory / TICKET).write_text("[]")
    assert queue.waiting() == []
    assert not (directory / TICKET).exists()


def test_two_servers_start_a_job_once(tmp_path: Path, prepared) -> None:
    started: list[Path] = []
    meet = threading.Barrier(2)

    def start(job: Job) -> None:
        started.append(job.directory)
        at_work(job)

    directory = prepared("ann", "a")
    write_json(directory / TICKET, {"since": 0.0})

    def serve() -> None:
        meet.wait()
        Queue(tmp_path, 2, start).advance()

    threads = [threading.Thread(target=serve) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert started == [directory]


def test_a_new_server_goes_on_with_what_waits(tmp_path, prepared, monkeypatch) -> None:
    monkeypatch.setattr(queueing, "PAUSE", 0.01)
    first = Queue(tmp_path, 0, at_work)
    monkeypatch.setattr(first, "wake", lambda: None)
    first.put(directory := prepared("ann", "a"))
    assert state(directory) == "stopped"
    Queue(tmp_path, 1, at_work).wake()
    end = time.monotonic() + 30
    while state(directory) != "running":
        assert time.monotonic() < end
        time.sleep(0.01)
