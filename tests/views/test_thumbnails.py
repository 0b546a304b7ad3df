"""Pictures of examples."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from workbench.views.thumbnails import SIDE, thumbnail


def opened(uri: str) -> Image.Image:
    head, _, text = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_grey_and_colour_keep_their_order_and_use_the_whole_range() -> None:
    grey = opened(thumbnail(np.linspace(-3, 5, 64).reshape(1, 8, 8)))
    assert (grey.mode, grey.getpixel((0, 0)), grey.getpixel((7, 7))) == ("L", 0, 255)
    red = np.zeros((3, 8, 8))
    red[0] = 1
    assert opened(thumbnail(red)).getpixel((4, 4)) == (255, 0, 0)


def test_large_ones_become_small() -> None:
    assert max(opened(thumbnail(np.random.default_rng(0).random((3, 224, 112)))).size) == SIDE


@pytest.mark.parametrize("values", [np.zeros((4, 8, 8)), np.zeros(8), np.full((1, 2, 2), np.nan)])
def test_what_is_no_picture_has_none(values) -> None:
    assert thumbnail(values) == ""
