"""Studies of a finished run that take seconds: causes, cures, their prices, time by node.

Each is made in a process of its own, `python -m workbench.session.studies FOLDER KIND`, and leaves
its record as JSON, so a page that reloads finds it again. Timings are not disturbed by a server.

KIND.json       the record, or the sentence that says why there is none
KIND-step.json  what is being done
KIND-pid.json   the process at work
KIND.log        its output
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from workbench.foundation.errors import RunError, WorkbenchError
from workbench.session import processes
from workbench.session.store import read_json, write_json

if TYPE_CHECKING:
    from workbench.session.runs import Run

log = logging.getLogger("workbench.studies")

Kind = Literal["prices", "times", "errors", "causes", "cure", "bits", "machine", "opening"]
State = Literal["none", "running", "done", "failed"]
Note = Callable[[str, float], None]

EXAMPLES = 64
POINTS = 13  # choices of bits between the fewest and the most
#: what nobody asked for gives way to jobs that somebody waits for
_UNASKED: tuple[Kind, ...] = ("causes",)
_NICE = 10
ENDED = "the measurement ended before it had a result; start it again"
INTERNAL = "internal error"


class Study:
    """One study, seen from outside.

    Args:
        folder: where it is kept: a run's own folder, that of a cure or an upload, or any for this
            machine.
        kind: "prices" (verification with the price of each cure), "times" (time by node), "errors"
            (the measured damage of each site and layer), "causes" (why layers suffer, see
            `workbench.session.whys`), "cure" (one that is tried, see `workbench.session.remedies`),
            "bits" (which weight gets how many, from the fewest to the most on average), "machine"
            (what int8 means here) or "opening" (a file is tried, see `workbench.session.openings`).
    """

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.kind: Kind = kind
        self.folder = folder
        self.place = folder / "studies"
        self._result = self.place / f"{kind}.json"
        self._step = self.place / f"{kind}-step.json"
        self._pid = self.place / f"{kind}-pid.json"
        self.log = self.place / f"{kind}.log"

    @property
    def state(self) -> State:
        """Where it stands."""
        process = processes.load(self._pid)
        if process is not None and process.alive():
            return "running"
        if self._result.exists():
            return "failed" if "error" in self._read() else "done"
        return "none" if process is None else "failed"

    @property
    def message(self) -> str:
        """Why it failed, in one sentence; empty otherwise."""
        if self.state != "failed":
            return ""
        return str(self._read().get("error", ENDED)) if self._result.exists() else ENDED

    def record(self) -> dict[str, Any] | None:
        """What it found; None before it is done."""
        return dict(self._read()["record"]) if self.state == "done" else None

    def step(self) -> dict[str, Any]:
        """What is being done: `text`, `fraction` (0 to 1) and `seconds` since the start."""
        if not self._step.exists():
            return {"text": "", "fraction": 0.0, "seconds": 0.0}
        stored = read_json(self._step, "holds no step")
        return {**stored, "seconds": time.time() - float(stored["began"])}

    def start(
        self,
        memory_gib: float | None = None,
        seconds: float | None = None,
        file_mib: int | None = None,
    ) -> Study:
        """Launch it, anew if there is a result; nothing happens while it runs.

        Args:
            memory_gib: limit of its memory; seconds: of its processor time; file_mib: of each file
                that it writes.
        """
        if self.state == "running":
            return self
        self.place.mkdir(exist_ok=True, parents=True)
        self._result.unlink(missing_ok=True)
        write_json(self._step, {"text": "starting", "fraction": 0.0, "began": time.time()})
        arguments = ["-m", "workbench.session.studies", str(self.folder), self.kind]
        arguments += processes.options(memory_gib=memory_gib, seconds=seconds, file_mib=file_mib)
        processes.start(arguments, self.log).save(self._pid)
        return self

    def stop(self) -> None:
        """End it."""
        process = processes.load(self._pid)
        if process is not None and process.alive():
            process.end()
        self._pid.unlink(missing_ok=True)

    def wait(self, seconds: float = 600.0) -> State:
        """Block until it ends, or for so long; the state then."""
        process = processes.load(self._pid)
        if process is not None:
            process.wait(seconds)
        return self.state

    def make(self) -> None:
        """Make it in this process and leave its result; what cannot be is left as a sentence."""
        began = time.time()

        def note(text: str, fraction: float) -> None:
            write_json(self._step, {"text": text, "fraction": fraction, "began": began}, False)

        self.place.mkdir(exist_ok=True, parents=True)
        try:
            write_json(self._result, {"record": _STUDIES[self.kind](self.folder, note)})
        except WorkbenchError as error:
            write_json(self._result, {"error": str(error)})
        except Exception as error:
            log.exception("internal error")
            write_json(self._result, {"error": f"{INTERNAL}: {type(error).__name__}"})

    def _read(self) -> dict[str, Any]:
        return read_json(self._result, "holds no result")


def _prices(folder: Path, note: Note) -> dict[str, Any]:
    """The verification of a run's file, with the price of the file and of each cure."""
    from workbench.session.runs import Run
    from workbench.session.verifying import check_run

    note("opening the run", 0.05)
    run = done(Run(folder))
    note("comparing with ONNX Runtime, tensor by tensor", 0.25)
    found = run.verify(examples=EXAMPLES)
    note("trying each cure and timing it", 0.6)
    return check_run(run, examples=EXAMPLES).price(found).record()


