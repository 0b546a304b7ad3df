"""The widgets by their public names."""

from __future__ import annotations

from workbench.ui.widgets import DemoWidget, LayersWidget, SignalsWidget

__all__ = ["DemoWidget", "LayersWidget", "SignalsWidget"]
