"""What one browser has chosen, as a plain record that survives a restart of the server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from workbench.lessons.sitting import Sitting
from workbench.lessons.survey import Visit
from workbench.session.recipe import Recipe
from workbench.ui.gradio.recipe_form import Form

FIRST_MODEL = "digits-mobilenet"
WORST_FIRST = "weights"
View = Literal["open", "layers", "learning", "bits", "compare", "export", "lessons"]
VIEWS: tuple[View, ...] = (
    "open", "layers", "learning", "bits", "compare", "export", "lessons",
)  # fmt: skip
LayersAs = Literal["table", "graph"]
#: settings of a page where nothing below the model is chosen
TOP: Mapping[str, Any] = {"layer": None, "channel": None, "weight": None, "whole": False}


@dataclass(frozen=True)
class Settings:
    """Everything a page shows follows from this and from the files of the runs.

    Attributes:
        model: sample name, or path of an uploaded file; title: for people.
        data: path of uploaded data, or None for the model's own.
        run: directory name of the run on screen, "" for the baseline.
        layer: the selected layer; channel: the selected channel of its weights.
        view: what lies in the middle of the page; part: the part of the export view.
        compared: names of the runs side by side, "" for the baseline; empty until any was chosen.
        compare_part: the part of the compare view.
        measure: what layers and network are coloured by.
        lesson: the demo on screen in the lessons; survey: what is looked at in the survey's maps.
        layers_as: the table of layers, or the graph of the network.
        toggled: blocks of the graph that are not open or closed as they are at first.
        whole: the summary of the model is on screen instead of a layer.
        weight: the selected weight of the selected channel.
        cure: name of the cure on screen, "" for none; adopted: the cured run was taken over.
        data_free: the form calibrates on made examples because the model has no data.
        tried: what was tried of that which a first visit proposes; guided: it is proposed still.
    """

    model: str = FIRST_MODEL
    title: str = FIRST_MODEL
    data: str | None = None
    form: Form = field(default_factory=Form)
    run: str = ""
    layer: str | None = None
    channel: int | None = None
    view: View = "layers"
    part: str = "coverage"
    compared: tuple[str, ...] = ()
    compare_part: str = "asked"
    measure: str = "damage"
    lesson: Sitting = field(default_factory=Sitting)
    survey: Visit = field(default_factory=Visit)
    layers_as: LayersAs = "table"
    toggled: tuple[str, ...] = ()
    whole: bool = False
    weight: int | None = None
    cure: str = ""
    adopted: bool = False
    data_free: bool = False
    tried: tuple[str, ...] = ()
    guided: bool = True

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
        for name in ("compared", "toggled", "tried"):
            known[name] = tuple(known.get(name, ()))
        known["lesson"] = Sitting.from_record(record.get("lesson") or {})
        known["survey"] = Visit.from_record(record.get("survey") or {})
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
        "teacher": Path(form.teacher).stem,
        "besides": ", ".join(_besides(recipe, form)),
    }


def _besides(recipe: Recipe, form: Form) -> Iterator[str]:
    """What is said in the parts of the form that few people open."""
    for options in (form.making, *form.parts.values()):
        yield from (f"{key.replace('_', ' ')} {value}" for key, value in options.items())
    for stage in recipe.stages[:-1]:
        yield from (f"{stage.method} {key} {value}" for key, value in stage.options.items())
    for each in recipe.overrides:
        bits = each.model_dump(exclude={"pattern"}, exclude_none=True)
        yield f"{each.pattern}: " + " and ".join(f"{kind} {value}" for kind, value in bits.items())


def run_method(recipe: Recipe) -> str:
    """Names of the recipe's methods."""
    return " + ".join(stage.method for stage in recipe.stages)


def run_label(recipe: Recipe) -> str:
    """A short name such as `W4A8 gram`; `f` stands for float."""
    active = recipe.activations.bits if recipe.activations else "f"
    made = f", data-free ({recipe.synthetic.maker})" if recipe.synthetic else ""
    return f"W{recipe.weights.bits}A{active} {run_method(recipe)}{made}"
