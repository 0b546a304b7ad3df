"""Dominators against their definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workbench.graph.dominators import (
    SOURCE,
    immediate_dominators,
    immediate_postdominators,
)


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    """Predecessors of up to nine vertices, each numbered above its predecessors."""
    size = draw(st.integers(1, 9))
    return [
        sorted(draw(st.sets(st.integers(0, vertex - 1), max_size=3))) if vertex else []
        for vertex in range(size)
    ]


def paths(before: list[list[int]], vertex: int) -> list[set[int]]:
    """The vertices of each path from the source."""
    if not before[vertex]:
        return [{vertex}]
    return [path | {vertex} for source in before[vertex] for path in paths(before, source)]


@given(graphs())
def test_the_nearest_vertex_on_all_paths(before: list[list[int]]):
    for vertex, nearest in enumerate(immediate_dominators(before)):
        common = set.intersection(*paths(before, vertex)) - {vertex}
        assert nearest == max(common, default=SOURCE)


@given(graphs())
def test_postdominators_are_dominators_of_the_mirrored_graph(before: list[list[int]]):
    last = len(before) - 1
    after = [[last - source for source in sources] for sources in reversed(before)]
    mirrored = [
        SOURCE if vertex == SOURCE else last - vertex
        for vertex in reversed(immediate_dominators(before))
    ]
    assert immediate_postdominators(after) == mirrored
