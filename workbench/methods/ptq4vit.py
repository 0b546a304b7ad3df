"""PTQ4ViT: twin uniform levels and scales judged by the prediction (Yuan et al. 2022).

arXiv:2111.12293. Behind a softmax and a GELU two ladders of levels share one code (see
`workbench.quantizers.twin`). Every scale of every product O = A B, the attention's included, is
then searched for

    argmin over Δ_A, Δ_B of  Σ (∂L/∂O)² (O - Ô)²

by turns: candidates for one while the other stays (sec. 3.3). The squared gradients are the
diagonal Fisher information of the float network's own prediction, for which labels are drawn; the
authors' loss is a divergence whose gradient vanishes at the float network itself. A product with
several readers of one tensor is searched as one, such as query, key and value.

In the paper 100 candidates between 0 and 1.2 of the full range, 3 turns, 32 images; here 50 from
0.2 on, and 2 turns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field

from workbench.graph.batching import count_examples, first_examples
from workbench.graph.quantized import QuantizedGraph
from workbench.maths.histogram import Histogram
from workbench.methods.base import Batch, Event, Method, Task
from workbench.methods.placing import GELU, SOFTMAX, behind, place
from workbench.methods.products import products
from workbench.methods.readings import of_sites
from workbench.methods.registry import method
from workbench.methods.resume import UnitProgress
from workbench.methods.rtn import Rtn, RtnOptions
from workbench.methods.scale_search import ScaleSearch
from workbench.methods.walk import UnitStop, Walk
from workbench.quantizers.twin import Twin


class Ptq4VitOptions(RtnOptions):
    """Options of PTQ4ViT; the ranges are those to begin with."""

    levels: Annotated[
        Literal["twin", "uniform"], Field(description="behind a softmax and a GELU")
    ] = "twin"
    candidates: Annotated[int, Field(ge=2, le=1000, description="ranges tried for each scale")] = 50
    least: Annotated[
        float, Field(gt=0, le=1, description="smallest candidate, as a share of the full range")
    ] = 0.2
    most: Annotated[float, Field(ge=1, le=4, description="the largest one")] = 1.2
    rounds: Annotated[int, Field(ge=0, le=20, description="turns of weights and inputs")] = 2
    examples: Annotated[int, Field(ge=1, le=4096, description="examples to search on")] = 32


class Start(Rtn):
    """Ranges to begin with.

    Attributes:
        seen: values of each activation site.
    """

    def __init__(self, options: RtnOptions) -> None:
        super().__init__(options)
        self.seen: dict[str, Histogram] = {}

    def settled(self, model: QuantizedGraph, site: str, seen: Histogram) -> None:
        """Keep what was seen."""
        self.seen[site] = seen


@method(
    "ptq4vit",
    title="PTQ4ViT",
    options=Ptq4VitOptions,
    citation="Yuan et al. 2022, arXiv:2111.12293",
    signal="output error of each product, weighted by squared gradients of the prediction",
    scope="layer",
    learnables="range (search)",
    data="unlabelled, 32 examples and more",
    cost="minutes",
    cells=("range/second_order",),
    strategy="reconstruction",
    use="transformers with activations at 8 to 4 bits",
)
class Ptq4Vit(Method):
    """Searches the scales of each product for what the prediction feels least."""

    options: Ptq4VitOptions

    def learn(self, model: QuantizedGraph, task: Task) -> Iterator[Event]:
        """Calibrate, then visit the products in order; each is an event and a checkpoint."""
        options = self.options
        if options.levels == "twin":
            place(model, behind(model, SOFTMAX) + behind(model, GELU), Twin)
        start = Start(self.options)
        yield from start.learn(model, task)
        parts = products(model)
        progress = UnitProgress(model, task, len(parts))
        span = torch.linspace(options.least, options.most, options.candidates).tolist()
        for stop in Walk(model, self._few(model, task), prefix="float", units=parts):
            if not isinstance(stop, UnitStop) or not progress.enter(stop.unit):
                continue
            began, chance = time.perf_counter(), torch.Generator().manual_seed(task.seed)
            search = ScaleSearch(model, stop, start.seen, span, chance)
            before, after = search.run(options.rounds)
            progress.finish(stop.unit)
            values = {
                "error_before": before,
                "error_after": after,
                "seconds": time.perf_counter() - began,
            }
            sites = of_sites(model, search.sites(), start.seen)
            yield self.event(
                "layer",
                task,
                site=stop.unit.name,
                values=values,
                sites=sites,
                **progress.count(),
            )

    def _few(self, model: QuantizedGraph, task: Task) -> Iterator[Batch]:
        """The first examples, whole batches of them at most."""
        left = self.options.examples
        for batch in task.batches():
            few = first_examples(model.graph.inputs, batch, left)
            yield few
            left -= count_examples(model.graph.inputs, few)
            if left <= 0:
                return
