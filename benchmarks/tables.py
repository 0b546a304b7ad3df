"""From records of `benchmarks.accuracy` to Markdown: `python -m benchmarks.tables [FILE]`.

One table for each model: a row for each method, a column for each setting; the mean score over the
seeds, its spread where there are several, and the seconds of one run.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.accuracy import RESULTS, SETTINGS, recorded

Record = dict[str, Any]


def tables(records: Iterable[Record]) -> Iterator[str]:
    """Lines of Markdown."""
    models: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        models[record["model"]].append(record)
    for model, found in models.items():
        yield from _table(model, found)


def _table(model: str, records: list[Record]) -> Iterator[str]:
    settings = [name for name in SETTINGS if any(r["setting"] == name for r in records)]
    rows = sorted({(r["method"], r["edges"]) for r in records})
    scored = next((r for r in records if "float" in r), {})
    metric, reference = scored.get("metric", "score"), scored.get("float", float("nan"))
    yield f"## {model}: {metric}, {reference:.4g} in float\n"
    yield f"| method | edges | {' | '.join(settings)} |"
    yield "|---" * (len(settings) + 2) + "|"
    for method, edges in rows:
        own = [r for r in records if (r["method"], r["edges"]) == (method, edges)]
        cells = (_cell([r for r in own if r["setting"] == name]) for name in settings)
        yield f"| {method} | {edges} | {' | '.join(cells)} |"
    yield ""


def _cell(records: list[Record]) -> str:
    if not records:
        return ""
    scores = [r["score"] for r in records if "score" in r]
    if not scores:
        return "refused"
    spread = f" ± {(max(scores) - min(scores)) / 2:.2g}" if len(scores) > 1 else ""
    return (
        f"{mean(scores):.4g}{spread} ({mean(r['seconds'] for r in records if 'score' in r):.0f} s)"
    )


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    sys.stdout.write("\n".join(tables(recorded(path))) + "\n")
