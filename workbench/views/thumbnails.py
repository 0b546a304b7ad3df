"""Examples as small pictures: what a network sees, stretched to the whole range of brightness."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workbench.foundation.errors import WorkbenchError
from workbench.session.recipe import Recipe
from workbench.session.session import Session

log = logging.getLogger(__name__)

SIDE = 56  # pixels, at most


def thumbnail(values: NDArray[Any]) -> str:
    """A `data:` address of a PNG; "" where the values are no picture.

    Args:
        values: (channels, height, width) with one or three channels, in any range.
    """
    if values.ndim != 3 or values.shape[0] not in (1, 3) or not np.isfinite(values).all():
        return ""
    low, high = float(values.min()), float(values.max())
    levels = ((values - low) / max(high - low, 1e-12) * 255).round().astype(np.uint8)
    plain = levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0)
    drawn = Image.fromarray(np.ascontiguousarray(plain))
    drawn.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    drawn.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def of_examples(session: Session, recipe: Recipe, examples: Sequence[int]) -> dict[int, str]:
    """Pictures of held-out examples by their number; none where the first input is no picture.

    Args:
        session: with the data; recipe: says how they are divided.
    """
    if not examples:
        return {}
    try:
        values = session.judging(recipe).examples("test", examples)[0]
    except WorkbenchError as error:
        log.info("no pictures of examples: %s", error)
        return {}
    drawn = {index: thumbnail(v.numpy()) for index, v in zip(examples, values, strict=True)}
    return {index: uri for index, uri in drawn.items() if uri}
