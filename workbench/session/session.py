"""A session: one model with its data, and everything a person does with the two."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from workbench.deploy.restore import is_exported
from workbench.foundation.errors import DataError, ModelError, RunError, WorkbenchError, plain
from workbench.graph import Graph, build, fold, from_module, load
from workbench.graph.load import not_finite
from workbench.graph.passes.registry import Measured
from workbench.graph.transforms import measure, need_data, transform
from workbench.methods.base import Event
from workbench.session import zoo
from workbench.session.data import BATCH_MOST, DEFAULT_CALIBRATION, Data, open_data
from workbench.session.images import Preprocess
from workbench.session.progress import Progress
from workbench.session.recipe import ActivationSpec, Recipe, Stage, WeightSpec
from workbench.session.runs import Run, making, run_name, runs_dir
from workbench.session.sources import sizes
from workbench.session.store import RunFiles, replacing

if TYPE_CHECKING:
    from workbench.deploy.verification import Verification
    from workbench.graph.targets import Coverage, WeightGrid
    from workbench.methods.moments import MomentStore
    from workbench.methods.together import Together
    from workbench.session.allocation import Allocation, Budgets
    from workbench.session.causes import Causes
    from workbench.session.curing import Treatment
    from workbench.session.diagnosis import SiteDiagnosis
    from workbench.session.execute import Diagnosis, Extent
    from workbench.session.inspection import Inspection
    from workbench.session.jobs import Job
    from workbench.session.own_loop import OwnTraining
    from workbench.session.results import Results
    from workbench.session.sweep import Place
    from workbench.session.tuning import Tuning
    from workbench.session.whatif import WhatIf
    from workbench.session.work import Work

log = logging.getLogger(__name__)

Float = Literal["float"]
Watch = Callable[[Event, Progress], None]

#: numbers in one batch of inputs, so that large pictures come in small batches
_BATCH_NUMBERS = 2**21


@dataclass(frozen=True)
class Origin:
    """Where a model came from.

    Attributes:
        kind: "sample" (by name), "file" (by path) or "module" (a live one).
        value: the name or the path; the class's name of a module.
    """

    kind: Literal["sample", "file", "module"]
    value: str


class Session:
    """A model and its data. Made by `workbench.open`.

    Attributes:
        name: for people and run directories.
        graph: the folded ONNX graph and the module built from it.
        origin: where the model came from.
        card: what is known about a named model, else {}.
        moments: of the layers' inputs, by number of examples; gathered when first asked for.
        tuned: what single layers are asked for, see `tune`.
    """

    def __init__(
        self,
        model: ir.Model,
        name: str,
        origin: Origin,
        data: object = None,
        known: zoo.Known | None = None,
        preprocess: Preprocess | None = None,
    ) -> None:
        self.name = name
        self.origin = origin
        self.card = dict(known.card) if known else {}
        self.source = model
        folded, self.folds = fold(model)
        self.graph: Graph = build(folded)
        self._known = known
        self._given = data
        self._expected: str | None = None
        self._transformed: dict[tuple[tuple[str, ...], str], Graph] = {}
        self._measured: dict[tuple[tuple[str, ...], int | str], dict[str, Tensor]] = {}
        self.moments: dict[int, MomentStore] = {}
        self.tuned: dict[str, Tuning] = {}
        self._preprocess = preprocess or (known.preprocess if known else None)

    def __repr__(self) -> str:
        return f"Session({self.name!r}, {len(self.graph.model.graph)} nodes)"

    @property
    def model(self) -> nn.Module:
        """The float network; called with the inputs it gives a tuple of outputs."""
        return self.graph.module

    def transformed(self, names: Sequence[str] = (), measured: Measured | None = None) -> Graph:
        """The graph after transformations, in the order of `names`; the folded one without any.

        Args:
            names: with their options, as in `Recipe.preparation`.
            measured: what they saw in the data; by default they look now.

        Raises:
            RecipeError: an unknown name; the message has those known.
            DataError: one of them needs data, and there are none.
        """
        if not names:
            return self.graph
        seen = self.measure(names) if measured is None else measured
        key = tuple(names), _digest(seen)
        if key not in self._transformed:
            self._transformed[key] = build(transform(self.graph.model, names, seen)[0])
        return self._transformed[key]

    def measure(
        self, names: Sequence[str] = (), examples: int = DEFAULT_CALIBRATION
    ) -> dict[str, Tensor]:
        """What transformations see in the calibration data, for `transformed`; {} if nothing.

        Args:
            names: as for `transformed`.
            examples: in the calibration split; each looks at no more than its own options say.
        """
        if not need_data(names):
            return {}
        return self._look((tuple(names), examples), self.data.calibrate_on(examples))

    def observe(self, recipe: Recipe) -> dict[str, Tensor]:
        """What a recipe's transformations see in the examples that it calibrates on."""
        names = recipe.preparation
        if recipe.synthetic is None or not need_data(names):
            return self.measure(names, recipe.calibration_examples)
        return self._look((names, recipe.toml()), self.calibrating(recipe))

    def _look(self, key: tuple[tuple[str, ...], int | str], data: Data) -> dict[str, Tensor]:
        """Measured once for each `key`, whose first part names the transformations."""
        if key not in self._measured:
            size = self.batch_size
            self._measured[key] = measure(
                self.graph.model,
                key[0],
                lambda: (inputs for inputs, _ in data.batches("calibration", size)),
            )
        return self._measured[key]

    def inspect(self, prove: bool = False, transforms: Sequence[str] = ()) -> Inspection:
        """Operators, layers, blocks and passes of the model.

        Args:
            prove: run the model in ONNX Runtime before and after each pass, on the session's data
                or, without any, on random inputs, and report the difference.
            transforms: transformations to look at besides the folding.
        """
        from workbench.session.inspection import inspect

        return inspect(self, prove, transforms)

    def verify(self, path: str | Path, examples: int = 128, threads: int = 1) -> Verification:
        """A quantized file of any tool in ONNX Runtime: the cause of a difference, prices of cures.

        Args:
            path: a file made from this model.
            examples: of the session's test data. threads: of each timed session.
        """
        from workbench.session.verifying import check_file

        check = check_file(self, path, examples)
        return check.price(check.verify(), threads)

    @cached_property
    def data(self) -> Data:
        """Calibration and test examples.

        Raises:
            DataError: none were given and the model brings none, or they do not fit the model.
        """
        if self._given is not None:
            found = self._read(self._given)
            self._require_same(found)
            return found
        if self._known is not None and self._known.data is not None:
            return self._known.data(self.graph.inputs)
        raise DataError(
            f"'{self.name}' brings no data of its own; give some with --data PATH"
            " (Python: data=...): an .npz, a folder or zip of pictures, or a text file, or make"
            " some from the model with --synthetic zeroq"
        )

    @property
    def given(self) -> object:
        """The data that were given, as they were; None where the model's own serve."""
        return self._given

    @property
    def has_data(self) -> bool:
        """Whether there are real data, given or the model's own."""
        return self._given is not None or (self._known is not None and self._known.data is not None)

    @property
    def preprocess(self) -> Preprocess | None:
        """What the model's pictures need, where it is known."""
        return self._preprocess

    def calibrating(self, recipe: Recipe) -> Data:
        """The data whose calibration split a recipe learns from: real, or made from the model.

        Raises:
            DataError: there are none, or they cannot be made.
        """
        from workbench.session.data_free import made

        if recipe.synthetic is not None:
            return made(self, recipe)
        return self._divided(recipe)

    def _divided(self, recipe: Recipe) -> Data:
        """The session's data, divided as a recipe asks."""
        data = self.data.calibrate_on(recipe.calibration_examples)
        return data.train_on(recipe.training_examples)

    def judging(self, recipe: Recipe) -> Data:
        """The data whose test split judges: real ones where there are any, which did not calibrate.

        Raises:
            DataError: there are none, or they cannot be made.
        """
        if recipe.synthetic is None or self.has_data:
            return self._divided(recipe)
        return self.calibrating(recipe)

    def _read(self, given: object) -> Data:
        """The model's own way of reading a path comes before the usual ones."""
        own = self._known.read if self._known else None
        path = Path(given).expanduser() if isinstance(given, str | Path) else None
        found = own(path, self.graph.inputs) if own and path and path.exists() else None
        return found or open_data(given, self.graph.inputs, self._preprocess, self._classes())

    def use_data(self, given: object, preprocess: Preprocess | None = None) -> None:
        """Take other data from now on; where it does not fit, the old is kept."""
        before = self._given, self._preprocess, self._expected
        self._preprocess = preprocess or self._preprocess
        self._given = given
        self._measured.clear()
        self.moments.clear()
        self._expected = None
        self.__dict__.pop("data", None)
        try:
            _ = self.data
        except WorkbenchError:
            self._given, self._preprocess, self._expected = before
            raise

    def expect_data(self, fingerprint: str) -> None:
        """From now on refuse data whose record has another `fingerprint`."""
        self._expected = fingerprint

    def _require_same(self, data: Data) -> None:
        if self._expected is not None and data.record.get("fingerprint") != self._expected:
            raise RunError(
                f"the data '{data.record.get('path', data.name)}' have changed since the run began;"
                " put them back, or start a new run"
            )

    def _classes(self) -> int | None:
        """How many classes the first output tells apart, where its shape says so."""
        shape = self.graph.outputs[0].shape
        return shape[-1] if len(shape) == 2 and isinstance(shape[-1], int) else None

    @cached_property
    def warnings(self) -> list[str]:
        """What is odd about the model though it can be opened, one sentence each."""
        names = not_finite(self.source)
        shown = ", ".join(f"'{name}'" for name in names[:5]) + (" ..." if len(names) > 5 else "")
        text = f"{len(names)} initializers hold NaN or infinity, and so may all results: {shown}"
        return [plain(text)] if names else []

    @cached_property
    def already(self) -> str:
        """How a quantized model is stored, and what to do with it, in one line; "" in float."""
        from workbench.graph.stored import stored_form

        form = stored_form(self.source)
        return f"already quantized ({form}); see: workbench verify" if form else ""

    @cached_property
    def sha256(self) -> str:
        """Of the model as it was given, serialised."""
        return hashlib.sha256(self._bytes()).hexdigest()

    @property
    def batch_size(self) -> int:
        """Examples in a batch: fixed by the model, or as many as make a handy amount of numbers."""
        first = self.graph.inputs[0]
        numbers = max(math.prod(filter(None, sizes(spec)[1:])) for spec in self.graph.inputs)
        fixed = sizes(first)[0] if sizes(first) else 1
        return fixed or max(1, min(BATCH_MOST, _BATCH_NUMBERS // max(1, numbers)))

    def about(self) -> dict[str, Any]:
        """Name, origin and size of the model, as JSON values."""
        from workbench.graph.sites import layers

        found = layers(self.graph)
        return {
            "name": self.name,
            "origin": asdict(self.origin),
            "sha256": self.sha256,
            "opset": self.graph.opset,
            "nodes": len(self.graph.model.graph),
            "layers": len(found),
            "parameters": sum(layer.parameters for layer in found),
            "macs": sum(layer.macs for layer in found),
            "inputs": [_spec(spec) for spec in self.graph.inputs],
            "outputs": [_spec(spec) for spec in self.graph.outputs],
            "card": self.card,
            "warnings": self.warnings,
            "quantized": self.already,
        }

    def recipe(
        self,
        weights: int | WeightSpec = 4,
        activations: int | Float | ActivationSpec | None = 8,
        method: str = "gram",
        edges: int | None = 8,
        **options: Any,
    ) -> Recipe:
        """A recipe of one stage, with what layers are tuned to.

        `options` are the method's, or fields of `Recipe`.
        """
        fields = {key: options.pop(key) for key in tuple(options) if key in _RECIPE_FIELDS}
        recipe = Recipe(
            weights=WeightSpec(bits=weights) if isinstance(weights, int) else weights,
            activations=_activations(activations),
            edges=edges,
            stages=(Stage(method=method, options=options),),
            **fields,
        )
        return self.tuning(recipe) if self.tuned else recipe

    def tune(self, layer: str, **changes: Any) -> Tuning:
        """Ask for something else of one layer; what it is asked for now.

        `what_if`, and the recipes that `recipe` and `quantize` make, follow from then on.

        Args:
            layer: its name, or that of one of its weights, which can have bits of its own.
            changes: `bits`, `method`, `calibrator`, `share`, see `workbench.session.tuning`.

        Raises:
            RecipeError: an unknown layer, or what no layer can be asked for.
        """
        from workbench.session.tuning import Tuning, tuned

        found = tuned(self, layer, changes)
        others = {name: each for name, each in self.tuned.items() if name != layer}
        self.tuned = others if found == Tuning() else {**self.tuned, layer: found}
        return found

    def tuning(self, recipe: Recipe) -> Recipe:
        """A recipe with what layers are tuned to."""
        from workbench.graph.sites import layers
        from workbench.session.tuning import applied

        names = tuple(layer.name for layer in layers(self.graph) if layer.weights)
        return applied(recipe, self.tuned, names)

    def quantize(  # noqa: PLR0913 - the recipe, said in one line
        self,
        weights: int | WeightSpec = 4,
        activations: int | Float | ActivationSpec | None = 8,
        method: str = "gram",
        data: object = None,
        edges: int | None = 8,
        recipe: Recipe | None = None,
        out: str | Path | None = None,
        progress: Watch | None = None,
        extent: Extent | None = None,
        again: bool = False,
        **options: Any,
    ) -> Run:
        """Learn, export, prove and judge, in this process.

        The same work asked for twice is answered by the run that is there: a finished one as it
        is, a stopped one from where it stands.

        Args:
            weights, activations: bits; activations None, 0 or "float" stay float.
            method: one that `workbench methods` lists; `options` are its own, or recipe fields.
            data: other data than the session's.
            edges: bits of the first and last layer; None treats them as the others.
            recipe: instead of all the above.
            out: run directory; by default a new one below `runs/`.
            progress: called with each event and how far the run is.
            extent: what to leave out.
            again: a new run even where this work was done before.

        Raises:
            WorkbenchError: in one sentence, what does not fit and how to mend it.
        """
        if data is not None:
            self.use_data(data)
        recipe = recipe or self.recipe(weights, activations, method, edges, **options)
        files = self.place(recipe, out, extent, again)
        if Run(files.directory).state != "done":
            self.make(files, progress)
        return Run(files.directory)

    def trainable(
        self,
        weights: int | WeightSpec = 4,
        activations: int | Float | ActivationSpec | None = 8,
        method: str = "lsq",
        edges: int | None = 8,
        recipe: Recipe | None = None,
        **options: Any,
    ) -> OwnTraining:
        """The quantized network for a training loop of one's own; see `session.own_loop`.

        Args:
            weights, activations, method, edges, recipe, options: as for `quantize`.

        Raises:
            RecipeError: the method trains no network.
        """
        from workbench.session.own_loop import trainable

        return trainable(
            self, recipe or self.recipe(weights, activations, method, edges, **options)
        )

    def make(
        self, files: RunFiles, progress: Watch | None = None, together: Together | None = None
    ) -> None:
        """Make, or go on with, a prepared run in this process.

        Args:
            files: of the run.
            progress: called with each event and how far the run is.
            together: the processes that learn; this is the first of them.
        """
        from workbench.session.execute import Extent, execute

        extent = Extent.from_record(files.read_run().get("extent", {}))
        with making(files):
            recipe = Recipe.load(files.recipe)
            for event, position in execute(self, recipe, files.directory, extent, together):
                if progress is not None:
                    progress(event, position)

    def start(
        self,
        recipe: Recipe,
        out: str | Path | None = None,
        extent: Extent | None = None,
        memory_gib: float | None = None,
        seconds: float | None = None,
        again: bool = False,
    ) -> Job:
        """The same as `quantize` as a job in its own process; returns at once."""
        from workbench.session.jobs import Job

        job = Job(self.place(recipe, out, extent, again).directory)
        return job if job.state in ("running", "done") else job.start(memory_gib, seconds)

    def prepare(
        self,
        recipe: Recipe,
        out: str | Path | None = None,
        extent: Extent | None = None,
        measured: Measured | None = None,
        learned: Mapping[str, Tensor] | None = None,
    ) -> RunFiles:
        """A new run directory in which everything is checked and nothing is learned yet.

        Args:
            recipe, out, extent: as for `quantize`.
            measured: what the recipe's transformations saw in the data; by default they look now.
            learned: a state that was learned elsewhere, see `Work.write`.
        """
        work = self.work(recipe, extent, measured)
        place = out or runs_dir() / run_name(self.name, recipe)
        return work.write(place, learned)

    def work(
        self, recipe: Recipe, extent: Extent | None = None, measured: Measured | None = None
    ) -> Work:
        """The same, checked and not written: it can be looked for among the runs there are."""
        from workbench.session.work import check

        return check(self, recipe, extent, measured)

    def sweep(
        self,
        grid: Mapping[str, Sequence[Any]],
        recipes: Mapping[str, Recipe] | None = None,
        workers: int | None = None,
        memory_gib: float | None = None,
        extent: Extent | None = None,
        progress: Callable[[Place], None] | None = None,
    ) -> Results:
        """Make a run of every combination of a grid's values, in processes of this machine.

        What is made already is not made again, so a sweep that was broken off goes on.

        Args:
            grid: values by key, such as `{"weights": [2, 4], "method": ["rtn", "gram"]}`; the keys
                are those of `workbench.session.grid`.
            recipes: that the grid changes, by name; the usual one if None.
            workers, memory_gib: processes at a time, and the memory of all of them.
            extent: how much of each run's outcome is wanted; all but latency if None.
            progress: called now and then, and with each result as it comes in.

        Raises:
            SweepError: with all that does not fit; nothing was started.
        """
        from workbench.session import sweep
        from workbench.session.crew import budget

        found = sweep.build(self, grid, recipes, extent)
        return sweep.local(found, budget(workers, memory_gib), progress)

    def place(
        self,
        recipe: Recipe,
        out: str | Path | None = None,
        extent: Extent | None = None,
        again: bool = False,
    ) -> RunFiles:
        """The run of this work: one that is there, or a new one.

        Args:
            recipe, out, extent: as for `quantize`; in a directory of one's own it is always new.
            again: a new one even where there is one.
        """
        work = self.work(recipe, extent)
        if out is not None:
            return work.write(out)
        return work.anew() if again else work.place()

    def diagnose(
        self,
        weights: int | WeightSpec = 4,
        activations: int | Float | ActivationSpec | None = 8,
        method: str = "rtn",
        recipe: Recipe | None = None,
        progress: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> Diagnosis:
        """Which layers suffer: each alone and all together, on held-out data."""
        from workbench.session.execute import diagnose

        recipe = recipe or self.recipe(weights, activations, method, **options)
        return diagnose(self, recipe, progress)

    def site_errors(
        self,
        weights: int | WeightSpec = 4,
        activations: int | Float | ActivationSpec | None = 8,
        method: str = "rtn",
        edges: int | None = 8,
        recipe: Recipe | None = None,
        exact: bool = False,
        watch: Callable[[str, float, float | None], None] | None = None,
        **options: Any,
    ) -> SiteDiagnosis:
        """What each weight and activation does to the answer, estimated and, if asked, measured.

        Args:
            weights, activations, method, edges: as for `quantize`; `options` are fields of
                `Recipe`, the method's own, or `examples` and `draws` of
                `workbench.session.diagnosis.site_errors`.
            recipe: instead of these.
            exact: measure besides estimating; measurements are kept and taken up again.
            watch: called with what is done, the share of it and the seconds left.
        """
        from workbench.session.diagnosis import looked_at, site_errors

        own = {key: options.pop(key) for key in ("examples", "draws", "store") if key in options}
        recipe = recipe or looked_at(
            self, self.recipe(weights, activations, method, edges, **options)
        )
        return site_errors(self, recipe, exact=exact, watch=watch, **own)

    def causes(self, recipe: Recipe, layer: str = "", examples: int = 64) -> Causes:
        """Why a layer suffers under a recipe, by measured counterfactuals, and what cures it.

        Args:
            recipe: how the model is quantized.
            layer: a layer, or a site; "" takes the one that hurts the answer most.
            examples: held-out ones to look at.
        """
        from workbench.session.causes import causes, examined

        return causes(self, recipe, examined(self, recipe, examples=examples), layer)

    def cure(
        self,
        recipe: Recipe,
        layer: str = "",
        apply: int = 0,
        score: float | None = None,
        budget: int | None = None,
        examples: int = 512,
    ) -> Treatment:
        """Cure a recipe; `write()` of what comes back makes a run of it, `steps` tell the story.

        Where other data are the cure, they are the session's data from then on.

        Args:
            recipe: that ails.
            layer, apply: this cure of this layer, numbered as in `causes`; without `apply`, cures
                of what hurts most, again and again.
            score: then to reach; by default one per cent less than float.
            budget: then, bytes of weights that no cure may exceed.
            examples: held-out ones that decide.
        """
        from workbench.session.curing import Treatment, chosen

        treatment = Treatment(self, recipe, examples=examples)
        if apply:
            found = treatment.causes(layer)
            treatment.apply(chosen(found, apply), found.layer)
        else:
            treatment.auto(score, budget)
        return treatment

    def what_if(
        self, layer: str = "", weights: int | WeightGrid | None = None, **options: Any
    ) -> list[WhatIf]:
        """What layers would lose, from moments alone; see `workbench.session.whatif.what_if`."""
        from workbench.session.whatif import what_if

        return what_if(self, layer, weights, **options)

    def allocate(
        self,
        recipe: Recipe | None = None,
        budgets: Mapping[str, float] | Budgets | None = None,
        *,
        pins: Mapping[str, int] | None = None,
        points: int = 0,
        progress: Callable[[float, str], None] | None = None,
        **options: Any,
    ) -> Allocation:
        """Which weight gets how many bits; see `workbench.session.allocation`.

            session.allocate(budgets={"average_bits": 3}).recipe

        Args:
            recipe: whose bits are chosen; by default the one that `quantize` takes.
            budgets: of `average_bits`, `bytes`, `file_bytes`, `bops` (millions) or `latency_ms`;
                without any the knee of a sweep of `points` is taken.
            pins: bits by layer or pattern that are not to be chosen.
            points: of a sweep over the first budget's resource.
            progress: told the share that is done and what is being done.
            options: of `AllocationOptions`, such as method="cem" or sensitivity="fisher".

        Raises:
            RecipeError: no choice keeps the budgets, or there is nothing to choose.
            DataError: there are no data.
        """
        from workbench.session.allocating import allocate
        from workbench.session.allocation import AllocationOptions, Budgets

        given = budgets if isinstance(budgets, Budgets) else Budgets.parse(budgets or {}, "budgets")
        how = AllocationOptions.parse(options, "allocate")
        return allocate(self, recipe or self.recipe(), given, how, pins, points, progress)

    def coverage(self, recipe: Recipe | None = None) -> Coverage:
        """For every node what `recipe` makes of it on its target: integer or float, and why.

        Raises:
            RecipeError: an override that names nothing, or asks what the target cannot run.
        """
        from workbench.graph.targets import coverage, target

        recipe = recipe or Recipe()
        measured = self.observe(recipe)
        place, graph = target(recipe.target), self.transformed(recipe.preparation, measured)
        plan = place.plan(graph, recipe.weights, recipe.activations, recipe.overrides, recipe.edges)
        return coverage(graph, plan, place, recipe.store)

    def save(self, path: str | Path) -> None:
        """Write the float model, as it was given, to `path`."""
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(self._bytes())

    def _bytes(self) -> bytes:
        return ir.to_proto(self.source).SerializeToString(deterministic=True)

    def save_arrays(self, path: Path) -> None:
        """The data as an `.npz` in its present order, for the job's process."""
        rows = np.arange(len(self.data.source))
        read = [tensor.numpy() for tensor in self.data.source.read(rows)]
        names = (spec.name for spec in self.graph.inputs)
        arrays = dict(zip(names, read, strict=True))
        if self.data.source.labels is not None:
            arrays["labels"] = self.data.source.labels
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)


def open(  # noqa: A001 - it is `workbench.open` to those who call it
    source: str | Path | nn.Module | ir.Model,
    example_inputs: Sequence[Tensor] | None = None,
    data: object = None,
    name: str | None = None,
    preprocess: Preprocess | None = None,
    original: str | Path | None = None,
) -> Session:
    """Open a model, or a file that the workbench exported (then a `RestoredSession`).

    Args:
        source: an `.onnx` path, the name of a known model, or an `nn.Module`.
        example_inputs: what a module is called with, for its export.
        data: a path, arrays, or `(inputs, labels)`; a sample brings its own.
        name: for a module or file, instead of the class's or file's name.
        preprocess: what the model's pictures need.
        original: of an exported file: path or name of the float model that it was made from.

    Raises:
        ModelError, DataError: what does not fit, and the cure.
    """
    if isinstance(source, nn.Module):
        return _from_module(source, example_inputs, data, name, preprocess)
    if isinstance(source, ir.Model):
        return Session(
            source, name or "model", Origin("module", "ir.Model"), data, None, preprocess
        )
    if not isinstance(source, str | Path):
        raise ModelError(
            f"a model of type '{type(source).__name__}' cannot be opened; give an .onnx path,"
            " a known name, or an nn.Module"
        )
    if _is_file(source):
        path = Path(source).expanduser()
        model = load(path)
        if is_exported(model):
            from workbench.session.restored import RestoredSession

            return RestoredSession(path, model, original, name, data, preprocess)
        origin = Origin("file", str(path.resolve()))
        return Session(model, name or path.stem, origin, data, None, preprocess)
    known = zoo.find(str(source))
    origin = Origin("sample", known.name)
    return Session(load(known.path()), name or known.name, origin, data, known, preprocess)


def reopen(directory: Path) -> Session:
    """The session that a run was made with.

    Data are compared with what the run began with when they are first read.

    Raises:
        RunError: the run's record is damaged, or the model is not the same any more.
        ModelError: the model is gone.
    """
    files = RunFiles(directory)
    about = files.read_run()
    origin, stored = _recorded(about, files.run)
    data: object = None
    if stored.get("kind") == "path":
        data = stored["path"]
    elif stored.get("kind") == "arrays":
        data = directory / "data.npz"
    preprocess = stored.get("preprocess")
    place = directory / "source.onnx" if origin.kind == "module" else origin.value
    session = open(str(place), data=data, name=about["name"], preprocess=preprocess)
    session.origin = origin
    if session.sha256 != about["sha256"]:
        raise RunError(
            f"the model '{origin.value}' has changed since run '{directory.name}' began;"
            " start a new run"
        )
    if stored.get("fingerprint") is not None:
        session.expect_data(str(stored["fingerprint"]))
    return session


def _recorded(about: Mapping[str, Any], path: Path) -> tuple[Origin, dict[str, Any]]:
    """Where the model came from, and how its data were read."""
    try:
        origin = Origin(**about["source"])
        stored = dict(about.get("data", {}))
        if "preprocess" in stored:
            stored["preprocess"] = Preprocess.from_record(stored["preprocess"])
        if stored.get("kind") == "path":
            stored["path"] = str(stored["path"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"'{path}' is damaged ({error!r}); start a new run") from None
    return origin, stored


def _from_module(
    module: nn.Module,
    example_inputs: Sequence[Tensor] | None,
    data: object,
    name: str | None,
    preprocess: Preprocess | None,
) -> Session:
    if example_inputs is None:
        raise ModelError(
            "a module needs inputs to be traced with; give example_inputs=(tensor,) with a batch"
            " of one or more"
        )
    given = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)
    kind = type(module).__name__
    with torch.no_grad():
        model = from_module(module, given)
    return Session(model, name or kind.lower(), Origin("module", kind), data, None, preprocess)


def _is_file(source: str | Path) -> bool:
    text = os.fspath(source)
    looks = Path(text).suffix != "" or os.sep in text
    return isinstance(source, Path) or looks or Path(text).exists()


def _digest(measured: Measured) -> str:
    found = hashlib.sha256()
    for name, value in sorted(measured.items()):
        found.update(name.encode() + value.numpy().tobytes())
    return found.hexdigest()


def _activations(given: int | Float | ActivationSpec | None) -> ActivationSpec | None:
    if given in (None, 0, "float"):
        return None
    return ActivationSpec(bits=given) if isinstance(given, int) else given


def _spec(spec: Any) -> dict[str, Any]:
    shape = [dim if isinstance(dim, int) else str(dim or "?") for dim in spec.shape]
    return {"name": spec.name, "shape": shape, "dtype": str(spec.dtype).removeprefix("torch.")}


_RECIPE_FIELDS = frozenset(Recipe.model_fields) - {"weights", "activations", "edges", "stages"}
