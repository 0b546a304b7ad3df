"""A session's model beside a quantized file: verification, prices of cures, time by node.

The file may be a run's export or come from any tool; the examples are the session's held-out ones.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.foundation.errors import DataError, ExportError
from workbench.foundation.positive import positive
from workbench.graph.batching import first_examples
from workbench.session.data import Data
from workbench.session.session import Session

if TYPE_CHECKING:
    from workbench.deploy.profile import Profile
    from workbench.deploy.verification import Verification
    from workbench.session.runs import Run

Batch = tuple[Tensor, ...]


class Check:
    """A quantized file, the float model and held-out examples.

    Args:
        session: the float model.
        path: of the quantized file.
        data: whose test split is used.
        examples: how many of it.
        notes: for the verification.

    Raises:
        RunError: no examples were asked for. DataError, later: there are none.
    """

    def __init__(
        self,
        session: Session,
        path: str | Path,
        data: Data,
        examples: int,
        notes: Sequence[str] = (),
    ) -> None:
        self.session, self.path = session, Path(path)
        self._data, self._examples = data, positive("examples", examples)
        self._notes = notes

    @property
    def batches(self) -> list[Batch]:
        """The inputs."""
        return [inputs for inputs, _ in self._held]

    @property
    def labels(self) -> Tensor | None:
        """The class of each example, where the data has them."""
        labels = [label for _, label in self._held if label is not None]
        return torch.cat(labels) if len(labels) == len(self._held) else None

    @cached_property
    def _held(self) -> list[tuple[Batch, Tensor | None]]:
        size = min(self.session.batch_size, self._examples)
        found = list(self._data.batches("test", size, self._examples))
        if not found:
            raise DataError(f"'{self._data.name}' has no examples to compare on; give more data")
        return found

    def verify(self) -> Verification:
        """The file against what its own nodes say."""
        from workbench.deploy.verify_file import compare_file

        found = compare_file(self.path, self.batches, examples=self._examples)
        return replace(found, notes=(*found.notes, *self._notes))

    def price(self, found: Verification, threads: int = 1) -> Verification:
        """A verification with the price of the file as it is, and of its cures.

        Where the price cannot be measured, a note says why.
        """
        from workbench.deploy.verify_file import priced

        positive("threads", threads)
        try:
            with self._float_file() as original:
                return priced(
                    found, original, self.path, self.batches, self.labels, threads=threads
                )
        except ExportError as error:
            return replace(found, notes=(*found.notes, f"prices were not measured ({error})"))

    def profile(self, threads: int = 1, repeats: int = 20) -> Profile:
        """Time by node, float against quantized, for one example."""
        from workbench.deploy.profile import profile

        positive("threads", threads)
        inputs = first_examples(self.session.graph.inputs, self.batches[0], 1)
        with self._float_file() as original:
            return profile(original, self.path, inputs, repeats=repeats, threads=threads)

    @contextmanager
    def _float_file(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "float.onnx"
            self.session.save(path)
            yield path


def check_file(session: Session, path: str | Path, examples: int = 128) -> Check:
    """A file of any tool; all of the data that the session has judge.

    Raises:
        ModelError: the file cannot be read, or takes other inputs than the session's model.
        DataError, RunError: as `Check`.
    """
    from workbench.session.kinship import doubts

    notes = doubts(session, path)  # before any work
    return Check(session, path, session.data.calibrate_on(0), examples, notes)


def check_run(run: Run, path: str | Path | None = None, examples: int = 128) -> Check:
    """A run's own file, or another that was exported from it; data that did not calibrate."""
    data = run.session.judging(run.recipe)
    return Check(run.session, path or run.files.model, data, examples)
