"""A tiny model with data, and the app serving it with its baseline already made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from workbench.session.runs import Run
    from workbench.ui.gradio.workspace import Workspace

HOSTILE = (
    "<img src=x onerror=window.hit=1>",
    "${window.hit=1}",
    "{{hit}}",
    "</script><script>window.hit=1//",
)
PLAIN = ("stem", "blocks.0.depthwise", "blocks.0.project", "head")
EXAMPLES = 160
#: what runs of the app under test measure
SHORT = {"layer_examples": 32, "verify_examples": 32, "latency": False}


def tiny_model(names: tuple[str, ...] = PLAIN) -> onnx.ModelProto:
    """Three convolutions and a linear layer, image (N, 1, 8, 8) to logits (N, 4)."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(values.astype(np.float32), name)

    stored = [
        weight("w0", 8, 1, 3, 3), weight("b0", 8), weight("w1", 8, 1, 3, 3), weight("b1", 8),
        weight("w2", 16, 8, 1, 1), weight("b2", 16), weight("w3", 4, 16), weight("b3", 4),
    ]  # fmt: skip
    pads = [1, 1, 1, 1]
    nodes = [
        helper.make_node("Conv", ["image", "w0", "b0"], ["c0"], names[0], pads=pads),
        helper.make_node("Relu", ["c0"], ["r0"], "relu0"),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], names[1], pads=pads, group=8),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], names[2]),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["logits"], names[3], transB=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph(nodes, "tiny", [image], [logits], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    model.ir_version = 10
    return model


@dataclass(frozen=True)
class Tiny:
    """Files of the tiny model."""

    model: Path
    data: Path
    hostile: Path
    names: tuple[str, ...] = HOSTILE


@pytest.fixture(autouse=True)
def patience() -> None:
    """A busy machine may take long: what is right at last is right."""
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The tiny model, data for it, and the same model with hostile names."""
    folder = tmp_path_factory.mktemp("tiny")
    found = Tiny(folder / "tiny.onnx", folder / "tiny-data.npz", folder / "hostile.onnx")
    onnx.save(tiny_model(), found.model)
    onnx.save(tiny_model(HOSTILE), found.hostile)
    rng = np.random.default_rng(1)
    images = rng.standard_normal((EXAMPLES, 1, 8, 8)).astype(np.float32)
    np.savez(found.data, image=images, labels=np.arange(EXAMPLES) % 4)
    return found


@pytest.fixture
def tried_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads are tried in this process: to start another one takes seconds."""
    from workbench.session.studies import Study

    class Here(Study):
        def start(self, *_: object, **__: object) -> Study:
            self.make()
            return self

    monkeypatch.setattr("workbench.session.openings.Study", Here)


@pytest.fixture
def shown(workspace: Workspace) -> Run:
    """A finished run of the form of a test's `workspace`, on screen."""
    session = workspace.desk.session(workspace.settings)
    out, extent = workspace.directory / "runs" / "one", workspace.desk.extent
    run = session.quantize(recipe=workspace.settings.form.recipe(), out=out, extent=extent)
    workspace.update(run="one")
    return run


@dataclass(frozen=True)
class Served:
    """A running app."""

    url: str
    root: Path


@pytest.fixture(scope="session")
def made(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The baseline of the tiny model with its causes: made once, every app gets a copy."""
    from workbench.session.execute import Extent
    from workbench.session.studies import Study
    from workbench.ui.gradio.baselines import Baselines

    folder = tmp_path_factory.mktemp("made") / "baselines"
    run = Baselines(folder, Extent(**SHORT)).make(str(tiny.model), str(tiny.data))
    Study(run.directory, "causes").make()
    return folder


@pytest.fixture(scope="module")
def served(tiny: Tiny, made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The app on a free port, opened on the tiny model, its baseline made."""
    from workbench.session.execute import Extent
    from workbench.session.jobs import Job
    from workbench.ui.gradio.app import build, launch

    root = tmp_path_factory.mktemp("app")
    os.environ["GRADIO_TEMP_DIR"] = str(root / "gradio")
    shutil.copytree(made, root / "baselines")
    demo = build(root, Extent(**SHORT), str(tiny.model), str(tiny.data))
    url = launch(demo)
    yield Served(url, root)
    demo.close()
    for run in root.glob("users/*/runs/*"):
        Job(run).stop()
    shutil.rmtree(root, ignore_errors=True)
