"""A layered drawing: everything forwards and downwards, nothing on top of another."""

from __future__ import annotations

import time
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.views.layered import layered

graphs = st.integers(1, 14).flatmap(
    lambda n: st.tuples(
        st.just(n), st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=30)
    )
)


@given(graphs)
def test_boxes_do_not_overlap_and_edges_lead_down(case: tuple[int, set[tuple[int, int]]]):
    count, pairs = case
    edges = sorted((a, b) for a, b in pairs if a < b)
    sizes = [(40.0 + 7 * (k % 5), 20.0 + k % 3) for k in range(count)]
    found = layered(sizes, edges)
    boxes = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(found.places, sizes, strict=True)]
    for (a, b, c, d), (e, f, g, i) in combinations(boxes, 2):
        assert c <= e + 1e-6 or g <= a + 1e-6 or d <= f + 1e-6 or i <= b + 1e-6
    for left, top, right, bottom in boxes:
        assert min(left, top) >= -1e-6
        assert right <= found.width + 1e-6
        assert bottom <= found.height + 1e-6
    for (source, target), route in zip(edges, found.routes, strict=True):
        assert route[0][1] == pytest.approx(boxes[source][3])
        assert route[-1][1] == pytest.approx(boxes[target][1])
        assert all(a[1] <= b[1] + 1e-6 for a, b in pairwise(route))


def test_a_chain_is_straight_beside_its_shortcut():
    found = layered([(100.0, 20.0)] * 4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    middles = [x + 50 for x, _ in found.places]
    assert max(middles) - min(middles) < 25
    passing = [x for x, _ in found.routes[3][1:-1]]
    assert all(abs(x - middles[1]) > 50 for x in passing)


def test_edges_that_could_be_apart_do_not_cross():
    found = layered([(10.0, 10.0)] * 4, [(0, 3), (1, 2)])
    assert (found.places[0][0] < found.places[1][0]) == (found.places[3][0] < found.places[2][0])


def test_three_hundred_boxes_take_well_under_a_second():
    edges = [(k, k + 1) for k in range(299)] + [(k, k + 4) for k in range(0, 290, 3)]
    started = time.process_time()
    layered([(100.0, 26.0)] * 300, edges)
    assert time.process_time() - started < 1.0


def test_an_edge_backwards_is_refused():
    with pytest.raises(ValueError, match="later box"):
        layered([(1.0, 1.0)] * 2, [(1, 0)])
