"""Cross-entropy (Nagel et al. 2021, arXiv:2106.08295, section 3.1) for values behind a softmax.

    min over range of H(softmax(v), softmax(v̂))

averaged over the rows v that were kept. Only the order and the gaps of the larger entries matter
there, which the error of the tensor does not know. Ranges are searched as for `mse`; a tensor that
no softmax reads has no classes and gets the range of `mse`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from workbench.maths.calibrators.base import Range, Samples, search
from workbench.maths.calibrators.mse import mse
from workbench.maths.calibrators.registry import calibrator
from workbench.maths.grid import Grid, affine_range, fake_quantize


@calibrator(
    "cross_entropy",
    title="Cross-entropy behind a softmax",
    citation="Nagel et al. 2021, arXiv:2106.08295",
    serves=("activations",),
    needs="classes",
    data="unlabelled",
    cost="seconds",
    cells=("range/prediction",),
    strategy="supervision",
    use="logits and attention scores, many classes; elsewhere it is mse",
)
def cross_entropy(samples: Samples, grid: Grid) -> Range:
    """Keeps the probabilities behind a softmax; as `mse` for tensors that no softmax reads."""
    if samples.classes is None:
        return mse(samples, grid)
    rows = samples.classes
    wanted = functional.softmax(rows, dim=-1)

    @torch.no_grad()
    def error(low: Tensor, high: Tensor) -> Tensor:
        quantized = fake_quantize(rows, *affine_range(low[0], high[0], grid), grid)
        surprise = -(wanted * functional.log_softmax(quantized, dim=-1)).sum(-1)
        return surprise.mean().reshape(1)

    return search(error, *samples.extremes(), symmetric=grid.symmetric)
