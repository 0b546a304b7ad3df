"""A cure that is tried: how far it is, what it changed, and whether it was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.views import strings, study
from workbench.views.causes import MILLI, milli
from workbench.views.numbers import decimals, fixed, number

Record = Mapping[str, Any]
View = dict[str, Any]

TITLES = {
    "kept": strings.TRIAL_KEPT,
    "dropped": strings.TRIAL_DROPPED,
    "failed": strings.TRIAL_FAILED,
}
TONES = {"kept": "good", "dropped": "warn", "failed": "bad"}
SURE = 0.1  # below this fraction an estimate of the rest would be a guess


def trial(
    record: Record,
    job: Record,
    *,
    words: str,
    unit: str = strings.DAMAGE_UNITS["classes"],
    adopted: bool = False,
    here: bool = True,
    total_db: tuple[float | None, float | None] | None = None,
) -> View:
    """The view-model of a cure.

    Args:
        record: of `workbench.session.remedies.treat`, as far as it has come; may be empty.
        job: `state`, `step` and `problem` of its study; `making`, the progress of the cured run
            while that is made, else None.
        words: what the cure does; "" for one that chooses by itself.
        unit: of the damage.
        adopted: the cured run is on screen; here: so is the layer, and it has all the room.
        total_db: SQNR of the layer's output in the whole network, before and after.
    """
    steps, making = record.get("steps") or [], job["making"]
    running = job["state"] == "running"
    outcome = _outcome(steps, job["state"])
    settled = bool(record) and here and (not running or making is not None)
    return {
        "state": outcome,
        "title": _title(words, outcome),
        "tone": TONES.get(outcome, "plain"),
        "progress": _progress(job["step"], making, words, steps) if running else None,
        "rows": _rows(record, unit, total_db) if settled else [],
        "steps": [_step(each) for each in steps] if not words else [],
        "note": job["problem"] or (_note(record, outcome, adopted) if here else ""),
        "actions": _actions(outcome, running, adopted),
    }


def scores(before: Record, after: Record) -> str:
    """`95.1 → 98.6 %`."""
    was, now = (fixed(each["score"], decimals(after["unit"])) for each in (before, after))
    return f"{was} → {now} {after['unit']}"


def _outcome(steps: Sequence[Record], state: str) -> str:
    if state == "failed":
        return "failed"
    kept = any(each["kept"] for each in steps)
    if state == "running":
        return "kept" if kept else "running"
    return "kept" if kept else "dropped"


def _title(words: str, outcome: str) -> str:
    if not words:
        return strings.AUTO_TRYING if outcome == "running" else strings.AUTO_DONE
    head = TITLES.get(outcome, strings.TRIAL_TRYING)
    return f"{head}: {words}"


def _progress(step: Record, making: Record | None, words: str, steps: Sequence[Record]) -> View:
    """How far it is and how long it will take, as far as that is known."""
    fraction = number(step.get("fraction")) or 0.0
    seconds = number(step.get("seconds")) or 0.0
    if making is not None:
        own = number(making.get("fraction")) or 0.0
        left, text = number(making.get("eta_seconds")), strings.TRIAL_MAKING
        shown: float | None = fraction + (1 - fraction) * own
    elif words or not steps:
        proved = any(each["kept"] for each in steps)
        text, shown, left = str(step.get("text") or ""), fraction, None
        if words and proved:
            text = strings.TRIAL_MAKING  # in a moment
        elif words and fraction > SURE:
            left = seconds * (1 - fraction) / fraction
    else:
        kept = sum(bool(each["kept"]) for each in steps)
        text = f"{strings.plural(len(steps), 'cure')} tried, {kept} kept"
        shown, left = None, None
    rest = strings.seconds(seconds) if left is None else f"about {strings.seconds(left)} left"
    return {"text": f"{strings.sentence_case(text)} · {rest}", "fraction": shown}


def _rows(
    record: Record, unit: str, total_db: tuple[float | None, float | None] | None
) -> list[View]:
    """Every number before and after, and whether that is better."""
    a, b = record["before"], record["after"]
    digits = decimals(a["unit"])
    lower = bool(a["lower_is_better"])
    score = f"{strings.PROOF_SCORE}, float {fixed(a['float_score'], digits)}"
    rows = [
        _row(score, a["score"], b["score"], a["unit"], digits, lower=lower),
        _row(strings.PROOF_KL, MILLI * a["kl"], MILLI * b["kl"], "mnat", 2, lower=True),
    ]
    proof = record.get("proof")
    if proof:
        rows += _of_layer(proof, unit, total_db)
    rows.append(_size(a["bytes"], b["bytes"]))
    bops = _row(strings.PROOF_BOPS, a["bops"] / 1e6, b["bops"] / 1e6, "M", 0, lower=True)
    rows.append({**bops, "tone": "plain"})  # a price, as bytes are
    return rows


def _of_layer(
    proof: Record, unit: str, total_db: tuple[float | None, float | None] | None
) -> list[View]:
    before, after = proof["damage"]
    told = {"before": milli(before), "after": "–" if after is None else milli(after)}
    then = None if after is None else MILLI * after
    rows = [{**_row(strings.PROOF_DAMAGE, MILLI * before, then, unit, 3, lower=True), **told}]
    for label, key in ((strings.PROOF_WEIGHTS, "weights_db"), (strings.PROOF_INPUT, "input_db")):
        was, now = proof[key]
        if was is not None and (key == "weights_db" or was != now):
            rows.append(_row(label, was, now, "dB", 1, lower=False))
            if now is None and after == 0.0:
                rows[-1]["after"] = "float"
    if total_db is not None and None not in total_db:
        rows.append(_row(strings.PROOF_TOTAL, *total_db, "dB", 1, lower=False))
    return rows


def _row(
    label: str,
    before: float | None,
    after: float | None,
    unit: str,
    digits: int,
    *,
    lower: bool,
) -> View:
    tone = "plain"
    if before is not None and after is not None and round(after - before, digits):
        tone = "good" if (after < before) == lower else "bad"
    return {
        "label": label,
        "before": fixed(before, digits),
        "after": fixed(after, digits),
        "unit": unit,
        "tone": tone,
    }


def _size(before: float, after: float) -> View:
    return {
        **_row(strings.PROOF_SIZE, before, after, "", 0, lower=True),
        "before": strings.size(before),
        "after": strings.size(after),
        "tone": "plain",
    }


def _step(step: Record) -> View:
    """A line of the story."""
    a, b = step["before"], step["after"]
    more = b["bytes"] - a["bytes"]
    size = f", {'+' if more > 0 else '−'}{strings.size(abs(more))}" if more else ""
    return {
        "kept": bool(step["kept"]),
        "layer": step["layer"],
        "words": step["words"],
        "numbers": f"{scores(a, b)}, KL {milli(a['kl'])} → {milli(b['kl'])} mnat{size}",
        "help": f"{step['sentence']}.",
    }


def _note(record: Record, outcome: str, adopted: bool) -> str:
    steps = record.get("steps") or []
    if outcome == "kept":
        end = str(record.get("end") or "") if len(steps) > 1 else ""
        said = [f"{strings.sentence_case(end)}." if end else "", strings.TRIAL_ADOPTED]
        return " ".join(filter(None, said[: 2 if adopted else 1]))
    if outcome == "dropped":
        return strings.TRIAL_WAS if steps else strings.AUTO_HEALTHY
    return ""


def _actions(outcome: str, running: bool, adopted: bool) -> list[View]:
    if running:
        return [study.action(strings.TRIAL_STOP, {"kind": "stop"})]
    close = study.action(strings.TRIAL_CLOSE, {"kind": "dismiss"})
    back = study.action(strings.TRIAL_BACK, {"kind": "back"}, strings.TRIAL_BACK_HELP)
    return [back, close] if adopted and outcome == "kept" else [close]
