"""The recipe: everything that decides what a run does, frozen, in TOML in and out.

    target = "ort-cpu"
    edges = 8                    # bits of the first and last layer; "same" treats them as others
    store = "packed"             # or "int8": low-bit codes in 8-bit containers, larger and faster
    seed = 0
    calibration_examples = 512
    teacher = "bigger.onnx"      # of methods that distil; without it, the float model itself
    training_examples = 0        # of methods that train the network; 0: all that are meant for it
    augment = 1                  # or more: each picture mirrored and moved, so often
    transforms = ["equalize", "smooth:alpha=0.7"]   # prepare the float graph; none by default

    [weights]
    bits = 4

    [activations]                # activations = "float" leaves them alone
    bits = 8

    [[overrides]]                # again for more; later ones win
    pattern = "op:Gemm"          # a name, a pattern, op:, tensor:, after:, before:, layer:first
    weights = 8                  # 0 keeps float
    activations = 8

    [[stages]]
    method = "gram"
    layers = ["head"]            # of later stages: only the weights of these; none: all

    [synthetic]                  # calibrate on made examples; without it, on the session's data
    maker = "zeroq"
    examples = 128

Fields left out take their defaults; a key that is not known is refused.
"""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomlkit
from pydantic import Field, ValidationError, field_validator, model_validator

from workbench.foundation.errors import RecipeError
from workbench.foundation.options import Options, explain
from workbench.graph import targets
from workbench.graph.transforms import check_transforms, filled, spelled

MAX_BYTES = 2**20
_ALWAYS = ("weights", "activations", "stages")  # are said even where they are usual
FLOAT = "float"
SAME = "same"


class _Part(Options):
    """Options that explain themselves with a `RecipeError` however they are built."""

    @model_validator(mode="wrap")
    @classmethod
    def _explained(cls, values: Any, build: Callable[[Any], Self]) -> Self:
        try:
            return build(values)
        except ValidationError as error:
            raise RecipeError(explain(error, cls.owner(), sorted(cls.model_fields))) from None

    @classmethod
    def owner(cls) -> str:
        """What messages call this part."""
        return cls.__name__.removesuffix("Spec").lower()


class WeightSpec(targets.WeightGrid, _Part):
    """What is asked of the weights."""

    @classmethod
    def owner(cls) -> str:
        return "weights"


class ActivationSpec(targets.ActivationGrid, _Part):
    """What is asked of the activations."""

    @classmethod
    def owner(cls) -> str:
        return "activations"


class Override(targets.Override, _Part):
    """Other bits for the nodes or tensors that a pattern names."""


