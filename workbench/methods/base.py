"""What a method is: it moves the learnables of a quantized graph and reports events as it goes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor

from workbench.foundation.options import Options
from workbench.graph.build import Graph
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.methods.concerns import Concern
from workbench.methods.kept import NOTHING, Kept
from workbench.methods.together import Together

EventKind = Literal["start", "step", "layer", "note", "done"]
Batch = tuple[Tensor, ...]
DIGITS = 5  # of the numbers in a record


@dataclass(frozen=True)
class SiteSignals:
    """What learning does at one site.

    Attributes:
        values: "gradient" (norm), "scale" and "zero_point" (with _min and _max where there are
            several), "clipped" (share beyond the outermost levels); of a weight also "flips" (share
            of the codes that are not the nearest) and "open" (share of the roundings undecided).
            Where the network trains also "scale_gradient", "effective_bits", "moved" (distance from
            float), "flips_per_step" and "oscillating".
        counts: "h", the histogram of h(V) in ten bins from 0 to 1; "latent", that of trained
            weights around their levels, in ten bins from half a gap below to half a gap above.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """Something that happened while learning; the same record feeds plots, logs and reports.

    Attributes:
        kind: "start" and "done" of a stage, a "step" inside a layer or epoch, a finished "layer",
            or a "note" for people.
        method: its registry name; stage: its index in the recipe.
        site: layer, site or epoch it belongs to.
        step, total: progress of the stage, in units of the method's own choosing.
        values: the learning signals, such as loss, scale or flips.
        counts: coarse histograms, such as that of h(V) in ten bins from 0 to 1.
        sites: signals of each site by name, where they are not thinned out.
        concern: for a note, what went wrong, as one of `concerns.KINDS`.
        text: a sentence for people, or nothing.
    """

    kind: EventKind
    method: str = ""
    stage: int = 0
    site: str | None = None
    step: int = 0
    total: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sites: Mapping[str, SiteSignals] = field(default_factory=dict)
    concern: str = ""
    text: str = ""

    def record(self) -> dict[str, Any]:
        """As plain JSON values, short: what is empty is left out, numbers have five digits."""
        return _short(asdict(self))


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        parts = {key: _short(part) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part not in (None, "", {})}
    return value


class Checkpoint(Protocol):
    """Where a method leaves what it has learned so far; a run directory, or nothing."""

    def save(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Replace the stored state by this one, all or nothing."""

    def load(self) -> tuple[dict[str, Tensor], int] | None:
        """The stored tensors and step, or None at a fresh start."""


class NoCheckpoint:
    """Forgets; for learning in memory."""

    def save(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Do nothing."""

    def load(self) -> tuple[dict[str, Tensor], int] | None:
        """Nothing was kept."""
        return None


@dataclass
class Task:
    """What a method is given besides the model.

    Attributes:
        batches: makes a fresh iterator over the calibration inputs, each a tuple of tensors.
        examples: how many examples they hold.
        seed: makes the run repeatable.
        checkpoint: where to save between layers or epochs.
        stage: index of the stage in its recipe.
        calibrator: name of the activation calibrator; weight_calibrator: of the weight one.
        lessons: makes a fresh iterator over what a network trains on, with labels if there are any.
        teacher: float network to be taught by; None is the model's own.
        together: the processes that train it, of which this is one.
        kept: sites that the model holds as this stage would learn them, see `Method.keeps`.
    """

    batches: Callable[[], Iterator[Batch]]
    examples: int
    seed: int = 0
    checkpoint: Checkpoint = field(default_factory=NoCheckpoint)
    stage: int = 0
    calibrator: str = "mse"
    weight_calibrator: str = "mse"
    lessons: Callable[[], Iterator[tuple[Batch, Tensor | None]]] | None = None
    teacher: Graph | None = None
    together: Together = field(default_factory=Together)
    kept: frozenset[str] = frozenset()

    def examples_to_learn(self) -> Iterator[tuple[Batch, Tensor | None]]:
        """What a network trains on, batch by batch."""
        if self.lessons is not None:
            return self.lessons()
        return ((batch, None) for batch in self.batches())


class Method(ABC):
    """A named learner. Subclasses set `name` by registration and implement `learn`.

    Attributes:
        by_layer: it leaves the weights alone that a task keeps, wherever in the network they are.
    """

    name: ClassVar[str] = ""
    by_layer: ClassVar[bool] = False

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    def learn(self, model: QuantizedGraph, task: Task) -> Iterator[Event]:
        """Change the model's quantizers (and weights) in place; yield what happens."""

    def keeps(self, model: QuantizedGraph, changed: Collection[Site]) -> Kept:
        """What would be learned again just as it was, though some sites are others now.

        Args:
            model: as it is asked for now; its float network and data are those of before.
            changed: sites that are other ones now (as they were, too), are new, or are no more.
        """
        return NOTHING

    def event(self, kind: EventKind, task: Task, **fields: Any) -> Event:
        """An event of this method and stage."""
        return Event(kind, method=self.name, stage=task.stage, **fields)

    def concern(self, task: Task, concern: Concern, **fields: Any) -> Event:
        """A note on what went wrong."""
        noted = {"site": concern.site, "concern": concern.kind, "text": concern.text}
        return self.event("note", task, **noted, **fields)
