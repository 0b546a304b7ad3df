"""The cures that several causes propose, as edits of the recipe."""

from __future__ import annotations

from dataclasses import replace

from workbench.analysis.causes.case import Case
from workbench.analysis.causes.finding import Cure
from workbench.analysis.units import Unit
from workbench.maths.grid import Granularity, Grid

WIDE = 8
WIDEST = 16


def override(unit: Unit, bits: int) -> dict[str, object]:
    """The edit that gives one site other bits; 0 leaves it float."""
    kind = "weights" if unit.site.kind == "weight" else "activations"
    return {"override": {"pattern": f"tensor:{unit.site.tensor}", kind: bits}}


def with_bits(case: Case, unit: Unit, bits: int) -> Cure:
    """More bits at one site, measured."""
    wide = unit.site.grid.with_bits(bits)
    damage = case.once(unit, bits, lambda: case.refitted(unit, wide))
    return Cure(f"{bits}-bit", f"{bits} bits for '{unit.name}'", override(unit, bits), damage)


def wider(case: Case, unit: Unit) -> tuple[Cure, ...]:
    """The usual widths beyond its own, then float."""
    bits = unit.site.grid.bits
    widths = (WIDE,) if unit.site.kind == "weight" else (WIDE, WIDEST)
    up = [with_bits(case, unit, width) for width in widths if width > bits]
    return (*up, left_float(case, unit))


def left_float(case: Case, unit: Unit) -> Cure:
    """No quantization at one site, measured."""
    damage = case.once(unit, 0, lambda: None)
    return Cure("float", f"'{unit.name}' stays float", override(unit, 0), damage)


def option(name: str, value: str, damage: float) -> Cure:
    """Another value for an option of the stages, measured at this site."""
    words = f"{name.replace('_', ' ')} '{value}' for all sites"
    return Cure(f"{name}={value}", words, {"options": {name: value}}, damage)


def transform(name: str, words: str) -> Cure:
    """A transformation of the float network first; only trying tells what it does."""
    return Cure(name, words, {"transform": name})


def decibel(value: float) -> str:
    """For sentences."""
    return f"{value:.1f} dB"


def by_channel(grid: Grid, axis: int) -> Grid:
    """The same codes with a scale for each index of an axis."""
    return replace(grid, granularity=Granularity("channel", axis))
