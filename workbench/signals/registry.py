"""The signal registry: a file in this package with `@signal(...)` is all it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from workbench.foundation.registry import Registry
from workbench.signals.base import Seen

Signal = Callable[[Seen, Any], Tensor]

SIGNALS: Registry[Signal] = Registry("signal", "workbench.signals")

#: registers a function of (seen, options) to a scalar; the fact `needs` names what of `Seen` it
#: reads beyond the outputs: "importance", "prediction" or "roundings"; in the training of a whole
#: network also "labels", "features" or "weights" ("bits" where those are learned)
signal = SIGNALS.register
