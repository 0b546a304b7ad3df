"""A session out of an exported file: its recipe, its quantizers, and what can be done with them.

The float weights are not in the file. Where the float model is given, or the file was made from a
model that has a name, the file's hash of it is checked and everything is compared with the real
float model; otherwise the dequantized weights stand for it, and `about` says so.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from workbench.deploy import metadata as meta
from workbench.deploy.export import Exported, export
from workbench.deploy.restore import Restored, restore
from workbench.foundation.errors import ModelError, WorkbenchError
from workbench.graph.load import load
from workbench.graph.passes.registry import Measured
from workbench.session import zoo
from workbench.session.data_free import label
from workbench.session.known import Known
from workbench.session.recipe import Recipe
from workbench.session.session import Origin, Session
from workbench.session.teaching import unlocated

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.deploy.verification import Verification
    from workbench.graph.quantized import QuantizedGraph
    from workbench.session.execute import Diagnosis
    from workbench.session.images import Preprocess

log = logging.getLogger(__name__)

SAMPLE = f"{meta.PREFIX}sample"
EXAMPLES = 128


class RestoredSession(Session):
    """A session on an exported file. Made by `workbench.open`.

    Attributes:
        path: the file.
        restored: what it holds.
        has_original: True where the real float model was found.

    Args:
        path: of the exported file.
        model: the same, loaded.
        original: path or name of the float model it was made from; None looks for a named one.
        name, data, preprocess: as for `workbench.open`.

    Raises:
        ModelError: the file is damaged, or `original` is another model.
    """

    def __init__(
        self,
        path: Path,
        model: ir.Model,
        original: str | Path | None = None,
        name: str | None = None,
        data: object = None,
        preprocess: Preprocess | None = None,
    ) -> None:
        self.path = path
        self.restored: Restored = restore(model)
        entries = self.restored.metadata
        known = _known(entries)
        found = _original(entries, original, known, path)
        self.has_original = found is not None
        source = found if found is not None else self.restored.model
        title = name or entries.get(meta.MODEL) or path.stem
        origin = Origin("file", str(path.resolve()))
        super().__init__(source, title, origin, data, known, preprocess)

    @cached_property
    def made_by(self) -> Recipe | None:
        """The recipe that the file was made by, if it holds one."""
        text = self.restored.metadata.get(meta.RECIPE)
        return None if text is None else Recipe.from_toml(text)

    @cached_property
    def already(self) -> str:
        """That the workbench made the file, and how its weights are stored."""
        weights = [site for site in self.restored.sites.values() if site.kind == "weight"]
        bits = " and ".join(str(width) for width in sorted({s.grid.bits for s in weights}))
        count = "1 weight" if len(weights) == 1 else f"{len(weights)} weights"
        form = f"{count} of {bits} bits" if weights else "no weights"
        return f"already quantized (by the workbench, {form}); see: workbench verify"

    @cached_property
    def quantized(self) -> QuantizedGraph:
        """The file's simulation; beside the real float model where there is one."""
        if not self.has_original:
            return self.restored.quantized()
        names = self.made_by.preparation if self.made_by else ()
        return self.restored.quantized(self.transformed(names, self.measured))

    @property
    def measured(self) -> dict[str, Tensor]:
        """What transformations of the float graph saw in the data, when the file was made."""
        return meta.unpacked(self.restored.metadata, meta.MEASURED)

    @property
    def recorded_scores(self) -> dict[str, Any]:
        """What the file says of its scores, by candidate; {} where it says nothing."""
        return meta.parsed(self.restored.metadata, meta.SCORES, {})

    def export_file(
        self,
        path: str | Path,
        store: str | None = None,
        opset: int | None = None,
        external: bool = False,
    ) -> Exported:
        """Write the file's quantizers to another file, by default to an equal one."""
        entries = self.restored.metadata
        own = (
            meta.RECIPE,
            meta.MODEL,
            meta.SOURCE,
            meta.SCORES,
            meta.MEASURED,
            meta.CALIBRATION,
            SAMPLE,
        )
        given = {key: entries[key] for key in own if key in entries}
        kind = store or entries.get(meta.STORE, "packed")
        if kind not in ("packed", "int8"):
            raise ModelError(f"store was '{kind}'; choose 'packed' or 'int8'")
        return export(
            self.quantized, path, store=kind, opset=opset, external=external, metadata=given
        )

    def verify_file(self, examples: int = EXAMPLES) -> Verification:
        """Compare the file, run in ONNX Runtime, with its simulation on held-out data."""
        from workbench.deploy.verify import verify

        return verify(self.path, self.quantized, self._held_out(examples))

    def diagnose_file(self, examples: int = EXAMPLES) -> Diagnosis:
        """What the file's quantizers do to each layer, on held-out data."""
        from workbench.analysis.layer_errors import LayerErrors
        from workbench.session.execute import Diagnosis

        errors = LayerErrors(self.quantized, self._held_out(examples))
        for _ in errors:
            pass
        return Diagnosis([error.record() for error in errors.errors])

    def about(self) -> dict[str, Any]:
        """As of any session, and what the file holds, as JSON values."""
        grids = Counter(f"{s.kind} {s.grid.describe()}" for s in self.restored.sites.values())
        entries = self.restored.metadata
        held = {
            "grids": dict(grids),
            "recipe": entries.get(meta.RECIPE),
            "versions": {meta.VERSION: entries.get(meta.VERSION)}
            | meta.parsed(entries, meta.VERSIONS, {}),
            "scores": self.recorded_scores,
            "calibration": entries.get(meta.CALIBRATION, ""),
            "changed": list(self.restored.floats),
            "original": self.has_original,
            "float_weights": "of the original" if self.has_original else "dequantized",
        }
        return {**super().about(), "file": held}

    def _held_out(self, examples: int) -> Any:
        batches = self.data.batches("test", self.batch_size, examples)
        return (inputs for inputs, _ in islice(batches, examples))


