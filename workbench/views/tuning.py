"""What each layer is asked for, with the controls to ask for something else, and what it loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.views import strings
from workbench.views.numbers import fixed, signed

Record = Mapping[str, Any]


def tuning(
    rows: Sequence[Record], selected: str, choices: Mapping[str, Sequence[Any]]
) -> dict[str, Any]:
    """The view-model.

    Args:
        rows: by layer in order: `layer`, `op`, `parameters`, `tuned` (whether anything is asked of
            it), `bits`, `method`, `calibrator`, `share`, `sqnr_db`, and `usual_db` without tuning.
        selected: the layer that is shown in detail.
        choices: values of the controls: `bits`, `method`, `calibrator`.
    """
    parameters = sum(row["parameters"] for row in rows)
    stored = sum(row["parameters"] * row["bits"] for row in rows)
    changed = sum(row["tuned"] for row in rows)
    return {
        "rows": [_row(row) for row in rows],
        "selected": selected,
        "choices": {key: list(values) for key, values in choices.items()},
        "sentence": strings.TUNED.format(
            layers=strings.plural(changed, "layer"),
            average=fixed(stored / max(1, parameters), 2),
            size=strings.size(stored / 8),
        ),
        "changed": changed,
    }


def _row(row: Record) -> dict[str, Any]:
    gain = row["sqnr_db"] - row["usual_db"]
    same = not row["tuned"] or abs(gain) < 0.05
    nearest = row["method"] == "nearest"
    tip = f"{row['op']}, {row['parameters']:,} weights; output {fixed(row['sqnr_db'])} dB"
    return {
        **{key: row[key] for key in ("layer", "bits", "method", "calibrator", "tuned")},
        "share": round(row["share"], 3),
        "ranged": nearest,
        "sqnr": fixed(row["sqnr_db"]),
        "gain": "" if same else signed(gain),
        "tone": "dim" if same else "good" if gain > 0 else "bad",
        "tip": tip,
    }
