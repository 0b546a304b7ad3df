"""Answers in what students hand in, read and never run.

A notebook or script is parsed, and of it only calls such as these count:

    answer = 2**5
    course.check("1.2", answer)             # a literal, or a name that was given one before
    course.score("4", {"method": "gram"})

Numbers may be written as arithmetic of numbers. An `answers.json` holds the same as an object:
`{"1.2": 32, "scores": {"4": {"method": "gram"}}}`.
"""

from __future__ import annotations

import ast
import json
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_BYTES = 4 * 2**20  # of one file, pictures in its outputs included
MOST_CODE = 2**18  # letters of code in one file: to parse them takes hundreds of times their room
MOST_FILES = 100  # of one student
MOST_POWER = 64  # of an exponent, and bits of what it is taken of
MOST_BITS = 4096  # of a whole number that is worked with, so that no arithmetic takes long
SUFFIXES = (".ipynb", ".json", ".py")
CALLS = ("check", "score")
ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


@dataclass
class Submission:
    """What one student handed in.

    Attributes:
        student: the name of the folder, or of the file without its ending.
        answers: by exercise; the last one given counts.
        choices: recipes by challenge.
        problems: what could not be read, a sentence each.
    """

    student: str
    answers: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def take(self, kind: str, name: str, value: Any) -> None:
        """Note an answer or a choice; what was left unsolved does not replace an answer."""
        held = self.answers if kind == "check" else self.choices
        if value is not None and value is not Ellipsis:
            held[name] = value
        else:
            held.setdefault(name, None)


class UnreadableError(ValueError):
    """A file or an expression that holds no plain value."""


def collect(folder: Path) -> list[Submission]:
    """One submission for each subfolder and each file of a folder, by name."""
    found: dict[str, Submission] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_symlink():
            continue
        if path.is_dir() or (path.is_file() and path.suffix in SUFFIXES):
            name = path.name if path.is_dir() else path.stem
            _read_all(path, found.setdefault(name, Submission(name)))
    return list(found.values())


def _read_all(path: Path, into: Submission) -> None:
    """Everything of one student; a file that cannot be read becomes a problem."""
    files = sorted(_files(path)) if path.is_dir() else [path]
    if len(files) > MOST_FILES:
        into.problems.append(f"{len(files)} files; only the first {MOST_FILES} were read")
    if not files:
        into.problems.append(f"nothing that ends in {', '.join(SUFFIXES)}")
    for file in files[:MOST_FILES]:
        try:
            read(file, into)
        except (
            UnreadableError,
            OSError,
            UnicodeError,
            ValueError,
            RecursionError,
            MemoryError,
        ) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            into.problems.append(f"{file.name}: {reason}")


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix in SUFFIXES and path.is_file() and not path.is_symlink() and not hidden:
            yield path


def read(path: Path, into: Submission) -> None:
    """Take the answers of one file.

    Raises:
        UnreadableError: too large, too much code, or not what its ending says.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise UnreadableError(f"{size:,} bytes are more than {MOST_BYTES:,}")
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".json":
        _take_json(_json(text), into)
        return
    cells = _cells(_json(text)) if path.suffix == ".ipynb" else [text]
    letters = sum(map(len, cells))
    if letters > MOST_CODE:
        raise UnreadableError(f"{letters:,} letters of code are more than {MOST_CODE:,}")
    known: dict[str, ast.AST] = {}
    for number, cell in enumerate(cells):
        try:
            tree = ast.parse(_plain(cell) if path.suffix == ".ipynb" else cell)
        except SyntaxError as error:
            if path.suffix == ".py" or any(f"{call}(" in cell for call in CALLS):
                into.problems.append(f"{path.name}, cell {number}: {error.msg}")
            continue
        _take_calls(tree, known, into)


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UnreadableError(f"no JSON: {error}") from None
    if not isinstance(found, dict):
        raise UnreadableError("holds no JSON object")
    return found


def _take_json(found: Mapping[str, Any], into: Submission) -> None:
    scores = found.get("scores", {})
    for kind, held in (("check", found), ("score", scores if isinstance(scores, dict) else {})):
        for name, value in held.items():
            if name != "scores" or kind == "score":
                into.take(kind, str(name), value)


def _cells(found: Mapping[str, Any]) -> list[str]:
    """Sources of a notebook's code cells."""
    cells = found.get("cells")
    if not isinstance(cells, list):
        raise UnreadableError("has no cells, so it is no notebook of format 4")
    sources = [
        c.get("source", "") for c in cells if isinstance(c, dict) and c.get("cell_type") == "code"
    ]
    return ["".join(map(str, s)) if isinstance(s, list) else str(s) for s in sources]


