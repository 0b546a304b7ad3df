"""Jobs that wait until the machine has room, fairly: each owner's first before anyone's second.

A ticket is a file in the folder of a run, so a server that is restarted goes on with the queue that
it left. Whoever starts a job takes its ticket away in one step, which only one can do, so two
servers on one folder start no job twice.

queued.json     when it was put there
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.foundation.errors import WorkbenchError
from workbench.session.jobs import Job
from workbench.session.runs import Run, set_state
from workbench.session.store import RunFiles, read_json, write_json

log = logging.getLogger(__name__)

TICKET = "queued.json"
PAUSE = 0.5  # seconds between two looks at what has ended
USUAL = 60.0  # seconds of a job of which nothing is known yet

Start = Callable[[Job], None]


@dataclass(frozen=True)
class Place:
    """Where a job stands in the queue.

    Attributes:
        ahead: jobs that are started before it.
        seconds: until it is its turn, as far as can be told.
    """

    ahead: int
    seconds: float


@dataclass(frozen=True)
class Ticket:
    """A job that waits: its folder, and since when."""

    directory: Path
    since: float

    @property
    def owner(self) -> str:
        """Whose it is: the folder that the runs are in."""
        return _owner(self.directory)


class Queue:
    """The jobs below a folder.

    Args:
        root: folder with `OWNER/runs/NAME` in it.
        at_once: jobs that may run at the same time.
        start: starts a job.
        others: how much else is going on that takes the room of a job.
    """

    def __init__(
        self, root: Path, at_once: int, start: Start, others: Callable[[], int] = lambda: 0
    ) -> None:
        self._root = root.resolve()
        self._at_once = at_once
        self._start = start
        self._others = others
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._seen: tuple[float, dict[Path, Place]] | None = None
        self._thread: threading.Thread | None = None

    def put(self, directory: Path) -> None:
        """Let a prepared or stopped run wait for its turn; it may come at once."""
        path = directory / TICKET
        if not path.exists():
            write_json(path, {"since": time.time()})
        self._seen = None
        self.advance()
        self.wake()

    def leave(self, directory: Path) -> bool:
        """Take a job out of the queue; False if it is not in it."""
        self._seen = None
        return _taken(directory)

    def waits(self, directory: Path) -> bool:
        """Whether a job is in the queue."""
        return (directory / TICKET).exists()

    def active(self) -> list[Path]:
        """Folders of the runs that are being made."""
        return [path.parent for path in self._root.glob("*/runs/*/run.json") if _at_work(path)]

    def waiting(self, active: Sequence[Path] | None = None) -> list[Ticket]:
        """Tickets in the order in which they will be taken.

        Owners take turns: with k jobs at work or in front, an owner's next one has rank k, and the
        lowest rank is first; of equal ranks the one that has waited longest.

        Args:
            active: folders of the runs that are being made; looked for if None.
        """
        ahead = Counter(map(_owner, self.active() if active is None else active))
        ranked = []
        for ticket in sorted(self._tickets(), key=lambda one: one.since):
            ranked.append((ahead[ticket.owner], ticket.since, str(ticket.directory), ticket))
            ahead[ticket.owner] += 1
        return [ticket for *_, ticket in sorted(ranked, key=lambda one: one[:3])]

    def place(self, directory: Path) -> Place | None:
        """Where a job stands; None if it does not wait."""
        return self._places().get(directory) if self.waits(directory) else None

    def places(self) -> dict[Path, Place]:
        """Where each job stands that waits; many pages ask, so one look serves for `PAUSE`."""
        with self._looking:
            now, seen = time.monotonic(), self._seen
            if seen is None or now - seen[0] > PAUSE:
                self._seen = seen = (now, self._places())
            return seen[1]

    def advance(self) -> list[Path]:
        """Start what there is room for; the folders of those that were started."""
        with self._lock:
            active = self.active()
            room = max(0, self._at_once - len(active) - self._others())
            first = [ticket.directory for ticket in self.waiting(active)[:room]]
            self._seen = None if first else self._seen
            return [path for path in first if _taken(path) and self._begun(path)]

    def wake(self) -> None:
        """Go on in the background as long as anyone waits."""
        with self._lock:
            alive = self._thread is not None and self._thread.is_alive()
            if alive or not self._tickets():
                return
            self._thread = threading.Thread(target=self._serve, daemon=True, name="queue")
            self._thread.start()

    def _serve(self) -> None:
        while True:
            with self._lock:
                if not self._tickets():
                    self._thread = None
                    return
            self.advance()
            time.sleep(PAUSE)

    def _begun(self, directory: Path) -> bool:
        try:
            self._start(Job(directory))
        except WorkbenchError as error:
            log.warning("'%s' could not be started: %s", directory.name, error)
            set_state(RunFiles(directory), "failed", str(error))
            return False
        return True

    def _places(self) -> dict[Path, Place]:
        active = self.active()
        order = [ticket.directory for ticket in self.waiting(active)]
        starts = self._starts(len(order), active)
        return {path: Place(k, starts[k]) for k, path in enumerate(order)}

    def _starts(self, count: int, active: Sequence[Path]) -> list[float]:
        """Seconds until each of `count` jobs in the queue is started: when others have ended.

        Those at work end as they say; those that wait are taken to last as long as these.
        """
        ends = [_left(path) for path in active]
        whole = _mean([_whole(path) for path in active])
        ends += [USUAL] * self._others()
        ends += [0.0] * (self._at_once - len(ends))
        found = []
        for _ in range(count):
            ends.sort()
            found.append(ends[0] if ends else USUAL)
            ends[:1] = [end + whole for end in ends[:1]]
        return found

    def _tickets(self) -> list[Ticket]:
        found = []
        for path in self._root.glob(f"*/runs/*/{TICKET}"):
            try:
                about = read_json(path, "holds no ticket")
                found.append(Ticket(path.parent, float(about["since"])))
            except (WorkbenchError, KeyError, TypeError, ValueError):
                log.warning("a damaged ticket is thrown away: %s", path)
                path.unlink(missing_ok=True)
        return found


def _owner(directory: Path) -> str:
    """Whose run is in a folder."""
    return directory.parent.parent.name


def _taken(directory: Path) -> bool:
    """Take the ticket away; only one who asks gets it."""
    try:
        (directory / TICKET).unlink()
    except FileNotFoundError:
        return False
    return True


def _at_work(path: Path) -> bool:
    try:
        return Run(path.parent).state == "running"
    except WorkbenchError:
        return False


def _progress(directory: Path) -> Mapping[str, object]:
    return RunFiles(directory).read_progress() or {}


def _left(directory: Path) -> float:
    """Seconds that a job at work still takes."""
    found = _progress(directory).get("eta_seconds")
    return float(found) if isinstance(found, int | float) else USUAL


def _whole(directory: Path) -> float:
    """Seconds that it takes as a whole."""
    found = _progress(directory).get("seconds")
    return _left(directory) + (float(found) if isinstance(found, int | float) else 0.0)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else USUAL
