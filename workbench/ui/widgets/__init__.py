"""Notebook widgets: the pictures of the app, in a cell."""

from __future__ import annotations

from workbench.ui.widgets.demo import DemoWidget
from workbench.ui.widgets.layers import LayersWidget
from workbench.ui.widgets.signals import SignalsWidget

__all__ = ["DemoWidget", "LayersWidget", "SignalsWidget"]
