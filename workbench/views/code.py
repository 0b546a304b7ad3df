"""The same recipe as a command, as Python and as TOML: what was clicked can be typed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

TARGET, UNIFORM, AFFINE = "ort-cpu", "uniform", "affine"
_WEIGHTS = "from workbench.session.recipe import WeightSpec\n"
_RECIPE = "from workbench.session.recipe import Recipe\n"


def code(recipe: Mapping[str, Any], toml: str, model: str, data: str | None) -> dict[str, Any]:
    """Tabs of the "Show code" dialog.

    Args:
        recipe: `{"weights", "activations" (None is float), "edges", "method", "options", "target",
            "table" ("affine" is uniform with zero-points), "transforms", "synthetic", "teacher",
            "file" (of the recipe, where these words are not all there is to it, else "")}`.
        toml: the recipe's own text.
        model: sample name or path; data: path, or None for the sample's own.
    """
    return {
        "tabs": [
            {"label": "Command", "text": command(recipe, model, data), "note": "In a terminal"},
            {"label": "Python", "text": python(recipe, model, data), "note": "In a notebook"},
            {"label": "TOML", "text": toml, "note": "recipe.toml: all there is to a run"},
        ]
    }


def command(recipe: Mapping[str, Any], model: str, data: str | None) -> str:
    """The command line."""
    start = ["workbench", "quantize", model]
    if recipe.get("file"):
        return _lines([start, ["--recipe", recipe["file"]], *_given(data)])
    activations = recipe["activations"]
    words = [
        start,
        ["--weights", str(recipe["weights"])],
        ["--activations", "float" if activations is None else str(activations)],
        ["--method", recipe["method"]],
    ]
    if recipe.get("edges") != 8:
        words.append(["--edges", str(recipe["edges"] or "same")])
    if recipe.get("target", TARGET) != TARGET:
        words.append(["--target", str(recipe["target"])])
    table = str(recipe.get("table", UNIFORM))
    if table != UNIFORM:
        words.append(["--zero-points"] if table == AFFINE else ["--table", table])
    words += [["--transform", name] for name in recipe.get("transforms", ())]
    words += [["--option", f"{key}={value}"] for key, value in recipe["options"].items()]
    words += [["--synthetic", recipe["synthetic"]]] if recipe.get("synthetic") else []
    words += [["--teacher", recipe["teacher"]]] if recipe.get("teacher") else []
    return _lines([*words, *_given(data)])


def python(recipe: Mapping[str, Any], model: str, data: str | None) -> str:
    """The same in Python."""
    arguments = _arguments(recipe) + ([f"data={data!r}"] if data else [])
    levels = recipe.get("table", UNIFORM) != UNIFORM
    imports = _RECIPE if recipe.get("file") else _WEIGHTS if levels else ""
    listed = "".join(f"    {argument},\n" for argument in arguments)
    return (
        f"import workbench\n{imports}\n"
        f"session = workbench.open({model!r})\n"
        f"run = session.quantize(\n{listed})\n"
        "print(run.scores)\n"
        'exported = run.export("model.onnx")\n'
        "print(exported.verify().verdict)\n"
    )


def _given(data: str | None) -> list[list[str]]:
    """The words for data and for what is written."""
    return [*([["--data", data]] if data else []), ["--out", "run"]]


def _lines(words: Sequence[Sequence[str]]) -> str:
    return " \\\n    ".join(shlex.join(part) for part in words)


def _arguments(recipe: Mapping[str, Any]) -> list[str]:
    """Those of `Session.quantize`."""
    if recipe.get("file"):
        return [f"recipe=Recipe.load({recipe['file']!r})"]
    arguments = [f"weights={_weights(recipe)}", f"activations={recipe['activations']!r}"]
    arguments.append(f"method={recipe['method']!r}")
    if recipe.get("edges") != 8:
        arguments.append(f"edges={recipe['edges']!r}")
    if recipe.get("target", TARGET) != TARGET:
        arguments.append(f"target={recipe['target']!r}")
    if recipe.get("transforms"):
        arguments.append(f"transforms={tuple(recipe['transforms'])!r}")
    if recipe.get("synthetic"):
        arguments.append(f"synthetic={recipe['synthetic']!r}")
    if recipe.get("teacher"):
        arguments.append(f"teacher={recipe['teacher']!r}")
    arguments += [f"{key}={value!r}" for key, value in recipe["options"].items()]
    return arguments


def _weights(recipe: Mapping[str, Any]) -> str:
    """Bits, or bits and levels."""
    if recipe.get("table", UNIFORM) == UNIFORM:
        return repr(recipe["weights"])
    levels = "symmetric=False" if recipe["table"] == AFFINE else f"table={recipe['table']!r}"
    return f"WeightSpec(bits={recipe['weights']!r}, {levels})"
