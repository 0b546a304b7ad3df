"""Which sites and layers hurt, on calibration and on held-out data side by side.

Every site has its own error, beside what theory expects of its grid and what float arithmetic
itself leaves; and the damage that it does to the network's answer, estimated, and measured where
that was asked for. Measurements are kept in the cache folder: the same model with the same
quantizers on the same examples is never measured twice, and a diagnosis that was stopped goes on
where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from workbench.analysis.channels import channel_records, worst_weights
from workbench.analysis.damage import Answer
from workbench.analysis.estimate import DRAWS, Batch, Estimated, Estimator
from workbench.analysis.exact import Exact, Measured
from workbench.analysis.expected import expected_db
from workbench.analysis.floor import float_floor
from workbench.analysis.ledger import Ledger, digest_graph
from workbench.analysis.partial import Setting
from workbench.analysis.shapes import site_shape
from workbench.analysis.units import by_layer, units
from workbench.foundation.errors import RecipeError, unknown_name
from workbench.graph.batching import first_examples
from workbench.graph.quantized import QuantizedGraph
from workbench.session.data import BATCH_MOST, Data, Split
from workbench.session.execute import GUILTY, quantized
from workbench.session.known import cache_dir
from workbench.session.recipe import Recipe
from workbench.session.site_records import LAYER, Seen, ranks
from workbench.session.version import VERSION

if TYPE_CHECKING:
    import pandas

    from workbench.session.session import Session

Watch = Callable[[str, float, float | None], None]

#: examples of each split, and the fewest where the inputs are large
EXAMPLES = 64
FEWEST = 16
#: examples of a large input that calibrate a model which is only looked at
LARGE_CALIBRATION = 32
FLOOR_EXAMPLES = 4
#: a large input is looked at in batches so many times smaller than usual: all tensors are held
FEWER = 4
SPLITS: Mapping[str, Split] = {"held_out": "test", "calibration": "calibration"}


@dataclass(frozen=True)
class SiteDiagnosis:
    """What quantization does to each site and layer.

    Attributes:
        record: plain JSON values: `answer` ("classes" or "values"), `task`, `unquantized` and
            `quantized` (by split, the answer of the float and of the quantized network),
            `spearman` (of estimates with what was measured, by split; None where nothing was),
            `sites` and `layers`.
        model: the quantized graph.
        inputs: held-out batches that were looked at.
    """

    record: dict[str, Any]
    model: QuantizedGraph
    inputs: tuple[tuple[torch.Tensor, ...], ...]

    @property
    def sites(self) -> list[dict[str, Any]]:
        """One record for each site, in the order of the graph."""
        return self.record["sites"]

    @property
    def layers(self) -> list[dict[str, Any]]:
        """One record for each layer, in the order of the graph."""
        return self.record["layers"]

    @property
    def table(self) -> pandas.DataFrame:
        """One row for each site; nested fields have dotted names."""
        import pandas

        return pandas.json_normalize(self.sites)

    @property
    def guilty(self) -> list[str]:
        """The layers that hurt most on held-out data, worst first; as measured where they were."""
        ranked = sorted(self.layers, key=lambda layer: -damage(layer))
        return [str(layer["layer"]) for layer in ranked[:GUILTY]]

    def channels(self, site: str) -> list[dict[str, Any]]:
        """Channel by channel; see `workbench.analysis.channels.channel_records`.

        Raises:
            RecipeError: no such site.
        """
        found = channel_records(self.model, site, self.inputs)
        own = next(s for s in self.sites if s["site"] == site)
        shares = own["held_out"]["damage_shares"]
        for record, share in zip(found, shares if len(shares) == len(found) else [], strict=False):
            record["damage_share"] = share
        return found

    def shape(self, site: str, channels: Sequence[int] = ()) -> dict[str, Any]:
        """Histogram, ridges and levels; see `workbench.analysis.shapes.site_shape`.

        Raises:
            RecipeError: no such site.
        """
        known = [record["site"] for record in self.sites]
        if site not in known:
            raise RecipeError(unknown_name("site", site, known))
        return site_shape(self.model, site, self.inputs, channels)

    def weights(
        self, site: str, channel: int | None = None, count: int = 20
    ) -> list[dict[str, Any]]:
        """Single weights with the largest error; see `workbench.analysis.channels.worst_weights`.

        Raises:
            RecipeError: no such weight or channel.
        """
        return worst_weights(self.model, site, channel, count)


def damage(record: Mapping[str, Any]) -> float:
    """Divergence that a site or layer alone causes on held-out data: measured, or estimated."""
    held_out = record["held_out"]
    exact = held_out.get("exact")
    return float(exact["alone"]["kl"] if exact else held_out["estimate"]["kl"])


def looked_at(session: Session, recipe: Recipe) -> Recipe:
    """The recipe for a first look: large inputs calibrate on fewer examples."""
    large = session.batch_size < BATCH_MOST
    few = min(recipe.calibration_examples, LARGE_CALIBRATION)
    return recipe.model_copy(update={"calibration_examples": few}) if large else recipe


def site_errors(
    session: Session,
    recipe: Recipe,
    model: QuantizedGraph | None = None,
    *,
    exact: bool = False,
    examples: int = EXAMPLES,
    draws: int = DRAWS,
    store: Path | None = None,
    watch: Watch | None = None,
) -> SiteDiagnosis:
    """Diagnose every site and layer.

    Args:
        session: model and data.
        recipe: how it is quantized, and how its data are divided.
        model: already quantized so; by default it is made now.
        exact: measure the damage of each site and layer, besides estimating it.
        examples: of each split; fewer where the inputs are large.
        draws: backward passes for each batch of the estimate.
        store: folder of kept measurements; by default below the cache folder.
        watch: called with what is done, the share of it and the seconds left (None: not known).

    Raises:
        WorkbenchError: what does not fit, as for a run.
    """
    look = _Look(session, recipe, model, examples, watch or (lambda *_: None))
    estimated = {
        name: look.estimate(batches, draws, name) for name, batches in look.batches.items()
    }
    path = (store or cache_dir() / "diagnosis") / f"{digest_graph(look.model.graph, VERSION)}.jsonl"
    measured = look.measure(Ledger(path), exact)
    inputs = tuple(batch for batch, _ in look.batches["held_out"])
    return SiteDiagnosis(look.record(estimated, measured), look.model, inputs)


class _Look:
    """One diagnosis while it is made."""

    def __init__(
        self,
        session: Session,
        recipe: Recipe,
        model: QuantizedGraph | None,
        examples: int,
        watch: Watch,
    ) -> None:
        self._watch = watch
        watch("quantizing", 0.0, None)
        self.session = session
        self.model = (quantized(session, recipe) if model is None else model).eval()
        held_out, calibration = session.judging(recipe), session.calibrating(recipe)
        self.task = held_out.task
        size = session.batch_size
        count = min(examples, max(FEWEST, examples * size // BATCH_MOST))
        size = size if size >= BATCH_MOST else max(1, size // FEWER)  # errors and gradients too
        self.batches = {
            "held_out": _some(held_out, "test", size, count),
            "calibration": _some(calibration, "calibration", size, count),
        }
        self.units = units(self.model)
        self.layers = by_layer(self.units)
        found = Answer.of(self.model.graph)
        self.answer = replace(found, kind="values") if self.task == "pairs" else found

    def estimate(self, batches: list[Batch], draws: int, split: str) -> Estimated:
        """Of one split."""
        estimator = Estimator(self.model, self.units, batches, self.answer, draws)
        for place in estimator:
            self._watch(f"estimating, {split}", place.fraction, place.seconds_left)
        return estimator.result

    def measure(self, ledger: Ledger, exact: bool) -> dict[str, Measured | None]:
        """Of each split; without `exact` only what is known already."""
        found: dict[str, Measured | None] = {}
        for split, batches in self.batches.items():
            measuring = Exact(self.model, self._settings(), batches, self.answer, ledger)
            for place in measuring if exact else ():
                self._watch(f"measuring, {split}", place.fraction, place.seconds_left)
            found[split] = measuring.result if measuring.complete else None
        return found

    def record(
        self, estimated: Mapping[str, Estimated], measured: Mapping[str, Measured | None]
    ) -> dict[str, Any]:
        """Everything as plain JSON values."""
        self._watch("what theory expects", 1.0, None)
        held_out = [inputs for inputs, _ in self.batches["held_out"]]
        few = first_examples(self.model.graph.inputs, held_out[0], FLOOR_EXAMPLES)
        seen = Seen(
            self.answer,
            self.task,
            estimated,
            measured,
            float_floor(self.model.graph, few),
            expected_db(self.model, held_out[:1]),
        )
        sites = [seen.site(unit) for unit in self.units]
        layers = [seen.layer(name, own) for name, own in self.layers.items()]
        return {
            "model": self.session.name,
            "answer": self.answer.kind,
            "task": self.task,
            "examples": {split: sum(len(x[0]) for x, _ in b) for split, b in self.batches.items()},
            **seen.outputs(),
            "floor_db": seen.floor(str(self.model.graph.outputs[0].name)),
            "spearman": {split: ranks(split, sites, layers) for split in estimated},
            "sites": sites,
            "layers": layers,
        }

    def _settings(self) -> dict[str, Setting]:
        whole = {unit.name: unit.setting for unit in self.units}
        for name, own in self.layers.items():
            whole[LAYER + name] = reduce(or_, (unit.setting for unit in own))
        return whole


def _some(data: Data, split: Split, size: int, count: int) -> list[Batch]:
    return list(data.judged(split, size, count))
