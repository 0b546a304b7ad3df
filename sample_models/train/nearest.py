"""What nearest rounding costs each sample model, and what learning gives back, for its card.

    python -m sample_models.train.nearest [NAME ...]

Weights per channel at 8, 4, 3 and 2 bits and activations at 8, first and last layer at 8 bits; the
same test examples as the float score, in simulation. The target is the one that takes 8 bits as 8.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path

import workbench
from workbench.session.execute import Extent
from workbench.session.paths import samples_dir

log = logging.getLogger(__name__)

BITS = (8, 4, 3, 2)
METHODS = ("rtn", "gram")
TARGET = "ort-cpu-vnni"


def measure(name: str, bits: int, method: str) -> float:
    """Score of one sample at `bits` per weight, in the unit of its card."""
    extent = Extent(naive=False, layers=False, verify=False, latency=False)
    with tempfile.TemporaryDirectory() as folder:
        run = workbench.open(name).quantize(
            target=TARGET,
            weights=bits,
            activations=8,
            method=method,
            out=Path(folder) / "run",
            extent=extent,
        )
        return round(float(run.scores["learned"]["score"]), 3)


def write(path: Path, method: str) -> None:
    """Measure the model of one card with one method and store the table in it."""
    card = json.loads(path.read_text(encoding="utf-8"))
    card[method] = {f"W{b}A8": measure(card["name"], b, method) for b in BITS}
    log.info("%s %s %s", card["name"], method, card[method])
    path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """All cards, or those named on the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = samples_dir() / "cards"
    names = sys.argv[1:] or sorted(path.stem for path in folder.glob("*.json"))
    for method in METHODS:
        for name in names:
            write(folder / f"{name}.json", method)


if __name__ == "__main__":
    main()
