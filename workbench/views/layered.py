"""Layered drawing of a directed graph: boxes in rows from top to bottom, edges around them.

Rows follow the longest path (Sugiyama, Tagawa and Toda, 1981); an edge over several rows passes
through a place of its own in each. The order in a row comes from sweeps to the mean of neighbours;
places along a row are the least squares ones that keep that order and the gaps, found by pooling
adjacent violators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Point = tuple[float, float]

SWEEPS = 4  # down and up, each
SETTLING = 6
FAR = 40  # an edge over more rows than this is drawn straight
PASSING = 8.0  # width that an edge takes where it passes a row
STEADY = 8.0  # how much more a box holds its place than an edge that passes


@dataclass(frozen=True)
class Drawing:
    """Where everything is.

    Attributes:
        places: left and top of each box; routes: points of each edge, from source to target.
        width, height: of the whole.
    """

    places: list[Point]
    routes: list[list[Point]]
    width: float
    height: float


def layered(
    sizes: Sequence[tuple[float, float]],
    edges: Sequence[tuple[int, int]],
    gap: float = 14.0,
    rise: float = 18.0,
) -> Drawing:
    """Draw boxes of these (width, height), joined by edges that lead to a later box.

    Args:
        sizes: of the boxes, in an order in which every edge leads forwards.
        edges: (from, to) with from < to.
        gap: between neighbours in a row; rise: between rows.

    Raises:
        ValueError: an edge leads backwards.
    """
    if any(source >= target for source, target in edges):
        raise ValueError("every edge has to lead to a later box")
    if not sizes:
        return Drawing([], [], 0.0, 0.0)
    rows = _Rows(sizes, _ranks(len(sizes), edges))
    chains = [rows.chain(source, target) for source, target in edges]
    rows.order()
    centres = rows.settle(gap)
    return _drawn(rows, chains, centres, rise)


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The row of each box; one that nothing leads to stands right above the first it leads to."""
    ranks = [0] * count
    after: list[list[int]] = [[] for _ in range(count)]
    fed = set()
    for source, target in edges:
        after[source].append(target)
        fed.add(target)
    for source in range(count):
        for target in after[source]:
            ranks[target] = max(ranks[target], ranks[source] + 1)
    for source in range(count):
        if source not in fed and after[source]:
            ranks[source] = min(ranks[target] for target in after[source]) - 1
    return ranks


