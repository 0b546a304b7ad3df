"""MRECG (Ma et al. 2023, arXiv:2303.11906): QDrop over units of even capacity.

    unit = two neighbouring blocks, where |capacity_i - capacity_{i+1}| is among the k largest

Where a small block follows a large one, or the other way round, the error of reconstruction
oscillates along the network and its peaks decide the result. The k pairs of neighbours that differ
most are therefore reconstructed in one piece. Capacity is the logarithm of a block's number of
weights, which needs no data.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.plan import Plan
from workbench.methods.qdrop import QDropOptions
from workbench.methods.reconstruction import Reconstruction
from workbench.methods.registry import method


class MrecgOptions(QDropOptions):
    """Options of MRECG."""

    pairs: Annotated[int, Field(ge=1, le=64, description="pairs of blocks to merge")] = 2


@method(
    "mrecg",
    title="MRECG",
    options=MrecgOptions,
    citation="Ma et al. 2023, arXiv:2303.11906",
    signal="output error of merged blocks under random dropping + rounding regulariser",
    scope="blocks",
    learnables="rounding, activation scale",
    data="unlabelled, 256 examples and more",
    cost="minutes",
    cells=("reconstruction/block_error",),
    strategy="reconstruction",
    use="where block errors rise and fall from block to block",
)
class Mrecg(Reconstruction):
    """Merges the neighbouring blocks of most unlike capacity, then does as QDrop."""

    options: MrecgOptions

    def plan(self) -> Plan:
        return self.options.mixed(scope="blocks", count=self.options.pairs, merge="capacity")
