"""The controls of a demo: those of its options, and what only demos have.

Further keys of a field's `json_schema_extra`, besides `step`:

    log      a slider whose steps are factors
    play     a button that moves the value on by itself
    hidden   no control; the option is changed by a click in a panel

A field of type `tuple[int, ...]` is a set: a click puts a number in it or takes it out.
"""

from __future__ import annotations

from typing import Any, get_origin

from workbench.foundation.options import Options
from workbench.foundation.options import controls as declared

EXTRAS = ("log", "play", "hidden")


def controls(options: type[Options]) -> list[dict[str, Any]]:
    """Records of all controls, in the order of the fields."""
    found = []
    for control in declared(options):
        field = options.model_fields[control.name]
        extra: Any = field.json_schema_extra or {}
        record = {**control.record(), **{key: bool(extra.get(key)) for key in EXTRAS}}
        if is_set(options, control.name):
            record |= {"kind": "set", "hidden": True}
        found.append(record)
    return found


def is_set(options: type[Options], name: str) -> bool:
    """Whether an option is a set of whole numbers."""
    return name in options.model_fields and (
        get_origin(options.model_fields[name].annotation) is tuple
    )
