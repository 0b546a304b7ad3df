"""What a run does, from recipe to proven file: one generator, used in this process or in a job.

Learning goes stage by stage; what a finished stage learned is stored, so a run that was stopped
goes on after it, and inside a stage from the method's own checkpoint.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
import torch
from torch import Tensor

from workbench.analysis.distributions import distributions
from workbench.analysis.layer_errors import LayerErrors
from workbench.analysis.ledger import Ledger
from workbench.deploy.export import Exported, export
from workbench.deploy.latency import compare_latency
from workbench.deploy.metadata import SCORES, annotate, compact
from workbench.deploy.proof import prove_transforms
from workbench.deploy.runtime import open_session, run
from workbench.deploy.verify import verify
from workbench.foundation.errors import ModelError, RecipeError, unknown_name
from workbench.graph.passes.registry import Measured
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import target, why_nothing
from workbench.methods.base import Event, Task
from workbench.methods.registry import METHODS, make
from workbench.methods.together import Together
from workbench.session.augment import augmented
from workbench.session.data import BATCH_MOST, Data
from workbench.session.data_free import judged, label, synthesise
from workbench.session.launched import Shared
from workbench.session.progress import Clock, Progress, spent
from workbench.session.recipe import Recipe
from workbench.session.relearning import Ground, Learned, Memory
from workbench.session.restored import file_metadata
from workbench.session.scores import Comparison, Model
from workbench.session.store import Checkpoint, RunFiles, finite, write_json
from workbench.session.teaching import teacher
from workbench.session.version import VERSION, code

if TYPE_CHECKING:
    import pandas

    from workbench.session.session import Session

Watch = Callable[[int, int], None]

GUILTY = 3  # layers to name
LATENCY_REPEATS = 20
RANGES = "rtn"  # the method that sets ranges, for itself and for others
FEWEST = 16  # examples, even of large pictures


@dataclass(frozen=True)
class Extent:
    """How much of a run beyond learning and export is wanted.

    Attributes:
        naive: score nearest rounding on the same grids too.
        layers: diagnose each layer.
        verify: compare the file with the simulation, tensor by tensor.
        latency: time the file and the float model.
        examples: test examples for scores; 0 for all.
        layer_examples, verify_examples: the same for diagnosis and verification.
    """

    naive: bool = True
    layers: bool = True
    verify: bool = True
    latency: bool = True
    examples: int = 0
    layer_examples: int = 128
    verify_examples: int = 128

    def phases(self) -> list[str]:
        """Names of the phases that will be gone through, in order."""
        wanted = {"layers": self.layers, "verify": self.verify, "latency": self.latency}
        every = ("learn", "export", "scores", "layers", "verify", "latency")
        return [phase for phase in every if wanted.get(phase, True)]

    def covers(self, other: Extent) -> bool:
        """True if a run of this extent holds all that one of the `other` extent does."""
        parts = ("naive", "layers", "verify", "latency")
        if any(getattr(other, part) and not getattr(self, part) for part in parts):
            return False
        counts = {"examples": True, "layer_examples": other.layers, "verify_examples": other.verify}
        return all(
            getattr(self, name) == getattr(other, name) for name, asked in counts.items() if asked
        )

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Extent:
        """The inverse of `dataclasses.asdict`; unknown keys are left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in record.items() if key in known})


def execute(
    session: Session,
    recipe: Recipe,
    directory: Path,
    extent: Extent | None = None,
    together: Together | None = None,
) -> Iterator[tuple[Event, Progress]]:
    """Do everything `recipe` asks, leaving it in `directory`; yields events as they happen.

    Each event is in `events.jsonl` before it is yielded. Run again over the same directory, it
    goes on where the last one ended. Where several processes learn `together`, this is the first,
    and the others `follow`.
    """
    extent = extent or Extent()
    files = RunFiles(directory)
    costs = [str(METHODS[stage.method].facts.get("cost", "")) for stage in recipe.stages]
    minutes = any(cost.startswith("minutes") for cost in costs)
    clock = Clock(files, phases(recipe, extent), len(recipe.stages), minutes)
    for phase, event in _Execution(session, recipe, files, extent, together).events():
        step = reached(recipe, phase, event)
        progress = clock.at(phase, event.stage, step, event.total, describe(event))
        files.append_event({"phase": phase, **event.record(), "time": time.time()})
        yield event, progress
    files.checkpoint.unlink(missing_ok=True)
    yield Event("done", text="done"), clock.done()


def follow(session: Session, recipe: Recipe, together: Together) -> None:
    """Learn along with the process that makes the run, and keep nothing."""
    with TemporaryDirectory() as folder:
        files = RunFiles(Path(folder))
        for _ in _Execution(session, recipe, files, Extent(), together).learning():
            pass


