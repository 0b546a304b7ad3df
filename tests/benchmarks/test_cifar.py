"""The ResNet-20 benchmark: its network, its pictures, and training that was cut off."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

import workbench
from benchmarks.cifar import data, qat
from benchmarks.cifar.resnet20 import ResNet20, Shortcut
from benchmarks.cifar.train import Plan, Training
from benchmarks.places import DATA
from workbench.methods.trainable import Trainable
from workbench.session.execute import build
from workbench.session.images import Layout, to_input


@pytest.fixture
def pictures():
    return np.random.default_rng(3).integers(0, 256, (16, 32, 32, 3)).astype(np.uint8)


def test_has_the_parameters_of_the_paper():
    # 0.27 M in table 6: 267,696 in kernels, 1,376 in norms, and 650 in the linear layer
    kernels = 432 + 6 * 2304 + (4608 + 5 * 9216) + (18432 + 5 * 36864)
    norms = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    found = sum(parameter.numel() for parameter in ResNet20().parameters())
    assert found == kernels + norms + 64 * 10 + 10


def test_shortcut_keeps_every_second_pixel_between_zeros():
    x = torch.randn(2, 4, 6, 6)
    found = Shortcut(4, 8)(x)
    assert torch.equal(found[:, 2:6], x[:, :, ::2, ::2])
    assert not found[:, :2].any()
    assert not found[:, 6:].any()


def test_normalises_as_the_workbench_reads_pictures(pictures):
    layout = Layout.of("image", (0, 3, 32, 32), data.PREPROCESS)
    expected = torch.stack([to_input(picture, data.PREPROCESS, layout) for picture in pictures])
    torch.testing.assert_close(data.normalise(pictures), expected, rtol=0, atol=1e-6)


def test_augmented_pictures_are_windows_of_the_framed_ones(pictures):
    found = data.augment(pictures, np.random.default_rng(0))
    frame = np.rint(255 * np.array(data.MEAN)).astype(np.uint8)
    moves = set()
    for picture, moved in zip(pictures, found, strict=True):
        padded = np.broadcast_to(frame, (40, 40, 3)).copy()
        padded[4:36, 4:36] = picture
        matches = [
            (top, left, way)
            for top in range(9)
            for left in range(9)
            for way in (1, -1)
            if np.array_equal(padded[top : top + 32, left : left + 32][:, ::way], moved)
        ]
        assert len(matches) == 1
        moves.update(matches)
    assert {way for _, _, way in moves} == {1, -1}
    assert len(moves) > 10


def test_goes_on_exactly_where_it_was_cut_off(pictures, tmp_path):
    labels = np.arange(16) % 10
    plan = Plan(epochs=2, batch=8)
    whole, first, second = (Training(plan, steps=2) for _ in range(3))
    losses = [whole.one_epoch(pictures, labels) for _ in range(2)]
    assert first.one_epoch(pictures, labels) == losses[0]
    first.save(tmp_path / "net.pt")
    second.restore(tmp_path / "net.pt")
    assert second.one_epoch(pictures, labels) == losses[1]
    assert all(map(torch.equal, whole.model.parameters(), second.model.parameters()))


def test_refuses_a_checkpoint_of_another_schedule(tmp_path):
    Training(Plan(epochs=2), steps=2).save(tmp_path / "net.pt")
    with pytest.raises(ValueError, match="of 2 epochs, not 3"):
        Training(Plan(epochs=3), steps=2).restore(tmp_path / "net.pt")


# --- training with the quantizer in the loop ------------------------------------------------------


def small(**fields):
    usual = {"tool": "workbench", "method": "lsq", "bits": 4, "pictures": 200, "epochs": 1}
    rest = {"batch": 200, "rate": 1e-3, "judged": "test", "tested": 100}
    return qat.Case(**{**usual, **rest, **fields})


def test_the_recipe_puts_eight_bits_on_the_ends_and_the_summands():
    session = workbench.open(qat.FLOAT)
    sites = build(session, qat.recipe(small())).sites
    bits = {name: site.grid.bits for name, site in sites.items()}
    eight = {name for name, width in bits.items() if width == 8}
    summands = {f"blocks.{i}.norm2" for i in range(9)}
    ends = {"image", "stem.weight", "reshape", "head.weight"}
    wide = {"relu", "blocks.3.shortcut.every_second", *(f"blocks.{i}.relu_2" for i in range(3))}
    assert eight == ends | summands | wide
    assert {width for name, width in bits.items() if name not in eight} <= {4, 32}


def test_the_weights_of_the_file_make_the_same_network():
    pictures = np.random.default_rng(5).normal(size=(4, 3, 32, 32)).astype(np.float32)
    session = onnxruntime.InferenceSession(qat.FLOAT, providers=["CPUExecutionProvider"])
    expected = np.asarray(session.run(["logits"], {"image": pictures})[0])
    with torch.no_grad():
        found = qat.weights()(torch.from_numpy(pictures)).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "cifar10_jpeg_test.zip").exists(), reason="no CIFAR-10")
def test_one_step_on_two_hundred_pictures_trains_and_exports():
    found = qat.ours(small())
    assert found["learned"] > 50
    assert abs(found["learned"] - found["onnxruntime"]) <= 2


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "cifar10_jpeg_test.zip").exists(), reason="no CIFAR-10")
def test_other_tools_get_the_batches_that_the_workbench_trains_on(monkeypatch):
    seen = []
    step = Trainable.of

    def watched(self, lesson, *places):
        seen.append((lesson.inputs[0].detach().numpy().copy(), lesson.labels.numpy().copy()))
        return step(self, lesson, *places)

    monkeypatch.setattr(Trainable, "of", watched)
    case = small(batch=100)
    qat.ours(case)
    steps = list(qat.batches(case))
    assert len(steps) == 2
    for (pictures, labels), (x, y) in zip(steps, seen, strict=True):
        np.testing.assert_allclose(pictures, x, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(labels, y)