def _times(folder: Path, note: Note) -> dict[str, Any]:
    """Time and bytes by node, of a run's file beside the float model."""
    from workbench.session.runs import Run

    note("opening the run", 0.1)
    run = done(Run(folder))
    note("timing each node in ONNX Runtime, float and quantized", 0.4)
    return run.latency().record()


def _errors(folder: Path, note: Note) -> dict[str, Any]:
    """The damage of each site and layer, measured; what was measured before a stop is kept."""
    from workbench.session.diagnosis import site_errors
    from workbench.session.runs import Run

    note("opening the run", 0.0)
    run = done(Run(folder))

    def watch(text: str, fraction: float, left: float | None) -> None:
        note(text if left is None else f"{text}, {left:.0f} s left", fraction)

    return site_errors(run.session, run.recipe, run.model, exact=True, watch=watch).record


def _bits(folder: Path, note: Note) -> dict[str, Any]:
    """Choices of bits over average bits; those that a run's overrides give are open again."""
    from workbench.session.runs import Run

    note("opening the run", 0.0)
    run = done(Run(folder))
    kept = tuple(each for each in run.recipe.overrides if each.weights is None)
    found = run.session.allocate(
        run.recipe.changed(overrides=kept),
        points=POINTS,
        progress=lambda share, text: note(text, share),
    )
    return found.record()


def _causes(folder: Path, note: Note) -> dict[str, Any]:
    """Why the layers of a run suffer."""
    from workbench.session.whys import look

    return look(folder, note)


def _cure(folder: Path, note: Note) -> dict[str, Any]:
    """A cure that is tried, and kept where it helps."""
    from workbench.session.remedies import treat

    return treat(folder, note)


def _opening(folder: Path, note: Note) -> dict[str, Any]:
    """A stranger's file, opened where it can do no harm."""
    from workbench.session.openings import attempt

    return attempt(folder, note)


def _machine(folder: Path, note: Note) -> dict[str, Any]:  # noqa: ARG001 - of no run
    """What int8 means on this machine."""
    from workbench.deploy.doctor import examine

    note("trying int8 kernels against exact ones", 0.3)
    return examine().record()


_STUDIES: dict[Kind, Callable[[Path, Note], dict[str, Any]]] = {
    "prices": _prices,
    "times": _times,
    "errors": _errors,
    "causes": _causes,
    "cure": _cure,
    "bits": _bits,
    "machine": _machine,
    "opening": _opening,
}


def done(run: Run) -> Run:
    """The run.

    Raises:
        RunError: it is not done.
    """
    if run.state != "done":
        raise RunError(f"run '{run.name}' is {run.state}; wait until it is done, or resume it")
    return run


def main(arguments: Sequence[str] | None = None) -> int:
    """Make one study; the exit code."""
    parser = argparse.ArgumentParser(description="Study a run or this machine.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("kind", choices=get_args(Kind))
    parser.add_argument("--memory-gib", type=float)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--file-mib", type=int)
    wanted = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    processes.limit(wanted.memory_gib, wanted.seconds, wanted.file_mib)
    if wanted.kind in _UNASKED:
        os.nice(_NICE)
    Study(wanted.folder, wanted.kind).make()
    return 0


if __name__ == "__main__":
    sys.exit(main())
