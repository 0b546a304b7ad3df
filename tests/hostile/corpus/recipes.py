"""Recipes that are none."""

from __future__ import annotations

import os
from pathlib import Path

from tests.hostile.corpus.case import case

RECIPES = {
    "too-large": (b"#" * (2 << 20), "larger than a recipe"),
    "no-text": (b"\xff\xfe\x00", "cannot be read: it is not text"),
    "no-toml": (b"target = ", "is not TOML"),
    "deep": (b"a = " + b"[" * 50_000, "is not TOML"),
    "deep-tables": (b"[" + b"a." * 20_000 + b"b]\n", "is not TOML|has no option|unknown"),
    "unknown-key": (b'targets = "x"\n', "has no option 'targets'"),
    "unknown-target": (b'target = "<img onerror=x>"\n', "unknown target"),
    "not-a-number": (b"[weights]\nbits = nan\n", "bits"),
    "huge-number": (b"seed = " + b"9" * 5000 + b"\n", "seed|is not TOML"),
    "table-for-number": (b"[seed]\na = 1\n", "seed"),
    "no-stages": (b"stages = []\n", "stages"),
    "method-from-a-path": (b'[[stages]]\nmethod = "../../evil"\n', "unknown method"),
    "key-of-a-dunder": (b'__class__ = "x"\n', "has no option '__class__'"),
    "number-of-examples": (b"calibration_examples = 100000000000\n", "calibration_examples"),
    "slow-to-parse": (b"a" * 200_000 + b" = 1\n", "has no option"),
    "bad-pattern": (b"[[overrides]]\npattern = 7\nweights = 4\n", "pattern"),
}

for _name, (_text, _words) in RECIPES.items():

    @case("recipe", _words, _name)
    def _bad_recipe(folder: Path, text: bytes = _text) -> Path:
        (folder / "recipe.toml").write_bytes(text)
        return folder / "recipe.toml"


@case("recipe", "is not a regular file|cannot be read")
def recipe_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "recipe.toml")
    return folder / "recipe.toml"
