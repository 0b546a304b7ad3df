"""What one browser has chosen, as a plain record that survives a restart of the server."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

from workbench.graph.transforms import in_order
from workbench.maths.levels import UNIFORM
from workbench.session.recipe import ActivationSpec, Recipe, Stage, Synthetic, WeightSpec
from workbench.views.code import AFFINE

FIRST_MODEL = "digits-mobilenet"
WEIGHT_BITS = (8, 6, 5, 4, 3, 2)
ACTIVATION_BITS = (0, 16, 8, 6, 4)
WORST_FIRST = "weights"
View = Literal["layers", "learning", "export"]
VIEWS: tuple[View, ...] = ("layers", "learning", "export")


@dataclass(frozen=True)
class Form:
    """The controls of the recipe.

    Attributes:
        weights: bits; activations: bits, 0 for float.
        edges: bits of the first and last layer, 0 to treat them as the others.
        method: name of the learner; options: those that differ from its defaults.
        target: where the file will run.
        table: levels of the weights, "uniform", "affine" (uniform, with zero-points) or a table.
        transforms: of the float graph.
        synthetic: maker of the examples to calibrate on; "" for real data.
    """

    weights: int = 4
    activations: int = 8
    edges: int = 8
    method: str = "gram"
    options: Mapping[str, Any] = field(default_factory=dict)
    target: str = "ort-cpu"
    table: str = UNIFORM
    transforms: tuple[str, ...] = ()
    synthetic: str = ""

    def transform_names(self) -> list[str]:
        """The transformations without their options."""
        return [text.partition(":")[0] for text in self.transforms]

    def with_transforms(self, names: Collection[str]) -> tuple[str, ...]:
        """The transformations of those `names`, in order, with the options that they have here."""
        mine = dict(zip(self.transform_names(), self.transforms, strict=True))
        return tuple(mine.get(name, name) for name in in_order() if name in names)

    def recipe(self) -> Recipe:
        """The recipe that the controls ask for.

        Raises:
            RecipeError: it is not possible.
        """
        return Recipe(
            target=self.target,
            weights=self._weights(),
            activations=ActivationSpec(bits=self.activations) if self.activations else None,
            edges=self.edges or None,
            transforms=self.transforms,
            synthetic=Synthetic(maker=self.synthetic) if self.synthetic else None,
            stages=(Stage(method=self.method, options=dict(self.options)),),
        )

    def _weights(self) -> WeightSpec:
        affine = self.table == AFFINE
        return WeightSpec(
            bits=self.weights, table=UNIFORM if affine else self.table, symmetric=not affine
        )

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """The controls that show `recipe` (its last stage)."""
        stage = recipe.stages[-1]
        bits = recipe.activations.bits if recipe.activations else 0
        affine = recipe.weights.table == UNIFORM and not recipe.weights.symmetric
        return cls(
            weights=recipe.weights.bits,
            activations=bits,
            edges=recipe.edges or 0,
            method=stage.method,
            options=dict(stage.options),
            target=recipe.target,
            table=AFFINE if affine else recipe.weights.table,
            transforms=recipe.transforms,
            synthetic=recipe.synthetic.maker if recipe.synthetic else "",
        )


@dataclass(frozen=True)
class Settings:
    """Everything a page shows follows from this and from the files of the runs.

    Attributes:
        model: sample name, or path of an uploaded file; title: for people.
        data: path of uploaded data, or None for the model's own.
        run: directory name of the run on screen, "" for the baseline.
        layer: the selected layer; channel: the selected channel of its weights.
        view: what lies in the middle of the page; part: the part of the export view.
    """

    model: str = FIRST_MODEL
    title: str = FIRST_MODEL
    data: str | None = None
    form: Form = Form()
    run: str = ""
    layer: str | None = None
    channel: int | None = None
    view: View = "layers"
    part: str = "coverage"

    @property
    def exporting(self) -> bool:
        """The export view is open."""
        return self.view == "export"

    def changed(self, **changes: Any) -> Self:
        """A copy with other values."""
        return replace(self, **changes)

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The inverse of `record`; unknown or missing fields take their defaults."""
        known = {key: record[key] for key in cls.__dataclass_fields__ if key in record}
        form = {k: v for k, v in record.get("form", {}).items() if k in Form.__dataclass_fields__}
        form["transforms"] = tuple(form.get("transforms", ()))
        return cls(**{**known, "form": Form(**form)})


def run_settings(recipe: Recipe) -> dict[str, str]:
    """What the name of a run does not tell, as short texts."""
    form = Form.of(recipe)
    options = ", ".join(f"{key} {value}" for key, value in form.options.items())
    return {
        "target": form.target,
        "edges": str(form.edges or "same"),
        "levels": form.table,
        "transforms": ", ".join(form.transforms),
        "options": options,
        "calibrated on": form.synthetic or "real data",
    }


def run_method(recipe: Recipe) -> str:
    """Names of the recipe's methods."""
    return " + ".join(stage.method for stage in recipe.stages)


def run_label(recipe: Recipe) -> str:
    """A short name such as `W4A8 gram`; `f` stands for float."""
    active = recipe.activations.bits if recipe.activations else "f"
    made = f", data-free ({recipe.synthetic.maker})" if recipe.synthetic else ""
    return f"W{recipe.weights.bits}A{active} {run_method(recipe)}{made}"
