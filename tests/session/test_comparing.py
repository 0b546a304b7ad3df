"""Runs side by side: only what differs, deltas, and predictions that flipped."""

from __future__ import annotations

import json

import pytest
import torch

import workbench
from workbench.cli import main
from workbench.foundation.errors import RunError
from workbench.session.comparing import compare, differing, flips
from workbench.session.execute import Extent
from workbench.session.runs import Run
from workbench.session.store import Checkpoint

EXTENT = Extent(naive=False, verify=False, latency=False)


@pytest.fixture
def three(tiny: workbench.Session) -> list[Run]:
    return [
        tiny.quantize(bits, 8, method, edges=None, extent=EXTENT)
        for bits, method in ((8, "rtn"), (2, "rtn"), (2, "gram"))
    ]


def test_only_what_differs_and_deltas_against_the_first(three: list[Run], tiny):
    found = compare(three)
    differs = {row["key"]: row["values"] for row in found["differs"]}
    assert differs["weights.bits"] == [8, 2, 2]
    assert differs["stages.0"] == ["rtn", "rtn", "gram"]
    assert not {"seed", "model", "edges", "code", "stages.0.gram.damping"} & differs.keys()
    other = tiny.quantize(2, 8, "gram", edges=None, extent=EXTENT, damping=0.5)
    differs = {row["key"]: row["values"] for row in compare([three[0], other])["differs"]}
    assert differs["stages.0.gram.damping"] == [None, 0.5]
    (row,) = compare([three[2], other])["differs"]
    assert row == {"key": "stages.0.gram.damping", "values": [0.1, 0.5]}
    scores = {row["key"]: row for row in found["scores"]}
    wanted = [run.scores["onnxruntime"]["sqnr_db"] for run in three]
    assert scores["sqnr_db"]["values"] == wanted
    assert scores["sqnr_db"]["deltas"] == [0, wanted[1] - wanted[0], wanted[2] - wanted[0]]
    layers = three[0].layers["layer"]
    rows = [r for r in found["layers"] if r["key"] == "accumulated_db"]
    assert [row["layer"] for row in rows] == list(layers)
    assert rows[0]["values"][1] == three[1].layers["accumulated_db"][0]


def test_flips_are_those_of_the_files(three: list[Run], tiny: workbench.Session):
    import onnxruntime

    inputs, labels = next(tiny.data.calibrate_on(512).batches("test", 1000))
    classes = []
    for run in three[:2]:
        session = onnxruntime.InferenceSession(str(run.files.model))
        name = session.get_inputs()[0].name
        batches = [session.run(None, {name: part.numpy()})[0] for part in inputs[0].split(1)]
        classes.append(torch.tensor([int(batch.argmax()) for batch in batches]))
    found = flips(*three[:2])
    changed = torch.nonzero(classes[0] != classes[1]).flatten().tolist()
    assert [row["example"] for row in found["rows"]] == changed
    assert found["flipped"] == len(changed) > 0
    right = [int((c == labels).sum()) for c in classes]
    assert found["gained"] - found["lost"] == right[1] - right[0]
    assert found["examples"] == len(labels)


def test_what_cannot_be_compared_says_why(three: list[Run], tiny: workbench.Session):
    three[2].files.predictions.unlink()
    found = flips(three[0], three[2])
    assert found["flipped"] is None
    assert found["reason"] == f"run '{three[2].name}' holds no class for each example"
    other = tiny.quantize(8, 8, "rtn", extent=EXTENT, calibration_examples=8)
    assert flips(three[0], other)["reason"] == "they were judged on different examples"
    with pytest.raises(RunError, match="name two or more"):
        compare(three[:1])


def test_predictions_lie_beside_the_scores(three: list[Run]):
    stored = Checkpoint.read(three[0].files.predictions)
    assert set(stored) == {"float", "learned", "onnxruntime", "labels"}
    right = (stored["onnxruntime"] == stored["labels"]).double().mean()
    assert 100 * float(right) == pytest.approx(three[0].scores["onnxruntime"]["score"])


def test_keys_that_one_does_not_have():
    assert differing([{"a": 1, "b": 2}, {"a": 1}]) == [{"key": "b", "values": [2, None]}]


def test_the_command_says_what_python_says(three: list[Run], capsys: pytest.CaptureFixture[str]):
    names = [run.name for run in three]
    assert main(["compare", *names, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(compare(three)))
    assert main(["compare", *names]) == 0
    shown = capsys.readouterr().out
    assert "weights.bits" in shown
    assert "Predictions" in shown
