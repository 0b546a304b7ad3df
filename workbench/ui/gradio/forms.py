"""Forms for the options of each method, drawn from what its options class declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from workbench.foundation.options import Control, Options, controls
from workbench.methods.network_plan import Course
from workbench.methods.registry import METHODS


@dataclass(frozen=True)
class MethodForm:
    """The controls of one method.

    Attributes:
        method: its name.
        fields: control and component, in order.
        group: the column that is shown while the method is chosen.
    """

    method: str
    fields: tuple[tuple[Control, Any], ...]
    group: gr.Column

    @property
    def components(self) -> list[Any]:
        """The components alone."""
        return [component for _, component in self.fields]


def method_forms(chosen: str) -> list[MethodForm]:
    """A column of controls for each method; only that of `chosen` is visible."""
    return [_form(entry.name, shown(entry.options), chosen) for entry in METHODS]


def shown(options: type[Options]) -> list[Control]:
    """The controls that a form has; of the many that all training methods share, the main ones.

    A page with all of them for each of these methods takes seconds to load. The rest is set by
    recipe and command line, and kept when such a recipe is shown (`unseen`).
    """
    trains = issubclass(options, Course)
    return [control for control in controls(options) if not (trains and control.advanced)]


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


def options_of(forms: Sequence[MethodForm], method: str, values: Sequence[Any]) -> dict[str, Any]:
    """Options of `method` that differ from its defaults.

    Args:
        forms: all forms; values: of all their components, in the same order.
    """
    found: dict[str, Any] = {}
    position = 0
    for form in forms:
        for control, _ in form.fields:
            value = values[position]
            position += 1
            if form.method == method and value is not None:
                value = int(value) if control.kind == "integer" else value
                if value != control.default:
                    found[control.name] = value
    return found


def unseen(forms: Sequence[MethodForm], method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a method's `options` that its form has no control for."""
    drawn = {control.name for form in forms if form.method == method for control, _ in form.fields}
    return {name: value for name, value in options.items() if name not in drawn}


def values_for(forms: Sequence[MethodForm], method: str, options: Mapping[str, Any]) -> list[Any]:
    """Values of all components when `method` has `options`; the inverse of `options_of`."""
    return [
        options.get(control.name, control.default) if form.method == method else control.default
        for form in forms
        for control, _ in form.fields
    ]


def _form(method: str, declared: Sequence[Control], chosen: str) -> MethodForm:
    with gr.Column(
        visible=method == chosen, elem_id=f"wb-options-{method}", elem_classes="wb-options"
    ) as group:
        fields = tuple((control, _component(method, control)) for control in declared)
    return MethodForm(method, fields, group)


def _component(method: str, control: Control) -> Any:
    label = control.name.replace("_", " ")
    common: dict[str, Any] = {
        "label": label,
        "info": control.help or None,
        "value": control.default,
        "elem_id": f"wb-option-{method}-{control.name}",
    }
    if control.kind == "flag":
        return gr.Checkbox(**common)
    if control.kind == "choice":
        return gr.Dropdown(choices=list(control.choices), **common)
    if control.kind in ("integer", "number"):
        whole = control.kind == "integer"
        return gr.Number(
            minimum=control.minimum,
            maximum=control.maximum,
            step=control.step or (1 if whole else 1e-4),
            precision=0 if whole else None,
            **common,
        )
    return gr.Textbox(**common)
