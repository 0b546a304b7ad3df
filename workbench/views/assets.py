"""The browser half of the pictures: ES modules and their style, put together without a build step.

The modules import each other by relative path. `script` joins the ones that are needed into a text
with no import and no export, which can be the body of a function, a `<script>` or a part of
another module.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(?P<name>[\w-]+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(async )?(function|const|let|class)\b)", re.MULTILINE)


@cache
def script(*names: str) -> str:
    """The modules `names` and all they import, each once, dependencies first."""
    found: dict[str, str] = {}
    for name in names:
        _collect(name, found)
    return "\n".join(found.values())


@cache
def module(name: str) -> str:
    """Source of one module."""
    return _text(f"{name}.js")


@cache
def style() -> str:
    """The style sheet of all pictures."""
    return _text("views.css")


def _collect(name: str, found: dict[str, str]) -> None:
    if name in found:
        return
    source = module(name)
    for match in _IMPORT.finditer(source):
        _collect(match["name"], found)
    found[name] = _EXPORT.sub("", _IMPORT.sub("", source))


def _text(file: str) -> str:
    return (resources.files("workbench.views") / "js" / file).read_text(encoding="utf-8")
