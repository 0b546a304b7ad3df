"""An exported file against its simulation, tensor by tensor, in a notebook cell.

widget = VerifyWidget(run.export("small.onnx"))
widget.ok, widget.verification.sentence()
widget.measure()              # tries each cure and times it, as the button does
widget.cure("7-bit")          # writes a cured file beside it
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import traitlets

from workbench.deploy.cures import REMEDIES, apply_cure
from workbench.deploy.verification import Verification
from workbench.foundation.errors import ExportError, RunError
from workbench.session.restored import RestoredSession
from workbench.session.runs import File, Run
from workbench.session.session import Session
from workbench.session.session import open as open_session
from workbench.session.verifying import Check, check_file, check_run
from workbench.ui.widgets.base import Message, MessageError, Pictured, look, pictures, text
from workbench.ui.widgets.fallback import part_html
from workbench.views import differences, strings, study

EXAMPLES = 64
TENSORS = "tensors"


class VerifyWidget(Pictured):
    """Where ONNX Runtime departs from what was simulated, by how many steps, and what cures it.

    Args:
        export: what `run.export` gave, a run (its own file), or the path of a quantized file.
        session: the float model, for a file of another tool.
        examples: held-out ones to compare on.

    Attributes:
        ok: the file does what was simulated.
        cured: path of the cured file that was written last.
    """

    _esm = pictures(("_view", "study", "mountStudy"))
    _css = look(".wb-widget.wb-widget-verify{height:460px}")
    kinds: ClassVar[Mapping[str, str]] = {"measure": "_measure", "cure": "_apply"}

    ok = traitlets.Bool(False).tag(sync=True)
    cured = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        export: File | Run | str | Path,
        session: Session | None = None,
        examples: int = EXAMPLES,
        **traits: Any,
    ) -> None:
        self.verification, self._check = _verified(export, session, examples)
        super().__init__(**{"_look": "verify", "ok": self.verification.ok, **traits})
        self._draw()

    @property
    def path(self) -> Path:
        """Of the file."""
        return self._check.path

    def measure(self) -> Verification:
        """Try each cure, and time it and the file beside the float model."""
        busy = {"text": strings.VERIFY_MEASURING, "fraction": 0.5}
        self._draw({**self._part(), "progress": busy, "actions": []})
        try:
            self.verification = self._check.price(self.verification)
        finally:
            self._draw()
        return self.verification

    def cure(self, name: str) -> Path:
        """Write the file, cured in a way whose price was measured; its path.

        Raises:
            ExportError: the cure is unknown, was not measured, or writes no file.
        """
        cures = {each.name: each for each in self.verification.cures}
        if name not in cures or name not in REMEDIES or not cures[name].layers:
            known = ", ".join(each.name for each in cures.values() if each.layers) or "none"
            raise ExportError(f"'{name[:40]}' writes no file here; those that do: {known}")
        written = apply_cure(self.path, name, list(cures[name].layers))
        self.cured = str(written.path)
        self._draw()
        return Path(self.cured)

    def html(self) -> str:
        """The sentence, and each tensor."""
        return part_html(self._part())

    def _part(self) -> study.Part:
        found = differences.part(self.verification.record())
        written = [f"Written: {self.cured}."] if self.cured else []
        return {**found, "notes": [f"File: {self.path.name}.", *found["notes"], *written]}

    def _draw(self, part: study.Part | None = None) -> None:
        name = self.path.name
        record = self.verification.record()
        entries = [(TENSORS, name, differences.status(record))]
        self.draw(study.section(entries, TENSORS, part or self._part()))

    def _measure(self, _: Message) -> None:
        self.measure()

    def _apply(self, message: Message) -> None:
        name = text(message, "cure")
        if name not in REMEDIES:
            raise MessageError(f"there is no cure '{name}'")
        self.cure(name)


def _verified(
    export: File | Run | str | Path, session: Session | None, examples: int
) -> tuple[Verification, Check]:
    """What was found, and what can measure more.

    Raises:
        RunError: the path is of no file of this workbench, and no float model is given.
    """
    if isinstance(export, File):
        return export.verify(examples), check_run(export.run, export.path, examples)
    if isinstance(export, Run):
        return export.verify(examples=examples), check_run(export, None, examples)
    if session is not None:
        check = check_file(session, export, examples)
        return check.verify(), check
    opened = open_session(export)
    if not isinstance(opened, RestoredSession):
        raise RunError(f"'{export}' is no exported file of the workbench; give session= as well")
    return opened.verify_file(examples), check_file(opened, export, examples)
