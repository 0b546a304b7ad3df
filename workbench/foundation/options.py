"""Options that are typed, frozen, validated at construction, and describe their own controls.

A method or quantizer declares a subclass with `Annotated` fields; the recipe, the command line
and both user interfaces draw their forms from `controls`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.foundation.errors import RecipeError


class Options(BaseModel):
    """Base of all options; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parse(cls, values: Mapping[str, Any], owner: str) -> Self:
        """Build from plain values; a `RecipeError` names the field, the value and the cure."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise RecipeError(explain(error, owner, sorted(cls.model_fields))) from None


def explain(error: ValidationError, owner: str, known: list[str]) -> str:
    """One sentence for the first fault that pydantic found."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "value"
    if first["type"] == "extra_forbidden":
        choices = ", ".join(known) or "none"
        return f"{owner} has no option '{field}'; its options are: {choices}"
    problem = first["msg"].removeprefix("Value error, ")
    problem = problem[:1].lower() + problem[1:]
    return f"{owner}: option '{field}' was {first['input']!r}: {problem}"


@dataclass(frozen=True)
class Control:
    """What a form needs to draw one option."""

    name: str
    kind: Literal["number", "integer", "choice", "flag", "text"]
    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[Any, ...] = ()
    advanced: bool = False

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def controls(options: type[Options]) -> list[Control]:
    """The controls of an options class, in the order of its fields."""
    return [_control(name, field) for name, field in options.model_fields.items()]


def _control(name: str, field: Any) -> Control:
    bounds = _bounds(field.metadata)
    extra = field.json_schema_extra or {}
    return Control(
        name=name,
        kind=_kind(field.annotation),
        default=field.default,
        help=field.description or "",
        minimum=bounds.get("ge", bounds.get("gt")),
        maximum=bounds.get("le", bounds.get("lt")),
        step=extra.get("step"),
        choices=_choices(field.annotation),
        advanced=bool(extra.get("advanced", False)),
    )


def _bounds(metadata: list[Any]) -> dict[str, float]:
    keys = ("ge", "gt", "le", "lt")
    return {key: getattr(item, key) for item in metadata for key in keys if hasattr(item, key)}


def _choices(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _kind(annotation: Any) -> Literal["number", "integer", "choice", "flag", "text"]:
    if get_origin(annotation) is Literal:
        return "choice"
    plain = {bool: "flag", int: "integer", float: "number"}
    return plain.get(annotation, "text")  # type: ignore[return-value]
