"""Records of the app's speed as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.ui.budgets import verdicts


def page(record: Mapping[str, Any]) -> str:
    """All tables."""
    about = record["about"]
    head = f"Measured {about['date']} on {about['machine']}, load {about['load']}."
    lines = ["## How fast the app is: `make bench-ui`", "", head, "", *_budgets(record)]
    if person := record.get("person"):
        lines += ["", *_person(person)]
    if newcomer := record.get("newcomer"):
        lines += ["", *_newcomer(newcomer)]
    if notebook := record.get("notebook"):
        lines += ["", "Widgets in JupyterLab, milliseconds:", "", *_times(notebook)]
    if crowd := record.get("class"):
        lines += ["", *_class(crowd)]
    return "\n".join(lines) + "\n"


def _budgets(record: Mapping[str, Any]) -> Iterator[str]:
    yield "| budget | measured | may be | held |"
    yield "|---|--:|--:|---|"
    for each in verdicts(record):
        value = "not measured" if each.value is None else f"{each.value:g} {each.unit}"
        yield f"| {each.words} | {value} | {each.most:g} {each.unit} | {_yes(each.held)} |"


def _person(person: Mapping[str, Any]) -> Iterator[str]:
    yield "One person in Chromium, milliseconds:"
    yield ""
    yield from _times({k: v for k, v in person.items() if isinstance(v, Mapping)})
    if not person["job_ran_throughout"]:
        yield ""
        yield "The job ended before the last of these was measured."


def _newcomer(newcomer: Mapping[str, Any]) -> Iterator[str]:
    yield f"A newcomer's clicks, {newcomer['seconds']:g} s until the file was there:"
    yield ""
    for number, click in enumerate(newcomer["clicks"], 1):
        yield f"{number}. {click['words']} ({click['seconds']:g} s)"
    cured = newcomer["cured"] or "none: each was put back"
    yield ""
    yield f"The cure that was kept: {cured}. The verdict: {newcomer['verdict']}."


def _times(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "| what | times | median | worst |"
    yield "|---|--:|--:|--:|"
    for name, each in found.items():
        median, worst = each.get("median_ms", ""), each.get("worst_ms", "")
        yield f"| {name.replace('_', ' ')} | {each['count']} | {median} | {worst} |"


def _class(crowd: Mapping[str, Any]) -> Iterator[str]:
    memory = crowd["memory_mib"]
    yield f"{crowd['browsers']} browsers, {crowd['minutes']:g} minutes, milliseconds:"
    yield ""
    yield "| what | times | median | 95 % | worst | bytes |"
    yield "|---|--:|--:|--:|--:|--:|"
    for name, found in {**crowd["interactions"], "all cheap ones": crowd["cheap"]}.items():
        if found["count"]:
            cells = (found["median_ms"], found["p95_ms"], found["worst_ms"], found.get("bytes", ""))
            yield f"| {name} | {found['count']} | {' | '.join(map(str, cells))} |"
    yield ""
    yield (
        f"Server: {crowd['server_cores']} cores on average; {memory['before']} MiB before,"
        f" {memory['during']} MiB at most, {memory['after']} MiB after the tabs were closed."
        f" Longest queue of jobs seen by a page: {crowd['longest_queue']};"
        f" highest place in Gradio's queue: {crowd['highest_rank']};"
        f" errors: {len(crowd['errors'])}."
    )
    for error in crowd["errors"][:10]:
        yield f"- `{error}`"


def _yes(held: bool) -> str:
    return "yes" if held else "**no**"
