"""What a widget can show: a finished run, or a session that is diagnosed first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.analysis.distributions import distributions
from workbench.graph.quantized import QuantizedGraph
from workbench.session.runs import Run
from workbench.session.session import Session

EXAMPLES = 128


@dataclass(frozen=True)
class Subject:
    """Records of one quantized model.

    Attributes:
        name: of the model.
        records: `LayerError` records; histograms: by site.
        before: records of nearest rounding, to compare with.
        model: the simulation, for exact numbers.
    """

    name: str
    records: list[dict[str, Any]]
    histograms: Mapping[str, Mapping[str, Any]]
    model: QuantizedGraph
    before: Sequence[Mapping[str, Any]] = ()


def of_run(run: Run) -> Subject:
    """What a run's report holds."""
    report = run.report()
    name = str((report.get("model") or {}).get("name", run.name))
    histograms = report.get("histograms") or _histograms(run.session, run.model)
    before = report.get("naive_layers") or ()
    return Subject(name, list(report.get("layers") or []), histograms, run.model, before)


def of_session(session: Session, weights: int, activations: int | None) -> Subject:
    """Nearest rounding of a session's model, measured now."""
    from workbench.session.execute import build

    recipe = session.recipe(weights, activations, "rtn")
    found = session.diagnose(recipe=recipe)
    model = calibrated(session, build(session, recipe), recipe)
    return Subject(session.name, found.records, _histograms(session, model), model)


def calibrated(session: Session, model: QuantizedGraph, recipe: Any) -> QuantizedGraph:
    """`model` with the ranges that nearest rounding finds."""
    from workbench.methods.base import Task
    from workbench.methods.registry import make

    data = session.calibrating(recipe)

    def batches() -> Any:
        return (inputs for inputs, _ in data.batches("calibration", session.batch_size))

    task = Task(batches, data.size("calibration"), recipe.seed)
    for _ in make("rtn").learn(model.eval(), task):
        pass
    return model


def _histograms(session: Session, model: QuantizedGraph) -> dict[str, dict[str, Any]]:
    batches = session.data.batches("calibration", session.batch_size, EXAMPLES)
    return distributions(model, (inputs for inputs, _ in batches))