def file_metadata(
    session: Session, recipe: Recipe, measured: Measured | None = None
) -> dict[str, str]:
    """What an exported file is told about where it comes from; never a path.

    Args:
        session, recipe: what it was made from, and how.
        measured: what the recipe's transformations saw in the data.
    """
    found = {
        meta.RECIPE: unlocated(recipe).toml(),
        meta.MODEL: session.name,
        meta.SOURCE: session.sha256,
    }
    if recipe.synthetic is not None:
        found[meta.CALIBRATION] = label(session, recipe)
    if measured:
        found[meta.MEASURED] = meta.packed(measured)
    if session.origin.kind == "sample":
        found[SAMPLE] = session.origin.value
    return found


def _known(entries: Any) -> Known | None:
    name = entries.get(SAMPLE)
    try:
        return None if name is None else zoo.find(name)
    except WorkbenchError as error:
        log.info("the file was made from '%s', which is not known here: %s", name, error)
        return None


def _original(
    entries: Any, given: str | Path | None, known: Known | None, path: Path
) -> ir.Model | None:
    """The float model, if its hash is the file's; None where none was given or can be found."""
    if given is None and known is None:
        return None
    try:
        place = _place(given) if given is not None else known.path()  # type: ignore[union-attr]
        model = load(place)
    except WorkbenchError:
        if given is not None:
            raise
        return None
    expected = entries.get(meta.SOURCE)
    if expected in (None, _sha256(model)):
        return model
    if given is None:
        return None
    raise ModelError(
        f"'{given}' is not the model that '{path.name}' was made from; give the right one, or none"
    )


def _place(given: str | Path) -> Path:
    path = Path(given).expanduser()
    return path if path.suffix or path.exists() else zoo.find(str(given)).path()


def _sha256(model: ir.Model) -> str:
    data = ir.to_proto(model).SerializeToString(deterministic=True)
    return hashlib.sha256(data).hexdigest()
