"""Biases kept within 32 bits: called wherever a method has set ranges, before codes are used."""

from __future__ import annotations

from workbench.graph.quantized import QuantizedGraph
from workbench.quantizers.bias import Bias


def make_room_for_biases(model: QuantizedGraph, layer: str | None = None) -> None:
    """Raise weight scales where a bias of `layer`, or of any layer, would overflow its 32 bits.

    Almost dead channels have such scales. The simulation and the exported file then hold the same
    coarser weights; see `workbench.quantizers.bias`.
    """
    for site in model.of_kind("bias"):
        follower = model.quantizer(site.name)
        if isinstance(follower, Bias) and layer in (None, site.layer):
            follower.make_room(model.weight(site.name).detach())
