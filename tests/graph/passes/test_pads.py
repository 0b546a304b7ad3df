"""Padding goes into the convolution that reads it."""

from __future__ import annotations

import numpy as np

from tests.graph.nets import from_text, relative
from tests.graph.passes.helpers import HEADER, fill, outputs
from workbench.graph import fold


def test_padding_goes_into_the_convolution():
    model = from_text(
        f"{HEADER} g (float[n,3,h,w] x) => (float[n,2,a,b] y) {{ p = Pad(x, pads) "
        "y = Conv <pads = [1, 1, 1, 1]> (p, w) }"
    )
    rng = np.random.default_rng(0)
    fill(
        model,
        w=rng.normal(size=(2, 3, 3, 3)).astype(np.float32),
        pads=np.array([0, 0, 0, 1, 0, 0, 2, 0]),
    )
    x = rng.normal(size=(1, 3, 6, 6)).astype(np.float32)
    folded, _ = fold(model)
    assert [node.op_type for node in folded.graph] == ["Conv"]
    assert relative(outputs(folded, x=x)[0], outputs(model, x=x)[0]) < 1e-6
