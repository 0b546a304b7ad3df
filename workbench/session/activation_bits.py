"""Activations whose bits are chosen, with a calibrated quantizer for each width."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.foundation.errors import RecipeError
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.methods.base import Task
from workbench.methods.registry import make
from workbench.quantizers.base import Quantizer
from workbench.session.allocation import AllocationOptions
from workbench.session.execute import build
from workbench.session.recipe import Recipe

if TYPE_CHECKING:
    from workbench.session.session import Session


class ActivationBits:
    """The activations whose bits are chosen, and their quantizers at each width.

    Those that were asked for with other bits than most keep theirs, as do groups of which one does.

    Attributes:
        widths: of each site that leads its group; patterns: that name it in a recipe.
        quantizers: by site and bits, once calibrated.
    """

    def __init__(
        self, session: Session, recipe: Recipe, model: QuantizedGraph, options: AllocationOptions
    ) -> None:
        self._model, active = model, recipe.activations
        self._models: dict[int, QuantizedGraph] = {}
        self.quantizers: dict[str, dict[int, Quantizer]] = {}
        wanted = sorted(set(options.activations))
        if wanted:
            if active is None:
                raise RecipeError("activations are float in this recipe; give them bits first")
            if options.method in ("haq", "hawq") or options.sensitivity == "hawq":
                raise RecipeError(
                    "HAWQ's traces and HAQ's policy are of weights; for activations choose"
                    " sensitivity 'fisher' or 'exact' and method 'milp', 'cem' or 'evolution'"
                )
            for bits in wanted:
                spec = active.model_copy(update={"bits": bits})
                self._models[bits] = build(session, recipe.changed(activations=spec)).eval()
        own = model.of_kind("activation") if wanted else []
        found = [site for site in own if site.shares is None and self._is_open(site)]
        self.widths = {site.name: tuple(wanted) for site in found}
        self.patterns = {site.name: f"tensor:{site.tensor}" for site in found}

    def calibrate(self, task: Task) -> None:
        """Find the ranges at each width; weights are left alone."""
        for bits, model in self._models.items():
            weights = frozenset(site.name for site in model.of_kind("weight"))
            for _ in make("rtn").learn(model, replace(task, kept=weights)):
                pass
            for name in self.widths:
                self.quantizers.setdefault(name, {})[bits] = model.quantizer(name)

    def _is_open(self, site: Site) -> bool:
        """Whether the bits of a site, and of those that share its scale, follow what is asked."""
        names = [s.name for s in self._model.sites.values() if site.name in (s.name, s.shares)]
        return site.grid.uniform and all(
            name in model.asked and model.asked[name].bits == bits
            for bits, model in self._models.items()
            for name in names
        )