def phases(recipe: Recipe, extent: Extent) -> list[str]:
    """Names of the phases that a run goes through, in order."""
    return [*(["synthesise"] if recipe.synthetic else []), *extent.phases()]


def build(session: Session, recipe: Recipe, measured: Measured | None = None) -> QuantizedGraph:
    """The graph with a plain quantizer on every site that the recipe's target asks for.

    Args:
        session, recipe: the model and what is asked of it.
        measured: what the recipe's transformations saw in the data; by default they look now.

    Raises:
        ModelError: there is nothing to quantize, and why.
    """
    place = target(recipe.target)
    if measured is None:
        measured = session.observe(recipe)
    graph = session.transformed(recipe.preparation, measured)
    plan = place.plan(graph, recipe.weights, recipe.activations, recipe.overrides, recipe.edges)
    reason = why_nothing(graph, plan, place)
    if reason:
        raise ModelError(f"nothing in '{session.name}' can be quantized: {reason}")
    model = QuantizedGraph(graph, plan.sites)
    for stage in recipe.stages:
        beyond(model, stage.layers)
    return model


def beyond(model: QuantizedGraph, names: Collection[str]) -> frozenset[str]:
    """The sites that a stage for these layers leaves as they are; none where it is for all.

    Raises:
        RecipeError: there is no such layer, or none of its weights is quantized.
    """
    if not names:
        return frozenset()
    weights = {site.name: site.layer for site in model.of_kind("weight")}
    unknown = [name for name in names if name not in weights.values()]
    if unknown:
        known = list(dict.fromkeys(filter(None, weights.values())))
        raise RecipeError(unknown_name("quantized layer", unknown[0], known))
    return frozenset(site for site in model.sites if weights.get(site) not in names)


def state_key(session: Session, recipe: Recipe) -> str:
    """What the stored state of a run belongs to."""
    return hashlib.sha256(f"{session.sha256}\n{recipe.toml()}".encode()).hexdigest()


def reached(recipe: Recipe, phase: str, event: Event) -> int:
    """The step in its stage: ranges that a method takes before it learns are its beginning."""
    if phase != "learn" or event.method != RANGES:
        return event.step
    return event.step if recipe.stages[event.stage].method == RANGES else 0


def describe(event: Event) -> str:
    """One line for people."""
    what = event.text or " ".join(filter(None, (event.method, event.site)))
    return f"{what} ({event.step}/{event.total})" if event.total else what


@dataclass(frozen=True)
class Diagnosis:
    """What quantization does to each layer.

    Attributes:
        records: `LayerError` records as JSON values, in the order of the graph.
    """

    records: list[dict[str, Any]]

    @property
    def table(self) -> pandas.DataFrame:
        """One row for each layer."""
        import pandas

        return pandas.DataFrame(self.records)

    @property
    def guilty(self) -> list[str]:
        """The layers that hurt most, worst first."""
        return guilty(self.records)


