"""Regions of interest and the choice among boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.graph.ops.common import number
from workbench.graph.ops.registry import op

Number = Tensor | Sequence[float] | float


@op("NonMaxSuppression", since=10, host=("max_boxes", "iou_threshold", "score_threshold"))
def non_max_suppression(
    boxes: Tensor,
    scores: Tensor,
    max_boxes: Number | None = None,
    iou_threshold: Number = 0.0,
    score_threshold: Number | None = None,
    *,
    center_point_box: int = 0,
) -> Tensor:
    """NonMaxSuppression-11: boxes (N, boxes, 4), scores (N, classes, boxes) to (kept, 3).

    A row is (sample, class, box), the best box of a class first. A box that overlaps a better one
    of its class by more than `iou_threshold` goes. Boxes are (y, x, y, x) of any two corners, or
    (x, y, width, height) around a centre.
    """
    most = 0 if max_boxes is None else int(number(max_boxes))
    iou = number(iou_threshold) if iou_threshold is not None else 0.0
    least = -math.inf if score_threshold is None else number(score_threshold)
    kept: list[tuple[int, int, int]] = []
    for n, corners in enumerate(_corners(boxes, center_point_box)):
        for c, row in enumerate(scores[n]):
            kept += [(n, c, k) for k in _greedy(corners, row, most, iou, least)]
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device).reshape(-1, 3)


def _corners(boxes: Tensor, centred: int) -> Tensor:
    """(..., 4) as (low, low, high, high)."""
    if centred:
        middle, half = boxes[..., :2], boxes[..., 2:] / 2
        return torch.cat((middle - half, middle + half), -1)
    a, b = boxes[..., :2], boxes[..., 2:]
    return torch.cat((torch.minimum(a, b), torch.maximum(a, b)), -1)


def _greedy(corners: Tensor, scores: Tensor, most: int, iou: float, least: float) -> list[int]:
    order = scores.sort(descending=True, stable=True).indices
    order = order[scores[order] > least]
    kept: list[int] = []
    while len(order) and len(kept) < most:
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[_overlap(corners[best], corners[order]) <= iou]
    return kept


def _overlap(box: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of (4,) with each of (n, 4)."""
    low, high = torch.maximum(box[:2], others[:, :2]), torch.minimum(box[2:], others[:, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(-1) - shared
    return torch.where(union > 0, shared / union, torch.zeros_like(union))


@op("RoiAlign", since=10)
def roi_align_from_corner(
    x: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    *,
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """RoiAlign-10: as RoiAlign-22 in the coordinates of `output_half_pixel`."""
    return roi_align(
        x,
        rois,
        batch_indices,
        coordinate_transformation_mode="output_half_pixel",
        mode=mode,
        output_height=output_height,
        output_width=output_width,
        sampling_ratio=sampling_ratio,
        spatial_scale=spatial_scale,
    )


@op("RoiAlign", since=16)
def roi_align(
    x: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """RoiAlign-22: x (N, C, H, W), rois (R, 4) as (x1, y1, x2, y2), to (R, C, oh, ow).

    Each cell of the output is the mean, or the largest corner product, of points interpolated on a
    lattice of `sampling_ratio` points a side (0: as many as the cell has pixels).
    """
    half = coordinate_transformation_mode == "half_pixel"
    out = (output_height, output_width)
    cells = []
    for roi, n in zip(rois * spatial_scale - (0.5 if half else 0.0), batch_indices, strict=True):
        axes = []
        for d, count in enumerate(out):  # rows first
            start, span = roi[1 - d], roi[3 - d] - roi[1 - d]
            span = span if half else span.clamp(min=1)
            points = sampling_ratio or max(math.ceil(float(span) / count), 1)
            steps = (torch.arange(count * points, device=x.device) + 0.5) / points
            axes.append(_axis_taps(start + steps * span / count, x.shape[2 + d]))
        cells.append(_cells(x[int(n)], axes, out, mode))
    return torch.stack(cells) if cells else x.new_zeros(0, x.shape[1], *out)


def _axis_taps(where: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Positions on one axis as two pixels (2, points) and their weights; far outside weighs 0."""
    inside = (where >= -1) & (where <= n)
    where = where.clamp(0, n - 1)
    low = where.floor().clamp(max=max(n - 2, 0))
    part = where - low
    pixels = torch.stack((low, (low + 1).clamp(max=n - 1))).long()
    return pixels, torch.stack((1 - part, part)) * inside


def _cells(
    plane: Tensor, axes: Sequence[tuple[Tensor, Tensor]], out: Sequence[int], mode: str
) -> Tensor:
    """(C, H, W) read at all points of one region, and brought together by cell: (C, oh, ow)."""
    (rows, row_weights), (columns, column_weights) = axes
    corners = [
        plane[:, rows[i]][:, :, columns[j]] * row_weights[i][:, None] * column_weights[j]
        for i in range(2)
        for j in range(2)
    ]
    points = torch.stack(corners)  # (4, C, oh points, ow points)
    points = points.unflatten(3, (out[1], -1)).unflatten(2, (out[0], -1))
    return points.amax((0, 3, 5)) if mode == "max" else points.sum(0).mean((2, 4))


@op("MaxRoiPool")
def max_roi_pool(
    x: Tensor, rois: Tensor, *, pooled_shape: Sequence[int], spatial_scale: float = 1.0
) -> Tensor:
    """MaxRoiPool-22: the maximum of each cell of a region, its edges rounded to whole pixels.

    x (N, C, H, W), rois (R, 5) as (sample, x1, y1, x2, y2), to (R, C, *pooled_shape).
    """
    y = x.new_zeros(len(rois), x.shape[1], *pooled_shape)
    for r, roi in enumerate(rois):
        x1, y1, x2, y2 = ((roi[1:] * spatial_scale) + 0.5).floor().long().tolist()
        rows = _bins(y1, y2, pooled_shape[0], x.shape[2])
        columns = _bins(x1, x2, pooled_shape[1], x.shape[3])
        for i, (top, bottom) in enumerate(rows):
            for j, (left, right) in enumerate(columns):
                if bottom > top and right > left:
                    cell = x[int(roi[0]), :, top:bottom, left:right]
                    y[r, :, i, j] = cell.amax((1, 2))
    return y


def _bins(first: int, last: int, count: int, n: int) -> list[tuple[int, int]]:
    size = max(last - first + 1, 1) / count
    edges = [(math.floor(i * size), math.ceil((i + 1) * size)) for i in range(count)]
    return [(min(max(a + first, 0), n), min(max(b + first, 0), n)) for a, b in edges]
