"""The recipes of a sweep: every base recipe with every combination of a grid's values.

    model = "digits-mobilenet"
    data = "pictures.zip"              # of one's own; paths are relative to this file
    recipes = ["a.toml", "b.toml"]     # or one as [recipe]; without either, the usual one

    [grid]
    weights = [2, 3, 4]                # bits; also "weights.table", "edges", "seed"
    method = ["rtn", "gram", "gptq+bias_correction"]
    transforms = ["none", "equalize", "equalize+smooth:alpha=0.7"]
    "gram.damping" = [0.01, 0.1]       # a stage's option; it counts only where there is that stage

All combinations are checked before anything starts, and all faults are told at once.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field

from workbench.foundation.errors import RecipeError, WorkbenchError, unknown_name
from workbench.foundation.options import Options
from workbench.session.recipe import MAX_BYTES, ActivationSpec, Recipe, Stage, WeightSpec

Values = Mapping[str, Sequence[Any]]

MOST = 10_000
RECIPE = "recipe"
JOIN = "+"
NONE = "none"
_SPECS = {"weights": WeightSpec, "activations": ActivationSpec}
_WHOLE = ("target", "edges", "store", "seed", "augment", "calibration_examples")
_FIELDS = (*_WHOLE, "training_examples", "teacher", "synthetic")


class SweepError(RecipeError):
    """Several faults of a sweep.

    Attributes:
        problems: a sentence for each.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        count = len(self.problems)
        head = "" if count == 1 else f"{count} faults, and nothing was started: "
        super().__init__(head + "; ".join(self.problems))


@dataclass(frozen=True)
class Point:
    """One recipe of a sweep.

    Attributes:
        settings: what was set, by key; with "recipe" where there are several to begin with.
        recipe: the whole of it.
    """

    settings: Mapping[str, Any]
    recipe: Recipe

    @property
    def text(self) -> str:
        """`weights=3, method=gram`."""
        return ", ".join(f"{key}={value}" for key, value in self.settings.items()) or "as it is"


class SweepFile(Options):
    """What a sweep's TOML file may hold."""

    model: Annotated[str, Field(description="an .onnx file, or a known name")]
    data: Annotated[str, Field(description="path of its data")] = ""
    recipe: Annotated[dict[str, Any], Field(description="what the grid changes")] = Field(
        default_factory=dict
    )
    recipes: Annotated[tuple[str, ...], Field(description="files of recipes")] = ()
    grid: Annotated[dict[str, list[Any]], Field(description="values by key")] = Field(
        default_factory=dict
    )
    fast: Annotated[bool, Field(description="no diagnosis and verification")] = False

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read the file; paths in it are made absolute.

        Raises:
            RecipeError: it cannot be read, is not TOML, or holds something else.
        """
        path = Path(path).expanduser()
        try:
            if path.stat().st_size > MAX_BYTES:
                raise RecipeError(f"'{path}' is larger than a sweep can be; give a sweep's file")
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RecipeError(
                f"'{path}' cannot be read: {error.strerror}; check the path"
            ) from None
        except ValueError as error:
            raise RecipeError(f"'{path}' is not TOML: {error}; correct that line") from None
        found = cls.parse(values, "sweep")
        known = found.model if not found.model.endswith(".onnx") else _beside(path, found.model)
        data = _beside(path, found.data) if found.data else ""
        recipes = tuple(_beside(path, name) for name in found.recipes)
        return found.model_copy(update={"model": known, "data": data, "recipes": recipes})

    def bases(self) -> dict[str, Recipe]:
        """The recipes that the grid changes, by name.

        Raises:
            RecipeError: a recipe in a file and one in place, or one that is not possible.
        """
        if self.recipe and self.recipes:
            raise RecipeError("the sweep has both [recipe] and recipes; leave one of them out")
        return bases(self.recipes) if self.recipes else {RECIPE: Recipe(**self.recipe)}


def bases(files: Sequence[str | Path]) -> dict[str, Recipe]:
    """Recipes of files, by the files' names; the usual one where there are none."""
    return {Path(file).stem: Recipe.load(file) for file in files} or {RECIPE: Recipe()}


