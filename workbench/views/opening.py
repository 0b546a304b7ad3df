"""Where work begins: models as cards, what is on screen now, and three things to try first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.views import strings
from workbench.views.numbers import decimals, fixed, number
from workbench.views.summary import metric

Record = Mapping[str, Any]

SHOWN_BITS = "W3A8"  # of which a card tells what learning brings
FLOAT_BYTES = 4
_SAID_ELSEWHERE = re.compile(r",? [\d.]+ M parameters|\s*\(extra 'zoo'\)")


def cards(models: Sequence[Record], current: str, waiting: str = "") -> dict[str, Any]:
    """The models that can be opened by a click, those that bring data first.

    Args:
        models: `{"name", "title", "card", "own_data", "absent"}`: what is known of each; absent:
            packages that are missing.
        current: name of the one on screen.
        waiting: what is being opened; nothing else can be meanwhile.
    """
    groups = []
    for title, help_, own in (
        (strings.OPEN_SAMPLES, strings.OPEN_SAMPLES_HELP, True),
        (strings.OPEN_LARGER, strings.OPEN_LARGER_HELP, False),
    ):
        found = [_card(model, current) for model in models if bool(model["own_data"]) is own]
        if found:
            groups.append({"title": title, "help": help_, "cards": found})
    return {"groups": groups, "waiting": waiting}


def _card(model: Record, current: str) -> dict[str, Any]:
    card = model["card"]
    absent = bool(model["absent"])
    return {
        "name": model["name"],
        "title": _SAID_ELSEWHERE.sub("", str(model["title"])),
        "task": strings.OPEN_TASKS.get(str(card.get("task")), str(card.get("task", ""))),
        "facts": [_score(card), *_sizes(card)],
        "learning": _learning(card),
        "help": strings.OPEN_LEARNED_HELP,
        "current": model["name"] == current,
        "absent": strings.OPEN_ABSENT if absent else "",
        "tip": _tip(model),
    }


def _score(card: Record) -> dict[str, str]:
    """The float model's score, as its card has it."""
    found = card.get("score")
    if not found:
        return {"label": "float", "value": "–", "help": strings.OPEN_NO_SCORE}
    record = {"score": found["value"], "unit": found.get("unit", "%")}
    tip = f"{found.get('metric', '')} on {number(found.get('n')) or 0:,.0f} held-out examples"
    return {"label": "float", "value": metric(record), "help": tip}


def _sizes(card: Record) -> list[dict[str, str]]:
    count = number(card.get("parameters"))
    if count is None:
        return []
    stored = number(card.get("bytes"))
    text = strings.size(count * FLOAT_BYTES if stored is None else stored)
    tip = "of the file" if stored is not None else "of its weights in float32"
    return [
        {"label": "params", "value": strings.count(count), "help": f"{count:,.0f} parameters"},
        {"label": "size", "value": text, "help": f"size {tip}"},
    ]


def _learning(card: Record) -> str:
    """What nearest rounding and learning make of it, from its card; empty where none is said."""
    nearest, learned = ((card.get(key) or {}).get(SHOWN_BITS) for key in ("rtn", "gram"))
    score = card.get("score") or {}
    if number(nearest) is None or number(learned) is None:
        return ""
    digits = decimals(score.get("unit"))
    unit = f" {score.get('unit', '')}".rstrip()
    return strings.OPEN_LEARNED.format(
        bits=SHOWN_BITS[1],
        nearest=fixed(nearest, digits),
        learned=f"{fixed(learned, digits)}{unit}",
    )


def _tip(model: Record) -> str:
    if model["absent"]:
        names = ", ".join(map(str, model["absent"]))
        return strings.OPEN_ABSENT_HELP.format(packages=names)
    card = model["card"]
    parts = (card.get("architecture"), card.get("data"), card.get("licence"))
    return "; ".join(str(part) for part in parts if part)


def loaded(model: Record, data: Record) -> dict[str, Any]:
    """What is on screen now: the model, and the examples that calibrate and judge it.

    Args:
        model: `{"name", "from", "inputs": [{"name", "shape", "type"}], "layers", "parameters"}`,
            or `{"problem"}` where it cannot be opened.
        data: `{"kind": own, given or none, "name", "about", "calibration", "test", "labels"}`, with
            `"maker"` for none, `"replaces"` where the model has its own, or `{"problem"}`.
    """
    if "problem" in model:
        return _loaded([], str(model["problem"]), "bad")
    rows = [
        _row(strings.OPEN_MODEL, str(model["name"]), str(model["from"])),
        _row(strings.OPEN_INPUTS, "; ".join(map(_input, model["inputs"]))),
        _row(
            strings.OPEN_LAYERS,
            f"{strings.plural(model['layers'], 'layer')} with weights",
            f"{strings.count(model['parameters'])} parameters",
        ),
    ]
    if "problem" in data:
        return _loaded(rows, str(data["problem"]), "bad")
    return _loaded([*rows, *_examples(data)], *_consequences(data), _data_actions(data))


def _loaded(
    rows: Sequence[Record], note: str, tone: str, actions: Sequence[Record] = ()
) -> dict[str, Any]:
    return {
        "title": strings.OPEN_NOW,
        "rows": list(rows),
        "note": note,
        "tone": tone,
        "actions": list(actions),
    }


def _row(label: str, value: str, more: str = "") -> dict[str, str]:
    return {"label": label, "value": value, "more": more}


def _input(spec: Record) -> str:
    shape = ", ".join(map(str, spec["shape"]))
    return f"{spec['name']} ({shape}) {spec['type']}"


def _examples(data: Record) -> list[dict[str, str]]:
    if data["kind"] == "none":
        return [_row(strings.OPEN_DATA, strings.OPEN_NO_DATA)]
    own = data["kind"] == "own"
    name = strings.OPEN_OWN if own else data["name"]
    counts = strings.OPEN_COUNTS.format(
        calibration=f"{data['calibration']:,}", test=f"{data['test']:,}"
    )
    return [
        _row(strings.OPEN_DATA, str(name), str(data["about"]) if own else strings.OPEN_GIVEN),
        _row(strings.OPEN_EXAMPLES, counts),
        _row(strings.OPEN_LABELS, strings.OPEN_LABELLED[str(data["labels"])]),
    ]


def _consequences(data: Record) -> tuple[str, str]:
    """What it means for the numbers on screen, and how serious that is."""
    if data["kind"] == "none":
        return strings.OPEN_DATA_FREE.format(maker=data["maker"]), "warn"
    if data["labels"] == "none":
        return strings.OPEN_UNLABELLED, "plain"
    return "", "plain"


def _data_actions(data: Record) -> list[dict[str, Any]]:
    if data["kind"] != "given":
        return []
    label = strings.OPEN_USE_OWN if data.get("replaces") else strings.OPEN_USE_NONE
    return [{"label": label, "send": {"kind": "data"}}]


def tries(steps: Sequence[Record]) -> dict[str, Any]:
    """Three things to try, in order, each a sentence that is a button.

    Args:
        steps: `{"name", "state"}`; state: open, running, done or blocked.
    """
    found = []
    for place, step in enumerate(steps, 1):
        sentence, tip, blocked = strings.TRIES[str(step["name"])]
        state = str(step["state"])
        found.append(
            {
                "name": step["name"],
                "number": place,
                "sentence": sentence,
                "tip": blocked if state == "blocked" else tip,
                "state": state,
                "words": strings.TRY_STATES.get(state, ""),
            }
        )
    return {"title": strings.TRY_TITLE, "steps": found}
