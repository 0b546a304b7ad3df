"""EfficientNet-Lite0 in 8 bits on a processor without VNNI.

    python -m benchmarks.saturation [--by TOOL] [--pictures PATH] [--examples N] [--json]

The tool that writes the file is "onnxruntime", that is `quantize_static(per_channel=True)`, or
"workbench", that is the Gram lane for target `ort-cpu`, all layers alike. 100 pictures calibrate,
the others judge. Then `verify_file` looks at it twice, under the rig of `without_vnni` and on the
processor as it is: what it finds, which layers, and what each cure costs. One thread. Needs `make
zoo` and labels.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import workbench
from benchmarks import without_vnni
from benchmarks.accuracy import PICTURES
from benchmarks.peers import onnxruntime_static
from workbench.deploy.verification import Price
from workbench.deploy.verify_file import verify_file
from workbench.session.execute import Extent
from workbench.session.session import Session

CALIBRATION = 100
BATCH = 10
COMPARED = 32


def prepare(folder: Path, pictures: Path, tool: str) -> None:
    """Write the float and the quantized file."""
    session = workbench.open("efficientnet-lite0", data=pictures)
    session.save(folder / "float.onnx")
    TOOLS[tool](session, folder)


def by_workbench(session: Session, folder: Path) -> None:
    """The Gram lane, first and last layer like the others."""
    plain = Extent(naive=False, layers=False, verify=False, latency=False, examples=BATCH)
    run = session.quantize(
        target="ort-cpu",
        weights=8,
        activations=8,
        edges=None,
        calibration_examples=CALIBRATION,
        out=folder / "run",
        extent=plain,
    )
    run.export(folder / "quantized.onnx")


def by_onnxruntime(session: Session, folder: Path) -> None:
    """ONNX Runtime's static quantizer, per channel."""
    data = session.data.calibrate_on(CALIBRATION)
    batches = (inputs[0].numpy() for inputs, _ in data.batches("calibration", BATCH))
    onnxruntime_static.quantize(folder, session.graph.inputs[0].name, batches)


TOOLS = {"onnxruntime": by_onnxruntime, "workbench": by_workbench}


def measure(folder: Path, pictures: Path, examples: int) -> dict[str, Any]:
    """What `verify_file` finds in this process."""
    torch.set_num_threads(1)
    session = workbench.open("efficientnet-lite0", data=pictures)
    found = list(session.data.calibrate_on(CALIBRATION).batches("test", BATCH, examples))
    labels = torch.cat([label for _, label in found if label is not None])
    result = verify_file(
        folder / "float.onnx",
        folder / "quantized.onnx",
        [inputs for inputs, _ in found],
        labels,
        examples=COMPARED,
    )
    assert result.price is not None
    rows = [_row("as it is", 0, result.price)]
    rows += [_row(cure.name, len(cure.layers), cure.price) for cure in result.cures]
    return {
        "sentence": result.sentence(),
        "cause": result.cause,
        "layers": result.layers,
        "rows": rows,
    }


def both(pictures: Path, examples: int, tool: str) -> dict[str, dict[str, Any]]:
    """Under the rig and without it."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), pictures, tool)
        command = [sys.executable, "-m", "benchmarks.saturation", "--measure", folder]
        command += ["--pictures", str(pictures), "--examples", str(examples)]
        results["without VNNI"] = json.loads(without_vnni.call(command))
        plain = subprocess.run(command, text=True, check=True, stdout=subprocess.PIPE)
        results["this processor"] = json.loads(plain.stdout)
    return results


def _row(name: str, layers: int, price: Price) -> dict[str, Any]:
    return {
        "cure": name,
        "layers rewritten": layers,
        "top1": 100 * (price.score or 0.0),
        "float top1": 100 * (price.float_score or 0.0),
        "agreement": 100 * (price.agreement or 0.0),
        "sqnr_db": price.sqnr_db,
        "ms": price.latency_ms,
        "float ms": price.float_latency_ms,
        "ms / float ms": price.ratio,
        "tensors that depart": price.departing,
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="benchmarks.saturation", description=__doc__)
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    parser.add_argument("--by", choices=sorted(TOOLS), default="onnxruntime")
    parser.add_argument("--examples", type=int, default=400)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        sys.stdout.write(json.dumps(measure(given.measure, given.pictures, given.examples)))
        return
    results = both(given.pictures, given.examples, given.by)
    if given.json:
        sys.stdout.write(json.dumps(results, indent=2) + "\n")
        return
    console = Console()
    for name, result in results.items():
        table = Table(*result["rows"][0], title=f"EfficientNet-Lite0, {name}", title_justify="left")
        for row in result["rows"]:
            table.add_row(*(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()))
        console.print(table)
        console.print(result["sentence"], markup=False)
        console.print("layers: " + (", ".join(result["layers"]) or "none"), markup=False)


if __name__ == "__main__":
    main()
