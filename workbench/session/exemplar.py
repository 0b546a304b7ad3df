"""One recipe on one sample for whatever is registered, so that it can be seen at work.

It is the guide's, where a row of the guide names the thing; else a plain one that fits it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.foundation.errors import RecipeError, unknown_name
from workbench.maths.calibrators.registry import serving
from workbench.methods.registry import METHODS
from workbench.session.advice import advise
from workbench.session.frame import REGISTRIES
from workbench.session.guide import GUIDE, MODELS
from workbench.session.recipe import Recipe

#: bits of weights and activations for what is meant for fewer than the usual
GRIDS: Mapping[str, tuple[int, int]] = {
    "binaryconnect": (1, 8), "xnor": (1, 1), "reste": (1, 8), "ttq": (2, 8), "twn": (2, 8),
    "paretoq": (2, 8), "dorefa": (2, 2), "n2uq": (3, 3), "llt": (3, 3), "qil": (3, 3),
    "dsq": (3, 3), "ewgs": (3, 3), "kd": (3, 3), "qkd": (2, 2), "tanh": (2, 2),
}  # fmt: skip
USUAL = (4, 8)
#: the sample that something is for, where it is not the first convolutional one
FAMILIES: Mapping[str, str] = {
    "omniquant": "vit", "ptq4vit": "vit", "repq_vit": "vit", "percentiles": "vit",
    "reparametrise": "vit", "cross_entropy": "vit", "qlora": "llm", "low_rank": "llm",
    "spinquant": "llm", "rotate": "llm", "awq": "llm", "smooth": "vit", "generated": "llm",
    "equalize": "depthwise", "relu6-to-relu": "depthwise", "absorb-bias": "depthwise",
    "incoherence": "depthwise", "steady": "depthwise",
}  # fmt: skip


@dataclass(frozen=True)
class Exemplar:
    """Something at work.

    Attributes:
        name, kind: of it. sample: name of a sample model; recipe: for it.
    """

    name: str
    kind: str
    sample: str
    recipe: Recipe

    def record(self) -> dict[str, str]:
        """As plain JSON values, the recipe as TOML."""
        parts = {"name": self.name, "kind": self.kind, "sample": self.sample}
        return {**parts, "recipe": self.recipe.toml()}


def exemplar(kind: str, name: str) -> Exemplar:
    """A recipe with one registered thing, and a sample to try it on.

    Args:
        kind: "method", "transform", "calibrator", "estimator" or "data".

    Raises:
        RecipeError: nothing of this kind and name is registered.
    """
    if kind not in REGISTRIES or name not in REGISTRIES[kind]:
        known = list(REGISTRIES) if kind not in REGISTRIES else REGISTRIES[kind].names()
        raise RecipeError(unknown_name(kind if kind in REGISTRIES else "kind", name, known))
    found = _of_the_guide(kind, name)
    if found is not None:
        return found
    family = FAMILIES.get(name, "cnn")
    return Exemplar(name, kind, MODELS[family][1], _plain(kind, name))


def _of_the_guide(kind: str, name: str) -> Exemplar | None:
    """The first row that names it as a stage, a transform or a maker."""
    for row in GUIDE:
        named = {"method": row.stages, "transform": row.transforms, "data": (row.maker,)}
        if name not in named.get(kind, ()):
            continue
        family = FAMILIES.get(name, row.models[0])
        model = family if family in row.models else row.models[0]
        advice = advise(row.data[0], model, row.constraints[0])
        if advice.row is row:
            return Exemplar(name, kind, advice.sample, advice.recipe)
    return None


def _plain(kind: str, name: str) -> Recipe:
    weights, active = GRIDS.get(name, USUAL)
    fields: dict[str, Any] = {"weights": {"bits": weights}, "activations": {"bits": active}}
    stage: dict[str, Any] = {"method": "gram"}
    if kind == "method":
        stage = {"method": name}
        transform = METHODS[name].facts.get("transform")
        fields |= {"transforms": (transform,)} if transform else {}
    elif kind == "transform":
        fields |= {"transforms": (name,)}
        builder = (e.name for e in METHODS if e.facts.get("transform") == name)
        stage = {"method": next(builder, "gram")}
    elif kind == "calibrator":
        options = {"calibrator": "activations", "weight_calibrator": "weights"}
        own = {key: name for key, served in options.items() if name in serving(served)}  # type: ignore[arg-type]
        stage = {"method": "rtn", "options": own}
    elif kind == "estimator":
        stage = {"method": "train", "options": {"estimator": name}}
    elif kind == "data":
        fields |= {"synthetic": name}
    before = [{"method": "gram"}] if stage["method"] == "qlora" else []
    fields["stages"] = [*before, stage]
    return Recipe(**fields)
