"""The verdict: does the exported file do in ONNX Runtime what was simulated?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.views import strings
from workbench.views.numbers import fixed, number

Record = Mapping[str, Any]

TONES = {"equal": "good", "within one step": "good", "differs": "warn"}
SHOWN = 4
WORDS = {
    ("off", "default"): "graph as written",
    ("on", "default"): "as users run it",
    ("on", "exact"): "with exact kernels",
}


def verdict(record: Record | None, report: Record | None = None, name: str = "") -> dict[str, Any]:
    """The view-model of the verdict.

    Args:
        record: a `Verification` record, or None where nothing was exported.
        report: the run's report, for size and latency.
        name: of the run, where others are on screen too.
    """
    if not record:
        return {"title": strings.VERIFY_TITLE, "lines": [], "message": strings.VERIFY_EMPTY}
    lines = [_mode(mode) for mode in record.get("modes", ())]
    lines += _weights(record)
    if record.get("cause"):
        lines.append(_line(f"Cause: {record['cause']}.", "plain"))
    lines += _layers(record)
    if record.get("cure"):
        lines.append(_line(f"Cure: {record['cure']}.", "plain"))
    lines += _prices(record)
    lines += _cost(report or {})
    ok = bool(record.get("ok"))
    title = f"{strings.VERIFY_TITLE} · {name}" if name else strings.VERIFY_TITLE
    return {
        "title": title,
        "status": f"{record.get('examples', 0):,} examples, {_sizes(record)}",
        "ok": ok,
        "lines": lines,
        "message": "",
    }


def _mode(mode: Record) -> dict[str, str]:
    sites = mode.get("sites") or ()
    words = WORDS.get((mode["optimisations"], mode["kernels"]), "ONNX Runtime")
    tone = TONES.get(mode["verdict"], "bad")
    return _line(f"{words[0].upper()}{words[1:]}: {_difference(mode, sites)}", tone, _tip(mode))


def _difference(mode: Record, sites: Any) -> str:
    agreement = number(mode.get("top1_agreement"))
    same = "" if agreement is None else f", {fixed(100 * agreement)} % same predictions"
    if not sites:
        relative = max((float(row["relative"]) for row in mode.get("floats", ())), default=0.0)
        return f"outputs within {relative:.1g} of the simulation{same}"
    off = [row for row in sites if row["max_steps"] > 0]
    if not off:
        return f"all {strings.plural(len(sites), 'tensor')} equal{same}"
    most = max(row["max_steps"] for row in off)
    count = sum(row["count"] for row in sites)
    share = sum(row["share_over_half"] * row["count"] for row in sites) / max(1, count)
    return f"{_percent(share)} of codes differ, by {strings.plural(most, 'step')} at most{same}"


def _tip(mode: Record) -> str:
    setting = f"optimisations {mode['optimisations']}, {mode['kernels']} kernels"
    first = mode.get("first_departure")
    return f"{setting}; first difference at {first}" if first else setting


def _weights(record: Record) -> list[dict[str, str]]:
    """Nothing where the file is its own simulation."""
    wrong, count = record.get("differing_stored") or (), int(record.get("stored") or 0)
    if wrong:
        return [_line(f"{len(wrong)} of {count} stored tensors differ, first {wrong[0]}", "bad")]
    equal = f"All {strings.plural(count, 'stored tensor')} bit for bit equal"
    return [_line(equal, "good")] if count else []


def _layers(record: Record) -> list[dict[str, str]]:
    """The layers that depart; all of them in the tip."""
    suspects = record.get("suspects") or ()
    names = list(dict.fromkeys(name for row in suspects for name in row["layers"]))
    if not names:
        return []
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [_line(f"Layers: {', '.join(names[:SHOWN])}{more}.", "plain", ", ".join(names))]


def _prices(record: Record) -> list[dict[str, str]]:
    """What the file costs as it is and with each cure, where that was measured."""
    if not record.get("price"):
        return []
    rows = [("As it is", "", record["price"])]
    rows += [(cure["name"], cure["words"], cure["price"]) for cure in record.get("cures") or ()]
    return [_line(f"{name}: {_price(price)}", "plain", tip) for name, tip, price in rows]


def _price(price: Record) -> str:
    ratio = float(price["latency_ms"]) / float(price["float_latency_ms"])
    agreement, left = number(price.get("agreement")), int(price["departing"])
    same = "" if agreement is None else f", {fixed(100 * agreement)} % as float predicts"
    departs = f", {strings.plural(left, 'tensor')} off" if left else ""
    return f"{ratio:.2f} × the float time{same}{departs}"


def _cost(report: Record) -> list[dict[str, str]]:
    """Say plainly when the small file is not a fast one."""
    now, then = number(report.get("latency_ms")), number(report.get("float_latency_ms"))
    if now is None or then is None or now <= then * 1.05:
        return []
    text = f"Smaller, but {now / then:.1f}× slower than float here: low-bit weights are unpacked"
    return [_line(f"{text} at each run; store them as int8 where speed counts.", "warn")]


def _sizes(record: Record) -> str:
    sizes = [str(size) for size in record.get("batch_sizes") or ()]
    return f"batch {' and '.join(sizes)}" if sizes else "one batch"


def _percent(share: float) -> str:
    value = 100 * share
    return "less than 0.01 %" if 0 < value < 0.01 else f"{value:.3g} %"


def _line(text: str, tone: str, tip: str = "") -> dict[str, str]:
    return {"text": text, "tone": tone, "tip": tip}