def _plain(cell: str) -> str:
    """A cell without what only notebooks understand: lines of magics, shell and help."""
    lines = cell.splitlines()
    return "\n".join("" if line.lstrip()[:1] in {"%", "!", "?"} else line for line in lines)


def _take_calls(tree: ast.Module, known: dict[str, ast.AST], into: Submission) -> None:
    """Answers in the statements of a cell, in order; `known` are names with their last value.

    A name that is bound in any other way than `name = value` stands for the statement that did it:
    its value would have to be run for.
    """
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                bound = {name: value}
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                bound = {name: value}
            case _:
                bound = {}
                known |= dict.fromkeys(_names_bound(statement), statement)
        for node in ast.walk(statement):
            if isinstance(node, ast.Call):
                _take_call(node, known, into)
        known |= bound


def _names_bound(statement: ast.stmt) -> set[str]:
    """Names that a statement gives a value to, however deep inside it."""
    found = set()
    for node in ast.walk(statement):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.alias(name=name, asname=other):
                found.add(other or name.split(".")[0])
    return found


def _take_call(call: ast.Call, known: Mapping[str, ast.AST], into: Submission) -> None:
    function = call.func
    kind = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    named = [word.value for word in call.keywords if word.arg in ("answer", "choice")]
    arguments = [*call.args, *named]
    if kind not in CALLS or not arguments:
        return
    name = arguments[0]
    if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
        return
    if len(arguments) != 2:
        into.problems.append(f"{name.value}: write {kind}({name.value!r}, the answer)")
        return
    given: ast.AST = arguments[1]
    given = known.get(given.id, given) if isinstance(given, ast.Name) else given
    try:
        into.take(kind, name.value, literal(given))
    except UnreadableError as error:
        into.problems.append(f"{name.value}: {error}")


def literal(node: ast.AST) -> Any:
    """The value of an expression of constants, containers and arithmetic of numbers.

    Raises:
        UnreadableError: it would have to be run.

    Example:
        >>> literal(ast.parse("[2**5, -0.5, 'both']", mode="eval").body)
        [32, -0.5, 'both']
    """
    match node:
        case ast.Constant():
            return node.value
        case ast.List() | ast.Tuple() | ast.Set():
            values = [literal(item) for item in node.elts]
            return tuple(values) if isinstance(node, ast.Tuple) else values
        case ast.Dict() if None not in node.keys:
            keys = [literal(key) for key in node.keys if key is not None]
            return dict(zip(map(str, keys), map(literal, node.values), strict=True))
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            value = _number(literal(node.operand))
            return -value if isinstance(node.op, ast.USub) else value
        case ast.BinOp():
            return _arithmetic(node)
    raise UnreadableError(
        f"'{ast.unparse(node)[:60]}' would have to be run; write the value itself as the answer"
    )


def _arithmetic(node: ast.BinOp) -> float:
    left, right = _number(literal(node.left)), _number(literal(node.right))
    try:
        if isinstance(node.op, ast.Pow):
            if abs(right) > MOST_POWER or abs(left) > 2**MOST_POWER:
                raise UnreadableError("a power of such numbers is not worked out; write its value")
            found = left**right
        elif type(node.op) in ARITHMETIC:
            found = ARITHMETIC[type(node.op)](left, right)
        else:
            raise UnreadableError("only + - * / // % ** are worked out; write the value itself")
    except ArithmeticError as error:
        raise UnreadableError(str(error)) from None
    return _number(found)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnreadableError("arithmetic with what is no number; write the value itself")
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise UnreadableError("such large numbers are not worked with; write the value itself")
    return value
