"""Why a layer suffers: its causes with their numbers, and cures with what they gain and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.session.scores import LOWER_IS_BETTER
from workbench.views import strings, study
from workbench.views.numbers import MINUS, fixed, number, signed

Record = Mapping[str, Any]
View = dict[str, Any]

MILLI = 1000.0
TINY = 5e-4  # of a unit: below it a number would be noise
GOALS = (0.0, 0.005, 0.01, 0.02, 0.05)  # of the float score may be lost
USUAL = 0.01  # the goal that is proposed, unless it is reached
WORTH = 0.5  # a cure is worth its price from this share of the best gain on


def panel(
    layer: str | None,
    found: Record | None,
    *,
    place: tuple[int, int] | None = None,
    unit: str = strings.DAMAGE_UNITS["classes"],
    message: str = "",
    progress: Record | None = None,
    actions: Sequence[Record] = (),
    busy: bool = False,
) -> View:
    """The view-model of one layer's causes.

    Args:
        layer: the selected one.
        found: record of `workbench.session.causes.Causes`; None while it is not known.
        place: the layer's rank by damage from 1, and how many layers there are.
        unit: of the damage.
        message: instead of causes; progress: `{"text", "fraction"}` of looking for them.
        actions: below the message, from `views.study.action`.
        busy: a cure is being tried, so no other can begin.
    """
    causes = [] if found is None else [_cause(found, each, unit, busy) for each in found["causes"]]
    if found is not None and not causes:
        message = strings.WHY_NONE
    return {
        "layer": layer,
        "title": strings.WHY_TITLE,
        "status": "" if found is None else _status(found, place, unit),
        "causes": causes,
        "message": message,
        "progress": dict(progress) if progress else None,
        "actions": list(actions),
        "trial": None,
        "auto": None,
    }


def automatic(scores: Record, size: int, busy: bool) -> View:
    """What a cure without a layer can be told: how near to float, a size not to exceed.

    Args:
        scores: of the float and the quantized model, as in a run's report.
        size: bytes of the weights now.
        busy: a cure is being tried.
    """
    budgets: list[View] = [{"value": None, "label": strings.ANY_SIZE}]
    for more in (0.0, 0.05, 0.1, 0.25):
        words = f"size +{100 * more:g} %" if more else strings.SAME_SIZE_MOST
        budgets.append({"value": round(size * (1 + more)), "label": words})
    lost = _lost(scores)
    nearest = [i for i, share in enumerate(GOALS) if share < lost and share <= USUAL]
    return {
        "label": strings.AUTO,
        "help": strings.AUTO_HELP,
        "goal": strings.GOAL,
        "goals": [{"value": share, "label": _goal(share)} for share in GOALS],
        "chosen": max(nearest, default=0),
        "budget": strings.BUDGET,
        "budgets": budgets,
        "disabled": busy,
    }


def _goal(share: float) -> str:
    return strings.GOAL_OFF.format(share=f"{100 * share:g}") if share else strings.GOAL_FLOAT


def _lost(scores: Record) -> float:
    """The share of the float score that is lost; 0 where it is not known."""
    base, now = scores.get("float") or {}, scores.get("learned") or {}
    then, score = number(base.get("score")), number(now.get("score"))
    if not then or score is None:
        return 0.0
    gap = (then - score) / abs(then)
    return -gap if base.get("metric") in LOWER_IS_BETTER else gap


def _status(found: Record, place: tuple[int, int] | None, unit: str) -> str:
    own = f"{milli(found['damage'])} {unit} by itself"
    return own if place is None else f"{own} · {place[0]} of {place[1]} by damage"


def _cause(found: Record, cause: Record, unit: str, busy: bool) -> View:
    own = cause["cause"], cause["site"]
    cures = [each for each in found["cures"] if (each["cause"], each["site"]) == own]
    named = [each["name"] for each in cures]
    others = [name for name in cause["cures"] if name not in named]
    best = _best(found)
    share = cause["removed"] / cause["before"] if cause["before"] > 0 else 0.0
    return {
        "name": cause["cause"],
        "title": cause["title"],
        "site": "" if cause["site"] == f"{found['layer']}.weight" else cause["site"],
        "sentence": f"{strings.sentence_case(cause['sentence'])}.",
        "share": {
            "text": f"{100 * share:.0f} %",
            "fraction": round(min(1.0, max(0.0, share)), 4),
            "spoken": f"explains {100 * share:.0f} % of {cause['whose']}",
            "help": f"{milli(cause['before'])} {unit} as it is, {milli(cause['after'])} without it",
        },
        "cures": [_cure(found, cure, unit, cure["number"] == best, busy) for cure in cures],
        "also": f"see above: {', '.join(others)}" if others else "",
    }


def _cure(found: Record, cure: Record, unit: str, best: bool, busy: bool) -> View:
    gain, damage = number(cure["predicted_gain"]), float(found["damage"])
    share = None if gain is None or damage <= 0 else gain / damage
    words = strings.ONLY_A_TRIAL if share is None else f"{_percent(-share)} damage"
    predicted = ""
    if gain is not None:
        after = milli(cure["predicted_damage"])
        predicted = f"{milli(damage)} → {after} {unit} by itself, as measured. "
    return {
        "words": strings.sentence_case(str(cure["words"])),
        "gain": words,
        "tone": "dim" if share is None else "good" if share > 0 else "bad",
        "cost": _bytes(cure["more_bytes"]),
        "operations": _operations(cure),
        "best": strings.BEST_VALUE if best else "",
        "help": f"{predicted}{strings.CURE_HELP}.",
        "send": {"kind": "cure", "layer": found["layer"], "number": cure["number"]},
        "disabled": busy,
    }


def _best(found: Record) -> int | None:
    """Number of the cure that costs least among those that gain half of what the best one does."""
    known = [cure for cure in found["cures"] if number(cure["predicted_gain"]) is not None]
    most = max((cure["predicted_gain"] for cure in known), default=0.0)
    worth = [cure for cure in known if most > 0 and cure["predicted_gain"] >= WORTH * most]
    cheapest = min(worth, key=lambda c: (c["more_bytes"], -c["predicted_gain"]), default=None)
    return None if cheapest is None else int(cheapest["number"])


def _bytes(more: float) -> str:
    if not more:
        return strings.SAME_SIZE
    return f"{'+' if more > 0 else MINUS}{strings.size(abs(more))}"


def _operations(cure: Record) -> str:
    """What a cure adds to all bit operations, as a share."""
    more, every = float(cure["more_bops"]), float(cure["bops"])
    before = every - more
    if not more or before <= 0:
        return ""
    return f"{_percent(more / before)} bit operations"


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{signed(percent, 1 if abs(percent) < 10 else 0)} %"


def milli(value: float) -> str:
    """Thousandths with three digits; what is next to nothing says so."""
    thousandths = MILLI * value
    if abs(thousandths) < TINY:
        return "0" if thousandths == 0 else "<0.001"
    digits = 3 if abs(thousandths) < 1 else 2 if abs(thousandths) < 10 else 1
    return fixed(thousandths, digits)


def waiting(layer: str | None, text: str, step: Record | None = None) -> View:
    """While causes are looked for."""
    fraction = None if step is None else float(step.get("fraction") or 0)
    said = str((step or {}).get("text") or "") or text
    progress = {"text": f"{strings.sentence_case(said)}…", "fraction": fraction}
    return panel(layer, None, progress=progress)


def unknown(layer: str, problem: str = "") -> View:
    """A layer that nobody asked about yet, or whose causes could not be found."""
    label = strings.LOOK_AGAIN if problem else strings.LOOK
    look = study.action(label, {"kind": "look", "layer": layer}, primary=True)
    return panel(layer, None, message=problem or strings.WHY_UNKNOWN, actions=[look])
