"""The pictures of the app in notebook cells, each in one line.

    import workbench

    session = workbench.open("digits-mobilenet")
    workbench.widgets.histogram(session, "stem")
    workbench.widgets.tune(session)               # the session follows
    job = session.start(session.recipe(3, 8), out="runs/mine")
    workbench.widgets.signals(job)                # or signals("runs/mine"), in any kernel
    workbench.widgets.verify(workbench.Run("runs/mine"))

Runs are folders: one that the app made is shown here by its path, and one that was written into the
app's folder of runs is on its page. What is selected or set in a widget is a trait: Python reads,
sets and observes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.ui.widgets import (
    CompareWidget,
    DemoWidget,
    GraphWidget,
    HistogramWidget,
    LayersWidget,
    ParetoWidget,
    SignalsWidget,
    SurveyWidget,
    TuneWidget,
    VerifyWidget,
)

if TYPE_CHECKING:
    from workbench.session.allocation import Allocation
    from workbench.session.jobs import Job
    from workbench.session.runs import File, Run
    from workbench.session.session import Session

__all__ = [
    "CompareWidget",
    "DemoWidget",
    "GraphWidget",
    "HistogramWidget",
    "LayersWidget",
    "ParetoWidget",
    "SignalsWidget",
    "SurveyWidget",
    "TuneWidget",
    "VerifyWidget",
    "compare",
    "graph",
    "histogram",
    "layers",
    "pareto",
    "signals",
    "survey",
    "tune",
    "verify",
]


def layers(subject: Session | Run, **options: Any) -> LayersWidget:
    """Layers, worst first, and one of them in detail; see `LayersWidget`."""
    return LayersWidget(subject, **options)


def histogram(subject: Session | Run, layer: str = "", **options: Any) -> HistogramWidget:
    """A layer's weights under a grid whose ends can be dragged; see `HistogramWidget`."""
    return HistogramWidget(subject, layer, **options)


def tune(session: Session, **options: Any) -> TuneWidget:
    """Bits, rounding and clip of each layer; the session follows; see `TuneWidget`."""
    return TuneWidget(session, **options)


def graph(subject: Session | Run, **options: Any) -> GraphWidget:
    """The network as a drawing, coloured by what its layers lose; see `GraphWidget`."""
    return GraphWidget(subject, **options)


def signals(run: Run | Job | str | Path, **options: Any) -> SignalsWidget:
    """What a run learns, live while it learns; see `SignalsWidget`."""
    return SignalsWidget(run, **options)


def compare(*runs: Run | str | Path, **options: Any) -> CompareWidget:
    """Finished runs side by side; see `CompareWidget`."""
    return CompareWidget(*runs, **options)


def pareto(session: Session, found: Allocation | None = None, **options: Any) -> ParetoWidget:
    """Choices of bits from the smallest network to the most faithful one; see `ParetoWidget`."""
    return ParetoWidget(session, found, **options)


def verify(
    export: File | Run | str | Path, session: Session | None = None, **options: Any
) -> VerifyWidget:
    """An exported file against its simulation, tensor by tensor; see `VerifyWidget`."""
    return VerifyWidget(export, session, **options)


def survey(**options: Any) -> SurveyWidget:
    """Where methods act, what teaches them, and which to take; see `SurveyWidget`."""
    return SurveyWidget(**options)