def points(recipes: Mapping[str, Recipe], grid: Values) -> list[Point]:
    """Every recipe with every combination, each only once.

    Raises:
        SweepError: with all that is wrong.
    """
    problems = _shape_problems(recipes, grid)
    if problems:
        raise SweepError(problems)
    found: dict[str, Point] = {}
    faults: dict[str, list[str]] = {}
    used = set[str]()
    for name, base in recipes.items():
        for values in itertools.product(*grid.values()):
            given = dict(zip(grid, values, strict=True))
            label = {RECIPE: name} if len(recipes) > 1 else {}
            try:
                recipe, counted = changed(base, given)
            except RecipeError as error:
                faults.setdefault(str(error), []).append(Point({**label, **given}, base).text)
                continue
            used |= counted
            point = Point({**label, **{k: v for k, v in given.items() if k in counted}}, recipe)
            found.setdefault(recipe.toml(), point)
    problems = told(faults)
    if not faults:
        problems += [_useless(key, recipes) for key in grid if key not in used]
    if problems:
        raise SweepError(problems)
    return list(found.values())


def told(faults: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for each fault, with the points that have it."""
    return [
        f"{where[0]}{f' and {len(where) - 1} more' if len(where) > 1 else ''}: {fault}"
        for fault, where in faults.items()
    ]


def changed(base: Recipe, given: Mapping[str, Any]) -> tuple[Recipe, set[str]]:
    """The recipe with other values, and the keys that it has a place for.

    Raises:
        RecipeError: an unknown key, or a value that is not possible.
    """
    changes: dict[str, Any] = {}
    stages = _stages(given["method"]) if "method" in given else base.stages
    used = set[str]()
    for key, value in given.items():
        head, _, tail = key.partition(".")
        if head in _SPECS:
            changes[head] = _spec(head, changes.get(head, getattr(base, head)), tail, value)
        elif key == "transforms":
            changes[key] = _listed(value)
        elif key in _FIELDS:
            changes[key] = value
        elif tail and any(stage.method == head for stage in stages):
            stages = tuple(_with_option(stage, head, tail, value) for stage in stages)
        elif key != "method":
            continue
        used.add(key)
    return base.changed(**changes, stages=stages), used


def _shape_problems(recipes: Mapping[str, Recipe], grid: Values) -> list[str]:
    problems = [
        f"'{key}' has no values; give some, or leave it out" for key in grid if not grid[key]
    ]
    problems += [text for key in grid if (text := _unknown(key))]
    count = len(recipes)
    for values in grid.values():
        count *= len(values)
    if count > MOST:
        problems.append(f"the grid has {count:,} combinations; give {MOST:,} at most")
    return problems


def _unknown(key: str) -> str:
    """Why a key names nothing; empty where it does."""
    from workbench.methods.registry import METHODS  # pulls in every method: only when asked

    head, dot, tail = key.partition(".")
    if head in _SPECS:
        fields = sorted(_SPECS[head].model_fields)
        return unknown_name(f"option of {head}", tail, fields) if dot and tail not in fields else ""
    if dot:
        return "" if head in METHODS.names() else unknown_name("method", head, METHODS.names())
    known = ("activations", "method", "transforms", "weights", *_FIELDS)
    return "" if key in known else unknown_name("key of a grid", key, sorted(known))


def _useless(key: str, recipes: Mapping[str, Recipe]) -> str:
    method = key.partition(".")[0]
    stages = sorted({stage.method for recipe in recipes.values() for stage in recipe.stages})
    return (
        f"'{key}' has no stage to act on: no recipe has '{method}'"
        f" (they have {', '.join(stages)}); add it to method"
    )


def _spec(name: str, base: Any, field: str, value: Any) -> Any:
    """Weights or activations with another value of one field; bits where none is named."""
    if not field and value in ("float", 0, None):
        return None if name == "activations" else _no_float(value)
    kind = _SPECS[name]
    before = (base or kind()).model_dump()
    return kind(**{**before, field or "bits": value})


def _no_float(value: Any) -> Any:
    raise RecipeError(f"weights was {value!r}; give a number of bits from 1 to 8")


def _stages(value: Any) -> tuple[Stage, ...]:
    return tuple(Stage(method=name) for name in _listed(value))


def _with_option(stage: Stage, method: str, option: str, value: Any) -> Stage:
    if stage.method != method:
        return stage
    options = {**stage.options, option: value}
    return Stage(method=method, options=options, layers=stage.layers)


def _listed(value: Any) -> tuple[str, ...]:
    """`"a+b"` as ("a", "b"); "none" as ()."""
    names = value.split(JOIN) if isinstance(value, str) else list(value or ())
    return tuple(name for name in names if name and name != NONE)


def _beside(file: Path, name: str) -> str:
    return str((file.parent / Path(name).expanduser()).resolve())


def checked(problems: Sequence[tuple[Point, WorkbenchError]]) -> None:
    """Raise one error for all the points that do not fit a model.

    Raises:
        SweepError: if there is any.
    """
    faults: dict[str, list[str]] = {}
    for point, error in problems:
        faults.setdefault(str(error), []).append(point.text)
    if faults:
        raise SweepError(told(faults))
