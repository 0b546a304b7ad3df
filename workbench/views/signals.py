"""What learning did at each site, step by step: from a run's events to one view-model.

A *unit* is what learned in one piece: a layer, a block, or the network. Its reports are numbered
through the whole run, so that one slider replays all units in the order in which they learned. A
series has one value a report, or None where a report did not say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.views import strings
from workbench.views.numbers import number
from workbench.views.progress import LEARNED, NEAREST, status_line, waiting

Record = Mapping[str, Any]

#: reports of one unit that are drawn
MOST_POINTS = 48
#: values that are drawn on axes of their own, or not at all; all others are parts of the loss
OWN = frozenset(
    {"loss", "reconstruction", "held_out", "hard", "gradient", "flips", "open", "clipped", "scale",
     "step", "seconds", NEAREST, LEARNED, "activation_scale", "rate", "agreement", "score",
     "flips_per_step", "oscillating", "frozen", "effective_bits", "moved", "bits", "scale_gradient"}
)  # fmt: skip
#: of h(V), and of trained weights around their levels
HISTOGRAMS = ("h", "latent")
DIGITS = 4

_EPOCH = re.compile(r"epoch (\d+)")


class _Series:
    """Values of one unit or site by name, and its histograms, report by report."""

    def __init__(self) -> None:
        self.at: list[int] = []
        self.values: list[Record] = []
        self.counts: list[Record] = []

    def add(self, at: int, values: Record, counts: Record) -> None:
        self.at.append(at)
        self.values.append(values)
        self.counts.append(counts)

    def record(self) -> dict[str, Any]:
        chosen = _spread(len(self.at))
        names = dict.fromkeys(name for values in self.values for name in values)
        found = {
            name: [_rounded(value) for value in _newest(self.values, name, chosen)]
            for name in names
            if any(number(values.get(name)) is not None for values in self.values)
        }
        return {
            "at": [self.at[k] for k in chosen],
            "series": found,
            **{key: self._histograms(key, chosen) for key in HISTOGRAMS},
        }

    def _histograms(self, key: str, chosen: Sequence[int]) -> list[list[int] | None] | None:
        """Those of the chosen reports; None where no report has one."""
        if not any(counts.get(key) for counts in self.counts):
            return None
        return [list(counts or ()) or None for counts in _newest(self.counts, key, chosen)]


class _Unit:
    """A unit while its events are gathered."""

    def __init__(self, name: str, layer: str | None, method: str) -> None:
        self.name, self.layer, self.method = name, layer, method
        self.own = _Series()
        self.sites: dict[str, _Series] = {}

    def add(self, at: int, values: Record, event: Record) -> None:
        self.own.add(at, values, event.get("counts") or {})
        for site, signals in (event.get("sites") or {}).items():
            found = self.sites.setdefault(str(site), _Series())
            found.add(at, signals.get("values") or {}, signals.get("counts") or {})

    def record(self) -> dict[str, Any]:
        own = self.own.record()
        parts = [name for name in own["series"] if name not in OWN]
        sites = [{"name": name, **part.record()} for name, part in self.sites.items()]
        if len(sites) == 1:
            _take_over(own, sites[0])
        return {
            "name": self.name,
            "layer": self.layer,
            "method": self.method,
            "steps": own["series"].pop("step", None),
            "parts": parts,
            "sites": sites,
            "current": False,
            **own,
        }


def signals(
    events: Sequence[Record], progress: Record | None, state: str, name: str = ""
) -> dict[str, Any]:
    """The view-model of the learning signals.

    Args:
        events: event records in order.
        progress: `{"fraction", "eta_seconds", "text"}` of the job.
        state: "running", "stopped", "done", "failed", or "" for no job.
        name: of the run.
    """
    units, reports = _units(events)
    records = [unit.record() for unit in units]
    running = state == "running"
    if running and records:
        records[-1]["current"] = True
    empty = waiting(events) if running else strings.SIGNALS_EMPTY
    return {
        "title": " · ".join(filter(None, (strings.SIGNALS_TITLE, name))),
        "running": running,
        "status": status_line(progress or {}, state),
        "fraction": number((progress or {}).get("fraction")) or 0.0,
        "reports": reports,
        "concerns": concerns(events),
        "units": records,
        "message": "" if records else empty,
    }


def concerns(events: Sequence[Record]) -> list[dict[str, str]]:
    """What went wrong, in the order in which it was noticed: kind, site and sentence."""
    keys = {"kind": "concern", "site": "site", "text": "text"}
    return [
        {key: str(event.get(source) or "") for key, source in keys.items()}
        for event in events
        if event.get("concern")
    ]


def line(events: Sequence[Record]) -> str:
    """The newest signals in one line, for a terminal: `stem · loss 0.12 · held out 0.14`."""
    last = next((event for event in reversed(events) if event.get("values")), None)
    if last is None:
        return ""
    values = last["values"]
    words = [str(last.get("site") or "")]
    for key, (label, share) in strings.SIGNALS_SHORT.items():
        value = number(values.get(key))
        if value is not None:
            words.append(f"{label} {f'{100 * value:.1f} %' if share else f'{value:.3g}'}")
    return " · ".join(words)


def _take_over(own: dict[str, Any], site: Record) -> None:
    """What the only site of a unit says and the unit does not; and its flips, from the nearest."""
    for name, values in site["series"].items():
        if name == "flips" or name not in own["series"]:
            at = dict(zip(site["at"], values, strict=True))
            own["series"][name] = [at.get(report) for report in own["at"]]


def _units(events: Sequence[Record]) -> tuple[list[_Unit], int]:
    """The units in order, and the number of reports."""
    found: dict[tuple[int, str], _Unit] = {}
    stages = {int(event.get("stage") or 0) for event in events if event.get("sites")}
    reports = 0
    for event in events:
        if event.get("kind") not in ("step", "layer"):
            continue
        values, site = event.get("values") or {}, str(event.get("site") or "")
        if not site or not (values or event.get("sites")):
            continue
        stage, epoch = int(event.get("stage") or 0), _EPOCH.fullmatch(site)
        whole = strings.WHOLE if epoch else strings.RANGES if not values else ""
        key = stage, whole or site
        if key not in found:
            prefix = f"{stage + 1} · " if len(stages) > 1 else ""
            layer = None if whole else site
            found[key] = _Unit(f"{prefix}{whole or site}", layer, str(event.get("method") or ""))
        step = int(event.get("step") or epoch[1]) if epoch else None
        *earlier, point = _points(values, step)
        for before in earlier:
            found[key].add(reports, before, {})
        found[key].add(reports, point, event)
        reports += bool(values)
    return list(found.values()), max(1, reports)


def _points(values: Record, step: int | None) -> list[Record]:
    """What an event adds to its unit; a layer solved in one go falls from nearest to learned."""
    if step is not None:
        return [{**values, "step": step}]
    before, after = number(values.get(NEAREST)), number(values.get(LEARNED))
    if before is None or after is None:
        return [values]
    rest = {key: value for key, value in values.items() if key not in (NEAREST, LEARNED)}
    return [{"reconstruction": before}, {**rest, "reconstruction": after}]


def _spread(count: int) -> list[int]:
    """Indices of at most `MOST_POINTS` of `count`, first and last among them."""
    if count <= MOST_POINTS:
        return list(range(count))
    step = (count - 1) / (MOST_POINTS - 1)
    return [round(k * step) for k in range(MOST_POINTS)]


def _newest(records: Sequence[Record], name: str, chosen: Sequence[int]) -> list[Any]:
    """What each chosen record says, else the last that does of those it stands for.

    What is measured once an epoch would be lost otherwise, wherever only some reports are drawn.
    """
    found: list[Any] = []
    before = -1
    for at in chosen:
        said = (records[k].get(name) for k in range(at, before, -1))
        found.append(next((value for value in said if value is not None), None))
        before = at
    return found


def _rounded(value: Any) -> float | None:
    found = number(value)
    return None if found is None else float(f"{found:.{DIGITS}g}")
