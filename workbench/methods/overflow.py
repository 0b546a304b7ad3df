"""Biases kept within 32 bits: called wherever a method has set ranges, before codes are used."""

from __future__ import annotations

from collections.abc import Collection

from workbench.graph.quantized import QuantizedGraph
from workbench.quantizers.bias import Bias


def make_room_for_biases(
    model: QuantizedGraph, layer: str | None = None, kept: Collection[str] = ()
) -> None:
    """Raise weight scales where a bias of `layer`, or of any layer, would overflow its 32 bits.

    Almost dead channels have such scales. The simulation and the exported file then hold the same
    coarser weights; see `workbench.quantizers.bias`. Weights that are `kept` have room already.
    """
    there = {node for name in kept for node, index in model.sites[name].edges if index == 1}
    for site in model.of_kind("bias"):
        follower = model.quantizer(site.name)
        if site.edges[0][0] in there:
            continue
        if isinstance(follower, Bias) and layer in (None, site.layer):
            follower.make_room(model.weight(site.name).detach())
