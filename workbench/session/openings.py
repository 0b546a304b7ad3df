"""A stranger's file, tried in a process of its own before this one opens it.

What a bomb, a crash or a loop does there ends that process alone. The study "opening"
(`workbench.session.studies`) lies beside the file:

asked.json   the model, and the data for it
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.foundation.errors import ModelError
from workbench.session import processes
from workbench.session.store import read_json, write_json
from workbench.session.studies import ENDED, INTERNAL, Study

log = logging.getLogger(__name__)

Note = Callable[[str, float], None]

TOO_MUCH = (
    "it needs more memory or time than a file may take here; it may be damaged, or made to do harm"
)
UNFORESEEN = "it could not be opened for a reason we did not foresee; the log has the details"
#: the most that is written to one file; nothing is unpacked to disk
_FILE_MIB = 64
_ASKED = "asked.json"


@dataclass(frozen=True)
class Bounds:
    """What a file may take to be opened.

    Attributes:
        memory_gib: of memory.
        seconds: of processor time; patience: by the clock, as others may be at work.
    """

    memory_gib: float
    seconds: float = 120.0
    patience: float = 300.0


def problem_of(folder: Path, model: str, data: str | None, bounds: Bounds) -> str:
    """Why a model, with data or without, cannot be opened; "" where it can.

    Args:
        folder: of the file, which takes the study, too.
        model: a path or a name; data: a path.
        bounds: of the process; what passes them is ended.
    """
    study = Study(folder, "opening")
    write_json(folder / _ASKED, {"model": model, "data": data})
    study.start(bounds.memory_gib, bounds.seconds, file_mib=_FILE_MIB)
    if study.wait(bounds.patience) == "running":
        study.stop()
        return TOO_MUCH
    if study.state == "done":
        return ""
    message = study.message
    if message.startswith(INTERNAL):
        log.error("a file could not be opened: %s", study.log.read_text(errors="replace")[-4000:])
        return UNFORESEEN
    return TOO_MUCH if message == ENDED else message


def attempt(folder: Path, note: Note) -> dict[str, Any]:
    """Open what was asked for; how much there is of it.

    Raises:
        WorkbenchError: in one sentence, why that is not possible.
    """
    from workbench.session.session import open as open_session

    asked = read_json(folder / _ASKED, "holds no question")
    note("opening the file", 0.1)
    try:
        session = open_session(asked["model"], data=asked["data"])
        parameters = sum(each.numel() for each in session.model.parameters())
        examples = session.data.size("calibration") if asked["data"] else 0
    except (MemoryError, RuntimeError) as error:
        if processes.out_of_memory(error):
            raise ModelError(TOO_MUCH) from None
        raise
    return {"parameters": parameters, "examples": examples}