class Stage(_Part):
    """One learner with its options; they are checked against the method's own."""

    method: Annotated[str, Field(description="a name that `workbench methods` lists")]
    options: dict[str, Any] = Field(default_factory=dict, description="the method's options")
    layers: tuple[str, ...] = Field(
        default=(), description="only the weights of these layers; none: all there is to learn"
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.parsed()
        if self.layers and not self.by_layer:
            raise RecipeError(
                f"stage '{self.method}' has layers, and this method learns more than one layer at"
                " a time; leave them out"
            )
        return self

    @property
    def by_layer(self) -> bool:
        """Whether the method can learn some layers and leave others alone."""
        from workbench.methods.base import Method
        from workbench.methods.registry import METHODS

        made = METHODS[self.method].make
        return isinstance(made, type) and issubclass(made, Method) and made.by_layer

    def parsed(self) -> Options:
        """The method's typed options.

        Raises:
            RecipeError: an unknown method, an unknown option, or a value out of range.
        """
        from workbench.methods.registry import METHODS  # pulls in every method: only when asked

        return METHODS.parsed(self.method, self.options)


class Synthetic(_Part):
    """Examples that are made from the model itself, to calibrate on instead of data."""

    maker: Annotated[str, Field(description="a data maker that `workbench methods` lists")]
    examples: Annotated[int, Field(ge=1, le=100_000, description="how many to make")] = 128
    options: dict[str, Any] = Field(default_factory=dict, description="the maker's options")

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.parsed()
        return self

    def parsed(self) -> Options:
        """The maker's typed options.

        Raises:
            RecipeError: an unknown maker, an unknown option, or a value out of range.
        """
        from workbench.synthesis.registry import MAKERS  # pulls in every maker: only when asked

        return MAKERS.parsed(self.maker, self.options)


class Recipe(_Part):
    """A frozen, ordered description of a run."""

    target: Annotated[str, Field(description="where the file will run")] = "ort-cpu"
    weights: Annotated[WeightSpec, Field(description="what is asked of weights")] = WeightSpec()
    activations: Annotated[
        ActivationSpec | None, Field(description="what is asked of activations; float if none")
    ] = ActivationSpec()
    edges: Annotated[
        int | None, Field(ge=2, le=8, description="bits of the first and last layer")
    ] = 8
    overrides: Annotated[tuple[Override, ...], Field(description="other bits for some layers")] = ()
    transforms: Annotated[
        tuple[str, ...], Field(description="what prepares the float graph, in order")
    ] = ()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, description="methods, in order")] = (
        Stage.model_construct(method="gram", options={}),
    )
    synthetic: Annotated[
        Synthetic | None, Field(description="examples to make and calibrate on, instead of data")
    ] = None
    store: Annotated[Literal["packed", "int8"], Field(description="containers of the codes")] = (
        "packed"
    )
    seed: Annotated[int, Field(ge=0, lt=2**32, description="seed of all chance")] = 0
    augment: Annotated[
        int, Field(ge=1, le=64, description="versions of each calibration picture, 1: as it is")
    ] = 1
    calibration_examples: Annotated[
        int, Field(ge=1, le=1_000_000, description="examples to learn from")
    ] = 512

    training_examples: Annotated[
        int,
        Field(
            ge=0,
            le=100_000_000,
            description="examples that a network trains on; 0: the model's own, or those that"
            " calibrate",
        ),
    ] = 0

    teacher: Annotated[
        str,
        Field(
            max_length=4096,
            description="float model that teaches, a file or a known name; none: the model itself",
        ),
    ] = ""

    @field_validator("weights", mode="before")
    @classmethod
    def _weight_table(cls, value: Any) -> Any:
        return _table("weights", value, "4")

    @field_validator("activations", mode="before")
    @classmethod
    def _float_activations(cls, value: Any) -> Any:
        return None if value in (FLOAT, None) else _table("activations", value, "8", FLOAT)

    @field_validator("synthetic", mode="before")
    @classmethod
    def _named_maker(cls, value: Any) -> Any:
        return {"maker": value} if isinstance(value, str) else value

    @field_validator("edges", mode="before")
    @classmethod
    def _same_edges(cls, value: Any) -> Any:
        return None if value == SAME else value

    @field_validator("transforms", mode="before")
    @classmethod
    def _spelled_transforms(cls, value: Any) -> Any:
        """As text, from text or from tables with a `name` and options."""
        return tuple(map(spelled, value)) if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _prepared(self) -> Self:
        """The transforms that methods build upon are there."""
        from workbench.methods.registry import METHODS  # pulls in every method: only when asked

        names = {text.partition(":")[0] for text in self.transforms}
        for stage in self.stages:
            wanted = METHODS[stage.method].facts.get("transform")
            if wanted and wanted not in names:
                raise RecipeError(
                    f"method '{stage.method}' builds upon the transform '{wanted}', and the recipe"
                    f" has {sorted(names) or 'none'}; add --transform {wanted} (Python:"
                    f" transforms=['{wanted}'])"
                )
        return self

    @model_validator(mode="after")
    def _ranges_first(self) -> Self:
        if self.stages and self.stages[0].layers:
            raise RecipeError(
                f"the first stage, '{self.stages[0].method}', has layers, and would leave others"
                " without a range; let a stage for all come first, such as rtn"
            )
        return self

    @model_validator(mode="after")
    def _possible(self) -> Self:
        targets.target(self.target).check(self.weights, self.activations, self.overrides)
        grouped = self.weights.granularity == "group" and self.activations is not None
        if grouped and self.store == "int8":
            raise RecipeError(
                "group-wise weights in 8-bit containers do not run in ONNX Runtime beside quantized"
                " activations; use store = 'packed'"
            )
        check_transforms(self.transforms)
        return self

    def changed(self, **changes: Any) -> Self:
        """A copy with other values, checked like a new one."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**values, **changes})

    @property
    def preparation(self) -> tuple[str, ...]:
        """The transforms, with the recipe's weight grid where they ask for one and none is said."""
        grouped = self.weights.granularity == "group"
        size = self.weights.group_size if grouped else 0
        grid = {"bits": self.weights.bits, "group_size": size, "symmetric": self.weights.symmetric}
        if self.activations is not None:
            grid["activation_bits"] = self.activations.bits
        return filled(self.transforms, grid)

    def naive(self) -> Self:
        """The same grids with nothing learned: nearest rounding."""
        return self.changed(stages=(Stage(method="rtn"),))

    def toml(self) -> str:
        """The recipe as TOML; `parse` gives an equal one back."""
        values = self.model_dump(exclude={"transforms", *(() if self.teacher else ("teacher",))})
        active = values["activations"]
        values["activations"] = FLOAT if active is None else _without(active, None)
        values["edges"] = SAME if self.edges is None else self.edges
        values["overrides"] = [_without(item, None) for item in values["overrides"]]
        values["stages"] = [_said(item) for item in values["stages"]]
        made = values.pop("synthetic")
        values |= {} if made is None else {"synthetic": _without(made, {})}
        plain = {k: v for k, v in values.items() if not isinstance(v, dict | list | tuple)}
        if self.transforms:
            plain["transforms"] = list(self.transforms)
        tables = {k: _listed(v) for k, v in values.items() if k not in plain and v != []}
        return tomlkit.dumps({**plain, **tables})

    def brief(self) -> str:
        """The same without what is usual, for people to read; `from_toml` gives an equal one."""
        values, usual = tomllib.loads(self.toml()), tomllib.loads(type(self)().toml())
        said = {
            key: _other(value, usual[key]) if isinstance(value, dict) and key in usual else value
            for key, value in values.items()
            if key in _ALWAYS or value != usual.get(key)
        }
        return tomlkit.dumps({key: value for key, value in said.items() if value != {}})

    def save(self, path: str | Path) -> None:
        """Write the TOML to `path`, in a folder that is made where it is missing."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(self.toml(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a TOML file.

        Raises:
            RecipeError: no such file, not TOML, or not a possible recipe.
        """
        path = Path(path).expanduser()
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise RecipeError(f"recipe '{path}' is not a regular file; give a recipe file")
            if path.stat().st_size > MAX_BYTES:
                raise RecipeError(f"'{path}' is larger than a recipe can be; give a recipe file")
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise RecipeError(f"recipe '{path}' cannot be read: {reason}; check the path") from None
        return cls.from_toml(text)

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """The inverse of `toml`."""
        try:
            values = tomllib.loads(text)
            return cls(**values)
        except (ValueError, RecursionError) as error:
            raise RecipeError(f"the recipe is not TOML: {error}; correct that line") from None


def _table(name: str, value: Any, example: str, word: str = "") -> Any:
    """`value` if it can be a table of options, else one sentence that says what can."""
    if isinstance(value, Mapping | Options):
        return value
    also = f", or '{word}'" if word else ""
    if isinstance(value, int) and not isinstance(value, bool):
        raise RecipeError(f"{name} was {value}; write it as [{name}] with bits = {value}{also}")
    raise RecipeError(f"{name} was {value!r}; give a whole number of bits such as {example}{also}")


def _without(values: Mapping[str, Any], left_out: object) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value != left_out}


def _other(values: Mapping[str, Any], usual: Any) -> dict[str, Any]:
    """The bits, and what differs."""
    known = usual if isinstance(usual, dict) else {}
    return {k: v for k, v in values.items() if k == "bits" or k not in known or v != known[k]}


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is empty."""
    return {key: _listed(value) for key, value in values.items() if value not in ({}, ())}


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
