"""HAWQ-V3's ResNet-18 as an integer programme: traces, perturbations and sizes of its notebook."""

from __future__ import annotations

from workbench.analysis.bits.problem import Problem, problem

TRACES = (
    .06857826, .03162379, .03298575, .01205663, .02222431, .00596336, .06931772, .00807129,
    .00372905, .00530698, .00209011, .00737569, .00210454, .00151197, .00158041, .00078146,
    .00451841, .00098745, .00072944,
)  # fmt: skip
EIGHT = (
    .0235, .0125, .0102, .0082, .0145, .0344, .0023, .0287, .0148, .0333, .0682, .0027, .0448,
    .0336, .0576, .1130, .0102, .0947, .0532,
)  # fmt: skip
FOUR = (
    6.7430, 3.9691, 3.3281, 2.6796, 4.7277, 10.5966, .6827, 9.0942, 4.8857, 10.7599, 21.7546,
    .8603, 14.5324, 10.9651, 18.7706, 36.4044, 3.1572, 29.6994, 17.4016,
)  # fmt: skip
VALUES = (
    36864, 36864, 36864, 36864, 73728, 147456, 8192, 147456, 147456, 294912, 589824, 32768,
    589824, 589824, 1179648, 2359296, 131072, 2359296, 2359296,
)  # fmt: skip
TIES = (("4", "6"), ("9", "11"), ("14", "16"))
MEBIBYTE = 2**20


def resnet18() -> Problem:
    """Harm Tr/n ‖ΔW‖², size in MiB, the ties of its three shortcuts."""
    rows = zip(TRACES, FOUR, EIGHT, strict=True)
    harm = {str(i): {4: t * four, 8: t * eight} for i, (t, four, eight) in enumerate(rows)}
    size = {str(i): {b: n * b / 8 / MEBIBYTE for b in (4, 8)} for i, n in enumerate(VALUES)}
    return problem(harm, {"size": size}).tied(TIES)
