"""Compare whole networks by others with ONNX Runtime, tensor by tensor, and print the counts.

python -m scripts.zoo_check [NAME ...]    with names, one line for each too
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import tempfile

# Before a hub client is imported: nothing is fetched.
os.environ["HF_HUB_OFFLINE"] = "1"

import torch

from tests.graph.whole import (
    TOLERANCE,
    Outcome,
    Whole,
    check,
    needed,
    pretrained_models,
    random_models,
)


def main() -> int:
    """Check those that are installed; the status is 1 where a tensor is too far off."""
    logging.disable(logging.WARNING)
    networks = table()
    wanted = sys.argv[1:] or list(networks)
    here = {name: networks[name][0] for name in wanted if installed(networks[name][1])}
    found: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WORKBENCH_CACHE"] = folder
        for name, whole in here.items():
            torch.manual_seed(0)
            found[name] = check(whole)
            if sys.argv[1:]:
                say(f"{name}: {found[name]}")
    say(summary(found, [name for name in wanted if name not in here]))
    return 0 if all(outcome.holds for outcome in found.values()) else 1


def installed(packages: tuple[str, ...]) -> bool:
    """Whether all packages can be imported."""
    return all(importlib.util.find_spec(package) is not None for package in packages)


def summary(found: dict[str, Outcome], missing: list[str]) -> str:
    """All counts in one line."""
    outcomes = list(found.values())
    failed = [name for name, outcome in found.items() if not outcome.holds]
    return (
        f"zoo: {len(found) - len(failed)} of {len(found)} networks equal ONNX Runtime"
        f" in {sum(outcome.compared for outcome in outcomes):,} tensors;"
        f" largest relative difference {max((o.worst for o in outcomes), default=0.0):.1e}"
        f" (allowed {TOLERANCE:.0e}; {sum(outcome.nearer for outcome in outcomes)} more where"
        f" it is further from float64 than we are); failed: {', '.join(failed) or 'none'};"
        f" not installed: {', '.join(missing) or 'none'}"
    )


def table() -> dict[str, tuple[Whole, tuple[str, ...]]]:
    """All networks by name, with the packages that they need."""
    drawn = {name: (whole, ("transformers",)) for name, whole in random_models().items()}
    trained = {name: (whole, tuple(needed(name))) for name, whole in pretrained_models().items()}
    return {**drawn, **trained}


def say(line: str) -> None:
    """To standard output at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
