"""The network as a drawing: layers with what they harm, blocks that open and close, real edges.

Every open block is drawn by itself, with the edge that comes in at its top and the one that leaves
at its foot, and then stands as one box in the drawing around it. Places are in points, from the
upper left; the browser zooms and moves, and needs no other arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.views import strings
from workbench.views.layered import Point, layered

Record = Mapping[str, Any]

FEW = 14  # vertices that are shown without closing any block
MANY = 30  # parts above which those with one name before a number become one
LONGEST = 20  # letters of a name; the middle of a longer one is left out
LETTER = 6.2
VALUE = 44.0
NARROWEST = 120.0  # of what has a value
LAYER_HEIGHT = 26.0
JOINT_HEIGHT = 18.0
PAD = 8.0
HEAD = 22.0
DEEPEST = 12  # levels of blocks that are told apart
_NUMBERED = re.compile(r"(.*?\d+)(?:[./_]|$)")


@dataclass
class _Part:
    """A vertex, or a block with the parts in it."""

    name: str
    vertex: int | None = None
    kind: str = ""
    parts: list[_Part] = field(default_factory=list)
    open: bool = False

    def members(self) -> list[int]:
        """Its vertices, in the order of the network."""
        if self.vertex is not None:
            return [self.vertex]
        return sorted(v for part in self.parts for v in part.members())


@dataclass
class _Figure:
    """What was drawn so far, in the coordinates of one block."""

    width: float = 0.0
    height: float = 0.0
    nodes: list[dict[str, Any]] = field(default_factory=list)
    blocks: list[dict[str, Any]] = field(default_factory=list)
    edges: list[list[Point]] = field(default_factory=list)

    def put(self, other: _Figure, x: float, y: float) -> None:
        """Take over another drawing, moved."""
        for kind in ("nodes", "blocks"):
            moved = [{**e, "x": e["x"] + x, "y": e["y"] + y} for e in getattr(other, kind)]
            getattr(self, kind).extend(moved)
        self.edges.extend([(px + x, py + y) for px, py in edge] for edge in other.edges)


def drawing(outline: Record, toggled: Collection[str] = ()) -> dict[str, Any]:
    """The view-model of the drawing.

    Args:
        outline: of `workbench.graph.outline`.
        toggled: names of blocks that are not as they are at first: open in a small network, closed
            in one of more than `FEW` vertices. Unknown names are ignored.

    Returns:
        `width` and `height`, `nodes` and `blocks` with `x`, `y`, `w`, `h` and the names of their
        `layers`, and `edges` as lists of x and y in turn.
    """
    parts = _tree(outline, toggled)
    figure = _draw(parts, outline, None)
    return {
        "width": round(figure.width, 1),
        "height": round(figure.height, 1),
        "nodes": [_rounded(node) for node in figure.nodes],
        "blocks": [_rounded(block) for block in figure.blocks],
        "edges": [[round(v, 1) for point in edge for v in point] for edge in figure.edges],
        "open": all(block["open"] for block in figure.blocks),
        "spoken": _spoken(outline),
    }


def around(outline: Record, layer: str, toggled: Collection[str] = ()) -> list[str]:
    """Names of the closed blocks that hide a layer, outermost first."""
    found: list[str] = []
    parts = _tree(outline, toggled)
    at = next((v for v, e in enumerate(outline["vertices"]) if e["name"] == layer), None)
    while at is not None:
        part = next((p for p in parts if p.vertex is None and at in p.members()), None)
        if part is None:
            break
        if not part.open:
            found.append(part.name)
        parts = part.parts
    return found


def toggle(toggled: Collection[str], names: Iterable[str]) -> tuple[str, ...]:
    """`toggled` with these blocks turned over."""
    kept = dict.fromkeys(toggled)
    for name in names:
        if name in kept:
            del kept[name]
        else:
            kept[name] = None
    return tuple(kept)


def everything(outline: Record, opened: bool) -> list[str]:
    """What `toggled` has to be so that all blocks are open, or all closed."""
    blocks = _blocks(_tree(outline, ()))
    return [block.name for block in blocks if block.open != opened]


def _blocks(parts: Iterable[_Part]) -> list[_Part]:
    inner = [part for part in parts if part.vertex is None]
    return [found for part in inner for found in (part, *_blocks(part.parts))]


def _rounded(record: Record) -> dict[str, Any]:
    sides = {key: round(record[key], 1) for key in ("x", "y", "w", "h")}
    return {**record, **sides}


def _spoken(outline: Record) -> str:
    count = sum(vertex["role"] == "layer" for vertex in outline["vertices"])
    return f"{strings.GRAPH_LABEL}, {strings.plural(count, 'layer')}"


def _tree(outline: Record, toggled: Collection[str]) -> list[_Part]:
    """The parts of the whole network, nested, each open or closed."""
    vertices = outline["vertices"]
    place = {vertex["name"]: at for at, vertex in enumerate(vertices) if vertex["op"]}
    top = _Part("", parts=[_Part(v["name"], at) for at, v in enumerate(vertices)])
    nested = [block for block in outline["blocks"] if block["level"] < DEEPEST]
    for block in sorted(nested, key=lambda block: block["level"]):
        inside = {place[name] for name in block["nodes"] if name in place}
        _enclose(top, inside, block)
    if len(top.parts) > MANY:
        top.parts = _grouped(top.parts)
    first = len(vertices) <= FEW
    for block in _blocks(top.parts):
        block.open = first != (block.name in toggled)
    return top.parts


def _enclose(within: _Part, inside: set[int], block: Record) -> None:
    """Put a block around those of the parts that it holds, as far inside as possible."""
    for part in within.parts:
        if part.vertex is None and inside <= (held := set(part.members())):
            if inside != held:
                _enclose(part, inside, block)
            return
    chosen = [part for part in within.parts if inside.issuperset(part.members())]
    if len(chosen) > 1:
        at = within.parts.index(chosen[0])
        rest = [part for part in within.parts if part not in chosen]
        rest.insert(at, _Part(block["name"], None, block["kind"], chosen))
        within.parts = rest


def _grouped(parts: Sequence[_Part]) -> list[_Part]:
    """Neighbours whose names are the same up to a number become one part."""
    runs: list[tuple[str, list[_Part]]] = []
    for part in parts:
        match = _NUMBERED.match(part.name)
        name = match[1] if match else ""
        if name and runs and runs[-1][0] == name:
            runs[-1][1].append(part)
        else:
            runs.append((name, [part]))
    taken = {block.name for block in _blocks(parts)}
    return [
        run[0] if len(run) == 1 else _Part(_free(name, taken), None, "group", run)
        for name, run in runs
    ]


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "·"
    taken.add(name)
    return name


def _draw(parts: Sequence[_Part], outline: Record, around: _Part | None) -> _Figure:
    """The drawing of neighbouring parts; in a block, with its way in and its way out."""
    figures = [_figure(part, outline, around) for part in parts]
    owner = {v: at + 1 for at, part in enumerate(parts) for v in part.members()}
    last = len(parts) + 1
    found = {(owner.get(a, 0), owner.get(b, last)) for a, b in outline["edges"]}
    found = {(min(pair), max(pair)) for pair in found if pair[0] != pair[1]}
    edges = sorted(pair for pair in found if around is not None or not {0, last} & set(pair))
    edges = [pair for pair in edges if pair != (0, last)]
    shift = 0 if around is not None else 1
    sizes = [(figure.width, figure.height) for figure in figures]
    if around is not None:
        sizes = [(1.0, 0.0), *sizes, (1.0, 0.0)]
    plan = layered(sizes, [(a - shift, b - shift) for a, b in edges], rise=16.0)
    whole = _Figure(plan.width, plan.height, edges=list(plan.routes))
    for figure, (x, y) in zip(figures, plan.places[1 - shift :], strict=False):
        whole.put(figure, x, y)
    return whole


def _figure(part: _Part, outline: Record, around: _Part | None) -> _Figure:
    if part.vertex is not None:
        return _node(outline["vertices"][part.vertex], part.vertex, around)
    return _block(part, outline)


def _node(vertex: Record, at: int, around: _Part | None) -> _Figure:
    role, name = vertex["role"], str(vertex["name"])
    label = vertex["op"] if role == "joint" else _short(_within(name, around))
    width = PAD * 2 + LETTER * len(label)
    if role == "layer":
        width = max(NARROWEST, width + VALUE)
    height = LAYER_HEIGHT if role == "layer" else JOINT_HEIGHT
    ops = [op for op in (vertex["op"], *vertex["after"]) if op]
    node = {
        "id": f"wb-node-{at}",
        "name": name,
        "label": label,
        "role": role,
        "tip": f"{name} · {', then '.join(ops[:6])}" if ops else f"{name} · {role}",
        "x": 0.0,
        "y": 0.0,
        "w": width,
        "h": height,
    }
    return _Figure(width, height, nodes=[node])


def _block(part: _Part, outline: Record) -> _Figure:
    """A box; where it is open, with its inside."""
    members = [outline["vertices"][v] for v in part.members()]
    names = [vertex["name"] for vertex in members if vertex["role"] == "layer"]
    label = _short(part.name)
    wide = PAD * 3 + LETTER * len(label)
    inner = _draw(part.parts, outline, part) if part.open else _Figure(height=LAYER_HEIGHT)
    width = max(inner.width + PAD * 2, wide, NARROWEST)
    if not part.open:
        width = max(NARROWEST, wide + VALUE + PAD)
    height = inner.height + HEAD if part.open else LAYER_HEIGHT
    block = {
        "id": f"wb-block-{part.members()[0]}-{len(members)}",
        "name": part.name,
        "label": label,
        "kind": part.kind,
        "open": part.open,
        "layers": names,
        "tip": f"{part.name} · {part.kind}, {strings.plural(len(names), 'layer')}",
        "x": 0.0,
        "y": 0.0,
        "w": width,
        "h": height,
    }
    whole = _Figure(width, height, blocks=[block])
    if part.open:
        whole.put(inner, (width - inner.width) / 2, HEAD)
    return whole


def _within(name: str, around: _Part | None) -> str:
    """A name without what the block around it says already."""
    if around is None or not name.startswith(around.name):
        return name
    return name[len(around.name) :].lstrip("./_") or name


def _short(name: str) -> str:
    """The beginning and the end of a long name."""
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST // 2 - 2]}…{name[-(LONGEST // 2 + 1) :]}"
