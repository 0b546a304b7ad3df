"""Controls for options, drawn from what their class declares, and read back from them.

Options of a learner, a maker of data or a transformation each make a *part* of the form, such as
"method:lsq". What all training methods share is drawn once, as the part "training", since a page
with thirty times the same takes seconds to load. There an empty control says nothing, and each
method has its own default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from workbench.foundation.options import Control, Options, controls
from workbench.methods.network_plan import Course
from workbench.methods.registry import METHODS

TRAINING = "training"
Said = dict[str, dict[str, Any]]
_YES, _NO = "yes", "no"


@dataclass(frozen=True)
class Field:
    """One option with the component that shows it.

    Attributes:
        part: what the option belongs to.
        control: its declaration; component: what is drawn.
        blank: empty is nothing said, and the default is only hinted at.
    """

    part: str
    control: Control
    component: Any
    blank: bool = False

    def shown(self, options: Mapping[str, Any]) -> Any:
        """What the component shows where its part has `options`; the inverse of `said`."""
        if self.control.name not in options:
            return "" if self.blank else self.control.default
        value = options[self.control.name]
        if not self.blank:
            return value
        return (_YES if value else _NO) if self.control.kind == "flag" else str(value)

    def said(self, value: Any) -> Any:
        """The option that a component's `value` stands for; None where it says nothing."""
        if value is None or (value == "" if self.blank else value == self.control.default):
            return None
        if self.blank and self.control.kind == "flag":
            return value == _YES
        return _number(value, self.control.kind)


@dataclass(frozen=True)
class Group:
    """The controls of a part, and the column that is shown while it counts."""

    part: str
    fields: tuple[Field, ...]
    column: gr.Column


def group(
    part: str, options: Iterable[Control], *, blank: bool = False, visible: bool = True
) -> Group:
    """Draw the controls of a part; call inside `gr.Blocks`."""
    with gr.Column(
        visible=visible, elem_id=f"wb-options-{_id(part)}", elem_classes="wb-options"
    ) as column:
        fields = tuple(
            Field(part, control, _component(part, control, blank), blank) for control in options
        )
    return Group(part, fields, column)


def said(fields: Sequence[Field], values: Sequence[Any]) -> Said:
    """What the components of `fields` say, by part; parts that say nothing are left out."""
    found: Said = {}
    for field, value in zip(fields, values, strict=True):
        option = field.said(value)
        if option is not None:
            found.setdefault(field.part, {})[field.control.name] = option
    return found


def shown(fields: Sequence[Field], parts: Mapping[str, Mapping[str, Any]]) -> dict[Any, Any]:
    """Values of the components of those `parts`, others stay as they are: the inverse of `said`."""
    return {
        field.component: field.shown(parts[field.part]) for field in fields if field.part in parts
    }


def choices() -> list[tuple[str, str]]:
    """(title, name) of all methods."""
    return [(entry.title, entry.name) for entry in METHODS]


def about(method: str) -> str:
    """What drives a method, what it moves, and what it costs."""
    entry = METHODS[method]
    facts = [entry.facts.get(key) for key in ("learnables", "signal", "cost")]
    words = [str(fact) for fact in facts if fact]
    if not words:
        return entry.description
    return f"learns {words[0]} · {' · '.join(words[1:])}"


def trains(method: str) -> bool:
    """Whether a method trains the network, so that there is more to choose."""
    return method in METHODS and issubclass(METHODS[method].options, Course)


def own(method: str) -> list[Control]:
    """The options that are drawn for `method` alone."""
    every = controls(METHODS[method].options)
    return [each for each in every if not (trains(method) and each.advanced)]


def shared(method: str) -> list[Control]:
    """Those that are drawn once for all methods that train, with the defaults of `method`."""
    return [each for each in controls(METHODS[method].options) if each not in own(method)]


def all_shared() -> list[Control]:
    """What training methods share, each once."""
    found: dict[str, Control] = {}
    for entry in METHODS:
        found = {each.name: each for each in shared(entry.name)} | found
    return list(found.values())


def options_of(method: str, parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The options of `method` among what was said."""
    names = {each.name for each in shared(method)}
    common = parts.get(TRAINING, {})
    return {**parts.get(f"method:{method}", {}), **{k: common[k] for k in common if k in names}}


def parts_of(method: str, options: Mapping[str, Any]) -> Said:
    """The inverse of `options_of`; what training methods share stays as it is for other methods."""
    names = {each.name for each in shared(method)}
    parts = {f"method:{method}": {k: v for k, v in options.items() if k not in names}}
    if trains(method):
        parts[TRAINING] = {k: v for k, v in options.items() if k in names}
    return parts


def hints(fields: Sequence[Field], method: str) -> dict[Any, dict[str, Any]]:
    """How the components of what training methods share differ for `method`: its defaults."""
    known = {each.name: each for each in shared(method)}
    if not known:
        return {}
    return {
        field.component: {
            "visible": field.control.name in known,
            **_hint(known.get(field.control.name, field.control)),
        }
        for field in fields
        if field.part == TRAINING
    }


def declared(options: type[Options], names: Iterable[str] | None = None) -> list[Control]:
    """The controls of an options class, or of some of its fields."""
    every = {each.name: each for each in controls(options)}
    return list(every.values()) if names is None else [every[name] for name in names]


def _number(value: Any, kind: str) -> Any:
    """A number where one was asked for and given; the options' class says what is wrong else."""
    try:
        return {"integer": int, "number": float}[kind](value)
    except (KeyError, ValueError):
        return value


def _hint(control: Control) -> dict[str, Any]:
    """How a control that may stay empty says what that means."""
    if control.kind in ("flag", "choice"):
        return {"choices": _blank_choices(control)}
    number = control.kind in ("integer", "number")
    default = f"{control.default:g}" if number else control.default or "none"
    return {"placeholder": f"default: {default}"}


def _blank_choices(control: Control) -> list[tuple[str, Any]]:
    if control.kind == "choice":
        return [(f"default: {control.default}", ""), *((str(c), c) for c in control.choices)]
    word = "the target's" if control.default is None else _YES if control.default else _NO
    return [(f"default: {word}", ""), (_YES, _YES), (_NO, _NO)]


def _id(part: str) -> str:
    return part.removeprefix("method:").replace(":", "-")


def _component(part: str, control: Control, blank: bool) -> Any:
    kind, _, name = part.partition(":")
    owner = f"{name}: " if kind == "transform" else ""  # several are on screen together
    common: dict[str, Any] = {
        "label": f"{owner}{control.name.replace('_', ' ')}",
        "info": control.help or None,
        "value": "" if blank else control.default,
        "elem_id": f"wb-option-{_id(part)}-{control.name}",
    }
    hint = _hint(control) if blank else {}
    if control.kind == "flag" and not blank:
        return gr.Checkbox(**common)
    if control.kind in ("choice", "flag"):
        return gr.Dropdown(**common, **(hint or {"choices": list(control.choices)}))
    if control.kind in ("integer", "number") and not blank:
        whole = control.kind == "integer"
        # no limits here: the options' class says in a sentence what was wrong and what to give
        step = control.step or (1 if whole else 1e-4)
        return gr.Number(step=step, precision=0 if whole else None, **common)
    return gr.Textbox(**common, **hint)
