"""Options that are typed, frozen, validated at construction, and describe their own controls.

A method or quantizer declares a subclass with `Annotated` fields; the recipe, the command line
and both user interfaces draw their forms from `controls`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from workbench.foundation.errors import RecipeError, unknown_name


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


@dataclass(frozen=True)
class OneOf:
    """Marks a text option whose values are names that are only known later, as a registry's are.

        Quantizer = Annotated[str, OneOf("quantizer", QUANTIZERS.names)]

    Other names are refused with the nearest known one; forms and JSON schemas list all of them.

    Args:
        noun: what a value is called in messages.
        names: gives the known names; called when a value is checked or a form is drawn.
    """

    noun: str
    names: Callable[[], Sequence[str]]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._known, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.names())}

    def _known(self, name: str) -> str:
        known = self.names()
        if name not in known:
            raise ValueError(unknown_name(self.noun, name, known))
        return name


def explain(error: ValidationError, owner: str, known: list[str]) -> str:
    """One sentence for the first fault that pydantic found; unknown options come first."""
    faults = error.errors()
    first = next((each for each in faults if each["type"] == "extra_forbidden"), faults[0])
    field = ".".join(str(part) for part in first["loc"]) or "value"
    if first["type"] == "extra_forbidden":
        choices = ", ".join(known) or "none"
        return f"{owner} has no option '{field}'; its options are: {choices}"
    if first["type"] == "missing":
        return f"{owner} needs the option '{field}'; give it"
    return f"{owner}: option '{field}' was {first['input']!r}: {_cure(first)}"


#: what to give instead, by pydantic's name of the fault; braces hold its limits
_CURES = {
    "greater_than_equal": "give a number of at least {ge}",
    "greater_than": "give a number above {gt}",
    "less_than_equal": "give a number of at most {le}",
    "less_than": "give a number below {lt}",
    "finite_number": "give a finite number",
    "int_parsing": "give a whole number",
    "int_type": "give a whole number",
    "int_from_float": "give a whole number",
    "float_parsing": "give a number",
    "float_type": "give a number",
    "bool_parsing": "give true or false",
    "bool_type": "give true or false",
    "string_type": "give text",
    "literal_error": "give one of {expected}",
}


def _cure(fault: ErrorDetails) -> str:
    """What to give instead; pydantic's own words where the fault is a rare one."""
    if fault["type"] in _CURES:
        return _CURES[fault["type"]].format(**fault.get("ctx", {}))
    problem = fault["msg"].removeprefix("Value error, ")
    return problem[:1].lower() + problem[1:]


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
    choices = _choices(field)
    return Control(
        name=name,
        kind="choice" if choices else _kind(field.annotation),
        default=field.default,
        help=field.description or "",
        minimum=bounds.get("ge", bounds.get("gt")),
        maximum=bounds.get("le", bounds.get("lt")),
        step=extra.get("step"),
        choices=choices,
        advanced=bool(extra.get("advanced", False)),
    )


def _bounds(metadata: list[Any]) -> dict[str, float]:
    keys = ("ge", "gt", "le", "lt")
    return {key: getattr(item, key) for item in metadata for key in keys if hasattr(item, key)}


def _choices(field: Any) -> tuple[Any, ...]:
    if get_origin(field.annotation) is Literal:
        return get_args(field.annotation)
    named = (item for item in field.metadata if isinstance(item, OneOf))
    return tuple(name for item in named for name in item.names())


def _kind(annotation: Any) -> Literal["number", "integer", "flag", "text"]:
    """The kind of an annotation, also where None is allowed besides."""
    kinds = [each for each in get_args(annotation) if each is not type(None)]
    only = kinds[0] if len(kinds) == 1 else annotation
    plain = {bool: "flag", int: "integer", float: "number"}
    return plain.get(only, "text")  # type: ignore[return-value]
