"""The registry of gradient estimators: a file in this package with `@estimator(...)` is enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from workbench.foundation.options import OneOf, Options
from workbench.foundation.registry import Registry
from workbench.maths.estimators.base import Estimator

ESTIMATORS: Registry[type[Estimator]] = Registry("estimator", "workbench.maths.estimators")
estimator = ESTIMATORS.register

EstimatorName = Annotated[str, OneOf("estimator", ESTIMATORS.names)]


def make(name: str, options: Mapping[str, Any] | Options | None = None) -> Estimator:
    """An estimator from its name and plain option values.

    Raises:
        RecipeError: an unknown name, an unknown option, or a value out of range.
    """
    given = options.model_dump() if isinstance(options, Options) else options
    return ESTIMATORS[name].make(ESTIMATORS.parsed(name, given))
