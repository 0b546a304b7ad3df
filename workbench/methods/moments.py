"""Moments of the inputs of every layer of the float network, gathered once and asked often.

They do not depend on bits, grids or methods, so whatever is asked of a layer's weights afterwards
needs no example any more.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator

from workbench.graph.build import Graph
from workbench.graph.quantized import QuantizedGraph
from workbench.maths.moments import Moments
from workbench.methods.base import Task
from workbench.methods.linear import LinearView, views
from workbench.methods.second_order import MOST_ROWS, gather
from workbench.methods.shelf import Shelf
from workbench.methods.walk import LayerStop, Walk

#: memory for moments before they go to disk
BUDGET_BYTES = 256 << 20


class MomentStore:
    """Moments by weight, in memory up to a budget and in files beyond it.

    Args:
        graph: a float graph.
        budget_bytes: of memory; None takes the usual one.

    Attributes:
        views: weights that have moments, as matrices.
    """

    def __init__(self, graph: Graph, budget_bytes: int = BUDGET_BYTES) -> None:
        self.views: dict[str, LinearView] = {}
        self._model = QuantizedGraph(graph, ()).eval()
        self._shelf = Shelf(budget_bytes)
        self._held: dict[str, object] = {}
        weakref.finalize(self, self._shelf.close)

    def gather(self, task: Task, most: int = MOST_ROWS) -> Iterator[str]:
        """Walk the network once; yields each layer's name when it is done.

        Args:
            task: with the examples.
            most: rows in a layer's moments.
        """
        for stop in Walk(self._model, task.batches(), prefix="float"):
            if not isinstance(stop, LayerStop):
                continue
            for view in views(stop.layer, stop.node):
                if view.exact:
                    found = gather(stop, view, task, most)
                    self._held[view.weight.name] = self._shelf.put(found.held())
                    self.views[view.weight.name] = view
            yield stop.layer.name

    def __getitem__(self, weight: str) -> Moments:
        """The moments of what a weight multiplies."""
        return Moments.restored(self._shelf.get(self._held[weight]))
