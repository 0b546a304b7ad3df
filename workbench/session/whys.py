"""Why the layers of a finished run suffer: looked for worst first, and kept layer by layer.

The study "causes" (`workbench.session.studies`) fills these files beside the run:

damage.json   what each site and layer does to the answer, estimated
found.json    causes and cures by layer, as far as they were looked for
wanted.json   the layer that someone is waiting for
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workbench.analysis.causes.case import Examined
from workbench.session.causes import causes, examined, joined
from workbench.session.diagnosis import site_errors
from workbench.session.kernels import saturation
from workbench.session.runs import Run
from workbench.session.store import read_json, write_json
from workbench.session.studies import Study, done

Note = Callable[[str, float], None]

#: layers that are always looked at; after these many seconds only those that someone waits for
FIRST, SECONDS = 3, 120.0
#: held-out examples on which the default kernels are watched
EXAMPLES = 512


class Whys:
    """What is known about the layers of a run.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = folder / "studies"
        self.damages = self.place / "damage.json"
        self.found = self.place / "found.json"
        self._wanted = self.place / "wanted.json"

    def damage(self) -> dict[str, Any] | None:
        """Of each site and layer, measured where that was asked for, else estimated."""
        measured = Study(self.folder, "errors").record()
        if measured is not None or not self.damages.exists():
            return measured
        return read_json(self.damages, "holds no damage")

    def layers(self) -> dict[str, dict[str, Any]]:
        """Records of `workbench.session.causes.Causes` by layer, as far as they are known."""
        return read_json(self.found, "holds no causes") if self.found.exists() else {}

    def want(self, layer: str) -> None:
        """Have it looked at next."""
        self.place.mkdir(parents=True, exist_ok=True)
        write_json(self._wanted, {"layer": layer}, durable=False)

    def wanted(self) -> str:
        """The layer that someone is waiting for; may be empty."""
        stored = read_json(self._wanted, "holds no name") if self._wanted.exists() else {}
        return str(stored.get("layer", ""))

    def keep(self, layer: str, record: dict[str, Any]) -> None:
        """What was found for one more layer."""
        write_json(self.found, {**self.layers(), layer: record}, durable=False)


def look(folder: Path, note: Note) -> dict[str, Any]:
    """Find the causes of one layer after the other, and estimate what all of them do to the answer.

    Args:
        folder: of a finished run.
        note: called with what is done and the share of it.

    Returns:
        The names of the layers that were `left`: nobody asked for them, and time was up.

    Raises:
        RunError: the run is not done.
    """
    note("opening the run", 0.02)
    run = done(Run(folder))
    known = Whys(folder)
    known.place.mkdir(parents=True, exist_ok=True)
    network = examined(run.session, run.recipe, run.model)
    order = _order(run, network)
    began = time.monotonic()
    left = [layer for layer in order if layer not in known.layers()]
    while left:
        if left[0] not in order[:FIRST]:
            _estimate(run, known, note, 1 - len(left) / len(order))
        late = time.monotonic() - began > SECONDS
        layer = _next(left, known.wanted(), order[:FIRST] if late else left)
        if layer is None:
            break
        place = len(order) - len(left)
        note(f"looking for causes, layer {place + 1} of {len(order)}", place / len(order))
        known.keep(layer, _causes(run, network, layer, kernels=layer == order[0]))
        left.remove(layer)
    _estimate(run, known, note, 1.0)
    return {"left": left}


def _next(left: Sequence[str], wanted: str, otherwise: Sequence[str]) -> str | None:
    if wanted in left:
        return wanted
    return next((layer for layer in left if layer in otherwise), None)


def _order(run: Run, network: Examined) -> list[str]:
    """Names of the layers that can be examined, worst first."""
    hurt = {str(each["layer"]): -each["damage_kl"] for each in run.report().get("layers") or ()}
    worst = sorted(hurt, key=lambda name: hurt[name]) or network.worst(len(network.places))
    return [name for name in worst if name in network.places]


def _estimate(run: Run, known: Whys, note: Note, share: float) -> None:
    """The damage and the gain of every site and layer, once."""
    if known.damages.exists():
        return

    def watch(text: str, _: float, left: float | None) -> None:
        rest = "" if left is None else f", {left:.0f} s left"
        note(f"{text}{rest}", share)

    write_json(known.damages, site_errors(run.session, run.recipe, run.model, watch=watch).record)


def _causes(run: Run, network: Examined, layer: str, *, kernels: bool) -> dict[str, Any]:
    """The record of one layer; that of the worst one also has what only the file shows."""
    session, recipe = run.session, run.recipe
    found = causes(session, recipe, network, layer)
    if kernels and run.files.model.exists():
        data, size = session.judging(recipe), session.batch_size
        inputs = [x for x, _ in data.batches("test", size, EXAMPLES)]
        seen = saturation(run.model, run.files.model, inputs, network.answer)
        found = joined(found, [seen], session, recipe) if seen else found
    return found.record()
