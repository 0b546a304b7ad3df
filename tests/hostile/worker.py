"""A process that opens mutated models, so that a crash, a hang or a flood of memory stays outside.

`python -m tests.hostile.worker` reads the path of a file from each line of standard input and
answers with one line of JSON: what came of it, and the processor time it took. It runs under limits
of memory and, for each file, of processor time: other processes may take turns.
"""

from __future__ import annotations

import json
import logging
import resource
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from workbench.foundation.errors import WorkbenchError
from workbench.graph import Graph, build, fold, load
from workbench.graph.trial import trial

GIB = 2**30
MOST_NUMBERS = 2**22


class TooSlowError(BaseException):
    """A file took longer than its time; not an `Exception`, so that nothing swallows it."""


def main(memory_gib: float, seconds: float) -> None:
    """Answer until standard input ends."""
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    signal.signal(signal.SIGPROF, _too_slow)
    used = _address_space()
    limit = used + int(memory_gib * GIB)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    _say({"outcome": "ready"})
    for line in sys.stdin:
        start = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            answer: dict[str, Any] = {"outcome": open_one(Path(line.rstrip("\n"))), "text": ""}
        except WorkbenchError as error:
            answer = {"outcome": "refused", "text": str(error)}
        except TooSlowError:
            answer = {"outcome": "slow", "text": ""}
        except BaseException as error:  # noqa: BLE001 - that is what is looked for
            answer = {"outcome": "wrong", "text": _words(error)}
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        answer["seconds"] = time.process_time() - start
        _say(answer)


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def open_one(path: Path) -> str:
    """Load, fold, build and run once on random input: "opened" or "ran"."""
    graph = build(fold(load(path))[0])
    inputs = random_inputs(graph)
    if inputs is None:
        return "opened"
    trial(graph, inputs)
    return "ran"


def random_inputs(graph: Graph) -> list[torch.Tensor] | None:
    """Small random tensors of the shapes that the graph asks for; None where they are too large."""
    torch.manual_seed(0)
    found: list[torch.Tensor] = []
    for spec in graph.inputs:
        shape = [size if isinstance(size, int) and size > 0 else 2 for size in spec.shape]
        if len(shape) > 8 or torch.Size(shape).numel() > MOST_NUMBERS:
            return None
        floats = spec.dtype.is_floating_point
        values = torch.randn(shape) if floats else torch.randint(0, 2, shape)
        found.append(values.to(spec.dtype))
    return found


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _too_slow(_number: int, _frame: FrameType | None) -> None:
    raise TooSlowError


def _words(error: BaseException) -> str:
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{Path(code.co_filename).name}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return f"{type(error).__name__}: {str(error)[:200]} at {' < '.join(reversed(places[-5:]))}"


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]))
