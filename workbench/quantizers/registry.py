"""The quantizer registry: a file in this package with `@quantizer(...)` is all it takes."""

from __future__ import annotations

from workbench.foundation.registry import Registry
from workbench.quantizers.base import Quantizer

QUANTIZERS: Registry[type[Quantizer]] = Registry("quantizer", "workbench.quantizers")
quantizer = QUANTIZERS.register
