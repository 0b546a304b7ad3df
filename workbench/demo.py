"""Interactive demos in a notebook, each in one line.

    import workbench

    workbench.demo.lsq()
    workbench.demo.clip_or_round(bits=4)

`dir(workbench.demo)` lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from workbench.lessons.registry import DEMOS, ordered

if TYPE_CHECKING:
    from workbench.ui.widgets.demo import DemoWidget


def show(name: str, **options: Any) -> DemoWidget:
    """The demo called `name` as a widget, with these options.

    Raises:
        RecipeError: an unknown name or option, or a value out of range.
    """
    from workbench.ui.widgets.demo import DemoWidget

    return DemoWidget(name, **options)


def __getattr__(name: str) -> Callable[..., DemoWidget]:
    if name.startswith("_") or name not in DEMOS:
        raise AttributeError(f"there is no demo '{name}'; there are: {', '.join(DEMOS.names())}")
    return partial(show, name)


def __dir__() -> list[str]:
    return [entry.name for entry in ordered()]
