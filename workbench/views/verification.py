"""The verdict: does the exported file do in ONNX Runtime what was simulated?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.views import strings
from workbench.views.numbers import fixed, number

Record = Mapping[str, Any]

TONES = {"equal": "good", "within one step": "good", "differs": "warn"}
WORDS = {
    ("off", "default"): "graph as written",
    ("on", "default"): "as users run it",
    ("on", "exact"): "with exact kernels",
}


def verdict(record: Record | None, report: Record | None = None) -> dict[str, Any]:
    """The view-model of the verdict.

    Args:
        record: a `Verification` record, or None where nothing was exported.
        report: the run's report, for size and latency.
    """
    if not record:
        return {"title": strings.VERIFY_TITLE, "lines": [], "message": strings.VERIFY_EMPTY}
    lines = [_mode(mode) for mode in record.get("modes", ())]
    lines += _weights(record)
    if record.get("cause"):
        lines.append(_line(f"Cause: {record['cause']}.", "plain"))
    if record.get("cure"):
        lines.append(_line(f"Cure: {record['cure']}.", "plain"))
    lines += _cost(report or {})
    ok = bool(record.get("ok"))
    return {
        "title": strings.VERIFY_TITLE,
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
    wrong, count = record.get("differing_weights") or (), int(record.get("weights") or 0)
    if wrong:
        return [_line(f"{len(wrong)} of {count} stored tensors differ, first {wrong[0]}", "bad")]
    return [_line(f"All {count} stored weights and biases are bit for bit equal", "good")]


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
