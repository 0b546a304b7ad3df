"""Dominators of a directed acyclic graph (Cooper, Harvey and Kennedy 2001).

`u` dominates `v` where every path from the source to `v` goes through `u`. In a graph without
cycles one pass in topological order finds each vertex's nearest dominator: the nearest one that all
of its predecessors have in common.
"""

from __future__ import annotations

from collections.abc import Sequence

SOURCE = -1


def immediate_dominators(before: Sequence[Sequence[int]]) -> list[int]:
    """The nearest dominator of each vertex, `SOURCE` where there is none in the graph.

    Args:
        before: predecessors of each vertex, all with smaller numbers; none: the source itself.

    Example:
        A diamond 0 → 1, 2 → 3, and 4 behind it:

        >>> immediate_dominators([[], [0], [0], [1, 2], [3]])
        [-1, 0, 0, 0, 3]
    """
    nearest: list[int] = []
    depth: list[int] = []
    for found in before:
        common = found[0] if found else SOURCE
        for other in found[1:]:
            common = _meet(common, other, nearest, depth)
        nearest.append(common)
        depth.append(0 if common == SOURCE else depth[common] + 1)
    return nearest


def immediate_postdominators(after: Sequence[Sequence[int]]) -> list[int]:
    """The nearest vertex that every path from each vertex to the sink goes through, or `SOURCE`.

    Args:
        after: successors of each vertex, all with larger numbers; none: the sink itself.
    """
    last = len(after) - 1
    mirrored = [[last - vertex for vertex in found] for found in reversed(after)]
    nearest = immediate_dominators(mirrored)
    return [SOURCE if vertex == SOURCE else last - vertex for vertex in reversed(nearest)]


def _meet(u: int, v: int, nearest: Sequence[int], depth: Sequence[int]) -> int:
    """The nearest common ancestor of two vertices in the tree of dominators."""
    while u != v and SOURCE not in (u, v):
        if depth[u] >= depth[v]:
            u = nearest[u]
        else:
            v = nearest[v]
    return u if u == v else SOURCE
