"""A name with options in one word: `name:option=value,option=value`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from workbench.foundation.errors import RecipeError


def split(text: str, noun: str) -> tuple[str, dict[str, Any]]:
    """The name and its options, values as JSON where they are.

    Raises:
        RecipeError: an option without a value.

    Example:
        >>> split("ewgs:delta=0.01", "estimator")
        ('ewgs', {'delta': 0.01})
    """
    name, _, listed = text.partition(":")
    given: dict[str, Any] = {}
    for part in filter(None, listed.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise RecipeError(f"{noun} '{text}' has '{part}'; write options as {name}:option=value")
        given[key.strip()] = _value(value.strip())
    return name, given


def joined(name: str, options: Mapping[str, Any]) -> str:
    """The inverse of `split`.

    Example:
        >>> joined("smooth", {"alpha": 0.7})
        'smooth:alpha=0.7'
    """
    words = [f"{key}={_word(value)}" for key, value in options.items()]
    return f"{name}:{','.join(words)}" if words else name


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(text: str) -> object:
    """A number or true/false where it is one, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
