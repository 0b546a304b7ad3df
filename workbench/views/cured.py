"""The story of a cured run: what was found guilty, what was done, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.views import strings, study
from workbench.views.causes import milli
from workbench.views.numbers import decimals, fixed
from workbench.views.trial import scores

Record = Mapping[str, Any]

_COLUMNS = (
    study.column("layer", "name"),
    study.column("cause", "note", strings.CURED_CAUSE_HELP),
    study.column("cure", "note"),
    study.column("score", "number", strings.CURED_HELD_OUT),
    study.column("divergence", "number", strings.CURED_HELD_OUT, "mnat"),
    study.column("bytes", "number", strings.CURED_BYTES_HELP),
    study.column("outcome", "mark"),
)


def cured(story: Record | None) -> dict[str, Any] | None:
    """The view-model.

    Args:
        story: `cure.json` of a run, which `Treatment.record` makes; None where nothing was cured.
    """
    if not story or not story["steps"]:
        return None
    steps, now = story["steps"], story["now"]
    sentence = strings.CURED.format(
        scores=scores(steps[0]["before"], now),
        float=fixed(now["float_score"], decimals(now["unit"])),
        end=story["end"],
    )
    table = study.table(_COLUMNS, [_row(step) for step in steps])
    return study.section([("cured", "", "")], "cured", study.part(sentence, tables=[table]))


def rows(story: Record | None) -> list[dict[str, Any]]:
    """A flat record for each cure that was tried."""
    return [_flat(step) for step in (story or {}).get("steps", ())]


def _row(step: Record) -> dict[str, Any]:
    before, after = step["before"], step["after"]
    more = after["bytes"] - before["bytes"]
    cells = [
        step["layer"],
        f"{step['sentence']}.",
        strings.sentence_case(step["words"]),
        scores(before, after),
        f"{milli(before['kl'])} → {milli(after['kl'])}",
        f"{'+' if more > 0 else '−'}{abs(more):,}" if more else "0",
        study.mark("kept", "float") if step["kept"] else study.mark("dropped", "dim"),
    ]
    return study.row(cells)


def _flat(step: Record) -> dict[str, Any]:
    before, after = step["before"], step["after"]
    said = {key: step[key] for key in ("layer", "cause", "sentence", "cure", "words", "kept")}
    judged = {
        f"{key}_{when}": judged[key]
        for key in ("score", "kl", "bytes", "bops")
        for when, judged in (("before", before), ("after", after))
    }
    return {**said, "unit": after["unit"], "float_score": after["float_score"], **judged}
