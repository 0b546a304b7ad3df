"""Several processes on one run, as `accelerate launch -m workbench ...` starts them.

The first makes the run: it writes, exports and proves. The others learn along in a folder that is
thrown away, and leave when learning ends; no process waits for another after that. One that
dies makes the others end with a sentence, and the run can be resumed, by any number of processes.
All of them compute on the processor, as everything else does here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor

from workbench.foundation.errors import RunError
from workbench.methods.base import Checkpoint
from workbench.methods.together import Together

if TYPE_CHECKING:
    from accelerate import Accelerator

Value = TypeVar("Value")

#: seconds that a process waits for the others; between two meetings they do the same work
PATIENCE = 600.0
#: set by every kind of `accelerate launch`
_LAUNCHED = "ACCELERATE_MIXED_PRECISION"
PRECISIONS = ("no", "bf16")
#: ways to train in which a process holds a part of the network: their variable and their option
PARTS = {
    "ACCELERATE_USE_FSDP": "--use_fsdp",
    "ACCELERATE_USE_DEEPSPEED": "--use_deepspeed",
    "ACCELERATE_USE_MEGATRON_LM": "--use_megatron_lm",
}


class Launched(Together):
    """A process that `accelerate launch` started.

    Args:
        accelerator: joined to the others.
        patience: seconds that it waits for them.
    """

    def __init__(self, accelerator: Accelerator, patience: float = PATIENCE) -> None:
        precision = "bfloat16" if accelerator.mixed_precision == "bf16" else None
        super().__init__(accelerator.process_index, accelerator.num_processes, precision)
        self._accelerator = accelerator
        self._patience = patience

    def total(self, own: Tensor) -> Tensor:
        with _answering(self._patience):
            found = self._accelerator.reduce(own, reduction="sum")
        assert isinstance(found, Tensor)
        return found

    def agreed(self, own: Value) -> Value:
        from accelerate.utils import broadcast_object_list

        if self.count == 1:
            return own
        with _answering(self._patience):
            return broadcast_object_list([own])[0]

    def leave(self) -> None:
        self._accelerator.end_training()


class Shared:
    """A checkpoint of several processes: the first saves, and all go on from what it finds.

    Args:
        inner: of the first process.
        together: the processes.
    """

    def __init__(self, inner: Checkpoint, together: Together) -> None:
        self._inner = inner
        self._together = together

    def save(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Replace the stored state, in the first process."""
        if self._together.leads:
            self._inner.save(tensors, step)

    def load(self) -> tuple[dict[str, Tensor], int] | None:
        """The stored tensors and step of the first process, or None at a fresh start."""
        return self._together.agreed(self._inner.load() if self._together.leads else None)


@contextmanager
def launched(patience: float = PATIENCE) -> Iterator[Together]:
    """The processes that `accelerate launch` started, of which this is one; else this one alone.

    Args:
        patience: seconds to wait for the others.

    Raises:
        RunError: accelerate was asked for what does not work here, and what to ask instead.
    """
    if _LAUNCHED not in os.environ:
        yield Together()
        return
    _require_sound()
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    waits = InitProcessGroupKwargs(timeout=timedelta(seconds=patience))
    with _answering(patience):
        accelerator = Accelerator(cpu=True, kwargs_handlers=[waits])
    together = Launched(accelerator, patience)
    try:
        yield together
    finally:
        together.leave()


def require_alone(option: str) -> None:
    """Refuse an option that several processes cannot follow.

    Raises:
        RunError: this process was started by `accelerate launch`.
    """
    if _LAUNCHED in os.environ:
        raise RunError(f"{option} and 'accelerate launch' do not go together; drop one of them")


def _require_sound() -> None:
    """Refuse a launch that would not do what was asked.

    Without MPI, `--cpu` starts one process, however many are asked for, and says nothing.
    """
    precision = os.environ[_LAUNCHED]
    if precision not in PRECISIONS:
        raise RunError(
            f"--mixed_precision was '{precision}'; give 'no' or 'bf16', which needs no scaling of"
            " the loss"
        )
    for name, option in PARTS.items():
        if os.environ.get(name, "").lower() == "true":
            raise RunError(
                f"accelerate was launched with {option}, and here every process holds the whole"
                " network; launch with --multi_gpu alone"
            )
    ranks = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
    if "MASTER_ADDR" in os.environ and not any(name in os.environ for name in ranks):
        raise RunError(
            "accelerate was asked for several processes and started one: with --cpu it leaves them"
            " to MPI; give --multi_gpu instead of --cpu, which starts them on a machine without a"
            " GPU too"
        )


@contextmanager
def _answering(patience: float) -> Iterator[None]:
    """What torch says when another process is gone or late, in a sentence."""
    try:
        yield
    except RuntimeError as error:
        raise RunError(
            f"another process of this training has ended, or did not answer for {patience:g} s; go"
            " on with 'workbench resume', with as many processes as you like"
        ) from error