class _Execution:
    """The state of one run while it is made."""

    def __init__(
        self,
        session: Session,
        recipe: Recipe,
        files: RunFiles,
        extent: Extent,
        together: Together | None = None,
    ) -> None:
        self.session = session
        self.recipe = recipe
        self.files = files
        self.extent = extent
        self.together = together or Together()
        self.measured = files.read_measured()
        if self.measured is None:
            self.measured = session.observe(recipe)
        self.model = build(session, recipe, self.measured).eval()
        begun = files.read_run() if files.run.exists() else {}
        self.teacher = teacher(session, recipe, begun.get("teacher", ""))
        self.report: dict[str, Any] = {}
        self._naive: QuantizedGraph | None = None
        self._key = state_key(session, recipe)
        self._start = time.monotonic() - spent(files)

    def events(self) -> Iterator[tuple[str, Event]]:
        """Phase by phase."""
        steps: dict[str, Callable[[], Iterator[Event]]] = {
            "synthesise": self._synthesise,
            "learn": self._learn,
            "export": self._export,
            "scores": self._scores,
            "layers": self._layers,
            "verify": self._verify,
            "latency": self._latency,
        }
        for phase in phases(self.recipe, self.extent):
            for event in steps[phase]():
                yield phase, event
        self._write_report()

    def learning(self) -> Iterator[Event]:
        """The phases that several processes go through."""
        if self.recipe.synthetic:
            yield from self._synthesise()
        yield from self._learn()

    @cached_property
    def data(self) -> Data:
        """Its test split judges."""
        return self.session.judging(self.recipe)

    @cached_property
    def calibration(self) -> Data:
        """Its calibration split is learned from."""
        return self.session.calibrating(self.recipe)

    def _synthesise(self) -> Iterator[Event]:
        yield from synthesise(self.session, self.recipe)
        self.report["data_free"] = label(self.session, self.recipe)
        self.report["judged"] = judged(self.session, self.recipe)
        text = f"{self.report['data_free']}; {self.report['judged']}"
        yield Event("note", step=1, total=1, text=text)

    def _learn(self) -> Iterator[Event]:
        stored = Shared(Checkpoint(self.files.state, self._key), self.together)
        found = stored.load()
        finished = 0
        if found is not None:
            tensors, finished = found
            self.model.load_state(tensors)
        yield from self.stages(self.model, self.recipe, stored, finished)
        self.together.leave()

    def stages(
        self,
        model: QuantizedGraph,
        recipe: Recipe,
        stored: Shared | None,
        finished: int,
        memory: Memory | None = None,
    ) -> Iterator[Event]:
        """Learn stage after stage; with `stored`, what a finished stage learned is kept.

        With a `memory`, what earlier learning left is taken over where it stands.
        """
        for index, stage in enumerate(recipe.stages):
            if index < finished:
                continue
            torch.manual_seed(recipe.seed)
            task = self._task(recipe, index, keep=stored is not None)
            task.kept = beyond(model, stage.layers)
            task.kept |= frozenset() if memory is None else memory.recall(index)
            yield from make(stage.method, stage.options).learn(model, task)
            if memory is not None:
                memory.keep()
            if stored is not None:
                stored.save(model.state(), index + 1)
                self.files.checkpoint.unlink(missing_ok=True)

    def _task(self, recipe: Recipe, stage: int, keep: bool) -> Task:
        def batches() -> Iterator[tuple[Tensor, ...]]:
            size = self.session.batch_size
            found = (inputs for inputs, _ in self.calibration.batches("calibration", size))
            # what one stage has fitted, such as a classifier's bias, the next should see afresh
            return augmented(found, recipe.augment, recipe.seed + stage)

        examples = self.calibration.size("calibration") * recipe.augment
        task = Task(batches, examples, recipe.seed, stage=stage)
        task.lessons = lambda: self.calibration.lessons(self.session.batch_size)
        task.teacher = self.teacher.graph if self.teacher else None
        if keep:
            task.together = self.together
            own = Checkpoint(self.files.checkpoint, f"{self._key}/{stage}")
            task.checkpoint = Shared(own, self.together)
        return task

    def _export(self) -> Iterator[Event]:
        yield self._note("writing the ONNX file", 0)
        metadata = file_metadata(self.session, self.recipe, self.measured)
        written = export(self.model, self.files.model, store=self.recipe.store, metadata=metadata)
        self.report |= _sizes(written)
        self.report["transforms"] = self._transforms()
        yield self._note(f"wrote {written.bytes:,} bytes", 1)

    def _transforms(self) -> list[dict[str, Any]]:
        """What each transformation did, and what it changed on the first held-out examples."""
        names, inputs = self.recipe.preparation, next(self.few(FEWEST))
        found = prove_transforms(self.session.graph.model, inputs, names, self.measured)
        return [step.record() for step in found]

    def _scores(self) -> Iterator[Event]:
        candidates: dict[str, Model] = {"learned": self.model, "onnxruntime": self._runtime}
        if self.extent.naive:
            yield self._note("rounding to nearest, for comparison", 0)
            candidates["naive"] = self._naive = self._nearest()
        limit = self.extent.examples or None
        total = min(limit or self.data.size("test"), self.data.size("test"))
        comparison = Comparison(self.session.model, candidates, self.data.task)
        done = 0
        for inputs, labels in self.data.batches("test", self.session.batch_size, limit):
            comparison.add(inputs, labels)
            done += len(inputs[0])
            yield self._note("scoring on held-out examples", done, total)
        predicted = comparison.predictions()
        if predicted:
            Checkpoint(self.files.predictions, self._key).save(predicted, 0)
        found = comparison.records()
        ordered = ("float", "naive", "learned", "onnxruntime")
        self.report["scores"] = {name: found[name] for name in ordered if name in found}
        annotate(self.files.model, {SCORES: compact(finite(self.report["scores"]))})
        self.report["bytes"] = self.files.model.stat().st_size

    def _nearest(self) -> QuantizedGraph:
        recipe = self.recipe.naive()
        if recipe == self.recipe:
            return self.model
        model = build(self.session, recipe, self.measured).eval()
        for _ in self.stages(model, recipe, None, 0):
            pass
        return model

    @cached_property
    def _runtime(self) -> Model:
        """The exported file in ONNX Runtime, with exact kernels."""
        runtime = open_session(self.files.model, exact=True)

        def call(*inputs: Tensor) -> tuple[Tensor, ...]:
            return tuple(torch.from_numpy(value) for value in run(runtime, inputs).values())

        return call

    def _layers(self) -> Iterator[Event]:
        models = {"layers": self.model}
        if self._naive is not None:
            models["naive_layers"] = self._naive
        seen: dict[QuantizedGraph, list[dict[str, Any]]] = {model: [] for model in models.values()}
        ledger = Ledger(self.files.layers)
        for index, model in enumerate(seen):
            batches = self.few(self.extent.layer_examples)
            errors = LayerErrors(model, batches, ledger, f"{VERSION}/{code()}")
            for place in errors:
                step, total = index * place.total + place.step, len(seen) * place.total
                yield self._note("looking at each layer", step, total)
            seen[model] = [error.record() for error in errors.errors]
        self.report |= {key: seen[model] for key, model in models.items()}
        self.report["guilty"] = guilty(self.report.get("naive_layers") or self.report["layers"])
        batches = self.few(self.extent.layer_examples)
        self.report["histograms"] = distributions(self.model, batches)

    def _verify(self) -> Iterator[Event]:
        yield self._note("comparing with ONNX Runtime, tensor by tensor", 0)
        found = verify(self.files.model, self.model, self.few(self.extent.verify_examples))
        self.report["verification"] = found.record()
        yield self._note(found.sentence(), 1)

    def few(self, examples: int) -> Iterator[tuple[Tensor, ...]]:
        """Held-out inputs for what keeps every tensor: fewer where the inputs are large."""
        size = self.session.batch_size
        most = max(FEWEST, examples * size // BATCH_MOST)
        return (b for b, _ in self.data.batches("test", size, min(examples, most)))

    def _latency(self) -> Iterator[Event]:
        yield self._note("measuring latency", 0)
        one = next(self.data.batches("test", 1))[0]
        original = ir.to_proto(self.session.graph.model).SerializeToString()
        found = compare_latency(original, self.files.model, one, repeats=LATENCY_REPEATS)
        self.report["latency_ms"] = found.quantized_ms
        self.report["float_latency_ms"] = found.float_ms
        yield self._note(f"{found.quantized_ms:.2f} ms, float {found.float_ms:.2f} ms", 1)

    def _write_report(self) -> None:
        head = {"model": self.session.about(), "recipe": self.recipe.toml()}
        tail = {"extent": asdict(self.extent), "seconds": time.monotonic() - self._start}
        write_json(self.files.report, {**head, **self.report, **tail})

    def _note(self, text: str, step: int, total: int = 1) -> Event:
        return Event("note", stage=len(self.recipe.stages), step=step, total=total, text=text)


def diagnose(session: Session, recipe: Recipe, watch: Watch | None = None) -> Diagnosis:
    """Quantize as the recipe says, keep nothing, and look at each layer on held-out examples.

    Args:
        session: model and data.
        recipe: usually one that rounds to nearest.
        watch: called with (step, total).
    """
    work = _learned(session, recipe)
    errors = LayerErrors(work.model, work.few(Extent().layer_examples))
    for place in errors:
        if watch is not None:
            watch(place.step, place.total)
    return Diagnosis([error.record() for error in errors.errors])


def quantized(session: Session, recipe: Recipe) -> QuantizedGraph:
    """Quantized as the recipe says, and nothing kept."""
    return _learned(session, recipe).model


def learned(session: Session, recipe: Recipe, before: Learned | None = None) -> Learned:
    """Learned as the recipe says, in memory.

    Args:
        session: model and data.
        recipe: what is asked.
        before: earlier learning; what stands of it is taken over, see `session.relearning`.
    """
    with TemporaryDirectory() as folder:
        work = _Execution(session, recipe, RunFiles(Path(folder)), Extent())
        ground = Ground.of(session, recipe, work.measured or {})
        memory = Memory(recipe, work.model, ground, before)
        for event in work.stages(work.model, recipe, None, memory.finished, memory):
            memory.events.append(event.record())
    return memory.learned()


def _learned(session: Session, recipe: Recipe) -> _Execution:
    with TemporaryDirectory() as folder:
        work = _Execution(session, recipe, RunFiles(Path(folder)), Extent())
        for _ in work.stages(work.model, recipe, None, 0):
            pass
    return work


def guilty(layers: list[dict[str, Any]], count: int = GUILTY) -> list[str]:
    """The layers whose quantization alone changes the output most, worst first."""
    ranked = sorted(layers, key=lambda layer: layer.get("damage_kl") or 0.0, reverse=True)
    return [str(layer["layer"]) for layer in islice(ranked, count)]


def _sizes(written: Exported) -> dict[str, Any]:
    return {
        "bytes": written.bytes,
        "float_bytes": written.float_bytes,
        "int8_bytes": written.int8_bytes,
        "opset": written.opset,
        "store": written.store,
        "notes": list(written.notes),
    }
