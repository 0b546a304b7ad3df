"""A sitting in front of a demo as a view-model, and the list of demos as cards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from workbench.lessons.base import Answer, Demo, Question
from workbench.lessons.controls import controls
from workbench.lessons.panels import Reading
from workbench.lessons.registry import DEMOS, TOPICS, ordered
from workbench.lessons.sitting import Sitting
from workbench.views.numbers import MINUS

View = dict[str, Any]
_LARGE, _SMALL = 1e5, 1e-3


def view(sitting: Sitting) -> View:
    """Everything that is drawn; what is veiled before the guess is not in it."""
    demo = sitting.built()
    if demo is None:
        return {"topics": index(), "problem": sitting.problem}
    entry = DEMOS[sitting.demo]
    scene, shown = demo.scene(), sitting.revealed
    order = [each.name for each in ordered()]
    place = order.index(entry.name)
    return {
        "name": entry.name,
        "title": entry.title,
        "description": entry.description,
        "citation": entry.citation,
        "before": order[place - 1] if place else None,
        "next": order[place + 1] if place + 1 < len(order) else None,
        "controls": _controls(demo),
        "changed": bool(sitting.options),
        "question": question(demo, sitting),
        "panels": [
            panel.record() if shown or not _veiled(panel) else _hidden(panel)
            for panel in scene.panels
        ],
        "readings": [reading(each) for each in scene.readings if shown or not each.veiled],
        "explanation": _paragraphs(demo.explanation()) if shown else [],
        "code": demo.code() if shown else "",
        "revealed": shown,
        "problem": sitting.problem,
    }


def index() -> list[View]:
    """Cards of all demos by topic, topics without any left out."""
    cards = [
        {
            "name": entry.name,
            "title": entry.title,
            "description": entry.description,
            "topic": entry.facts["topic"],
        }
        for entry in ordered()
    ]
    groups = [{"title": t, "cards": [c for c in cards if c["topic"] == t]} for t in TOPICS]
    return [group for group in groups if group["cards"]]


def question(demo: Demo, sitting: Sitting) -> View:
    """The question, and after the guess whether it was right for the present options."""
    asked, shown = demo.question(), sitting.revealed
    found: View = {
        "text": asked.text,
        "choices": list(asked.choices),
        "unit": asked.unit,
        "guess": sitting.guess,
        "answered": shown,
    }
    if not shown:
        return found
    answer = demo.answer()
    right = None if sitting.guess is None else asked.accepts(sitting.guess, answer)
    return {**found, "answer": said(asked, answer), "choice": answer, "right": right,
            "guessed": said(asked, sitting.guess)}  # fmt: skip


def said(question: Question, answer: Answer | None) -> str:
    """An answer as text with its unit."""
    if answer is None or isinstance(answer, str):
        return answer or ""
    return f"{short(answer)} {question.unit}".strip()


def reading(record: Reading) -> View:
    """A reading with its value as text."""
    value = record.value
    text = value if isinstance(value, str) else short(value)
    return {**record.record(), "text": text}


def short(value: float) -> str:
    """Four significant digits at most, without a tail of zeros.

    Example:
        >>> short(0.031250), short(-12), short(1234.56), short(2.5e-7)
        ('0.03125', '−12', '1235', '2.5e−07')
    """
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < _LARGE):
        return f"{value:.0f}".replace("-", MINUS)
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    text = f"{value:.3g}" if size >= _LARGE or size < _SMALL else f"{value:.4g}"
    return text.replace("-", MINUS)


def _controls(demo: Demo) -> list[View]:
    values: Mapping[str, Any] = demo.options.model_dump(mode="json")
    return [
        {**record, "value": values[record["name"]], "label": record["name"].replace("_", " ")}
        for record in controls(type(demo.options))
    ]


def _veiled(panel: Any) -> bool:
    return bool(panel.veiled)


def _hidden(panel: Any) -> View:
    """A panel before the guess: only that there is one."""
    return {"kind": "veiled", "title": panel.title}


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