@dataclass
class _Rows:
    """Boxes and passing edges ("items") by row."""

    sizes: Sequence[tuple[float, float]]
    rank: list[int]
    widths: list[float] = field(init=False)
    rows: list[list[int]] = field(init=False)
    above: list[list[int]] = field(init=False)
    below: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.widths = [width for width, _ in self.sizes]
        self.rank = list(self.rank)
        self.rows = [[] for _ in range(max(self.rank) + 1)]
        for item, rank in enumerate(self.rank):
            self.rows[rank].append(item)
        self.above = [[] for _ in self.sizes]
        self.below = [[] for _ in self.sizes]

    def chain(self, source: int, target: int) -> list[int]:
        """The items of an edge, with new ones for the rows that it passes."""
        chain = [source]
        if self.rank[target] - self.rank[source] > FAR:
            return [source, target]
        for rank in range(self.rank[source] + 1, self.rank[target]):
            item = len(self.rank)
            self.rank.append(rank)
            self.widths.append(PASSING)
            self.rows[rank].append(item)
            self.above.append([])
            self.below.append([])
            chain.append(item)
        chain.append(target)
        for upper, lower in pairwise(chain):
            self.below[upper].append(lower)
            self.above[lower].append(upper)
        return chain

    def order(self) -> None:
        """Neighbours come to stand over each other; the order with the fewest crossings stays."""
        best, fewest = [list(row) for row in self.rows], self._crossings()
        for _ in range(SWEEPS):
            for near, rows in ((self.above, self.rows[1:]), (self.below, self.rows[-2::-1])):
                for row in rows:
                    self._sort(row, near)
                if (found := self._crossings()) < fewest:
                    best, fewest = [list(row) for row in self.rows], found
        self.rows = best

    def _sort(self, row: list[int], near: list[list[int]]) -> None:
        place = {item: at for other in self.rows for at, item in enumerate(other)}
        middle = {
            item: sum(place[n] for n in near[item]) / len(near[item]) if near[item] else place[item]
            for item in row
        }
        row.sort(key=lambda item: middle[item])

    def _crossings(self) -> int:
        total = 0
        for upper, lower in pairwise(self.rows):
            place = {item: at for at, item in enumerate(lower)}
            ends = [at for item in upper for at in sorted(place[n] for n in self.below[item])]
            total += sum(a > b for k, b in enumerate(ends) for a in ends[:k])
        return total

    def settle(self, gap: float) -> list[float]:
        """The middle of each item along its row."""
        centres = [0.0] * len(self.rank)
        for row in self.rows:
            self._place(row, [0.0] * len(row), gap, centres)
        for turn in range(SETTLING):
            near = self.above if turn % 2 == 0 else self.below
            for row in self.rows if turn % 2 == 0 else reversed(self.rows):
                self._place(row, [self._wish(i, near[i], centres) for i in row], gap, centres)
        return centres

    def _steady(self, item: int) -> float:
        return STEADY if item < len(self.sizes) else 1.0

    def _wish(self, item: int, near: list[int], centres: list[float]) -> float:
        if not near:
            return centres[item]
        weights = [self._steady(other) for other in near]
        return sum(w * centres[other] for w, other in zip(weights, near, strict=True)) / sum(
            weights
        )

    def _place(self, row: list[int], wishes: list[float], gap: float, centres: list[float]) -> None:
        """As near to the wishes as the order and the gaps allow."""
        offsets = [0.0]
        for left, right in pairwise(row):
            offsets.append(offsets[-1] + (self.widths[left] + self.widths[right]) / 2 + gap)
        pools: list[tuple[float, float, int]] = []  # (mean, weight, items)
        for item, wish, offset in zip(row, wishes, offsets, strict=True):
            mean, weight, count = wish - offset, self._steady(item), 1
            while pools and pools[-1][0] > mean:
                m, w, c = pools.pop()
                mean, weight, count = (m * w + mean * weight) / (w + weight), w + weight, c + count
            pools.append((mean, weight, count))
        starts = [mean for mean, _, count in pools for _ in range(count)]
        for item, start, offset in zip(row, starts, offsets, strict=True):
            centres[item] = start + offset


def _drawn(
    rows: _Rows, chains: Sequence[Sequence[int]], centres: list[float], rise: float
) -> Drawing:
    """Rows under each other, and the points of each edge."""
    count = len(rows.sizes)
    heights = [max((rows.sizes[i][1] for i in row if i < count), default=0.0) for row in rows.rows]
    tops = [0.0]
    for height in heights:
        tops.append(tops[-1] + height + rise)
    left = min(centres[i] - rows.widths[i] / 2 for i in range(len(centres)))
    right = max(centres[i] + rows.widths[i] / 2 for i in range(len(centres)))
    places = [
        (
            centres[i] - left - width / 2,
            tops[rows.rank[i]] + (heights[rows.rank[i]] - height) / 2,
        )
        for i, (width, height) in enumerate(rows.sizes)
    ]

    def route(chain: Sequence[int]) -> list[Point]:
        source, *passed, target = chain
        points = [(centres[source] - left, places[source][1] + rows.sizes[source][1])]
        for item in passed:
            top = tops[rows.rank[item]]
            x = centres[item] - left
            points += [(x, top), (x, top + heights[rows.rank[item]])]
        return [*points, (centres[target] - left, places[target][1])]

    return Drawing(places, [route(c) for c in chains], right - left, tops[-1] - rise)
