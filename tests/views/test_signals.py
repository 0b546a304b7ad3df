"""From events to the view of learning signals, and what the browser makes of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from workbench.views import signals as view_of
from workbench.views.assets import script, style
from workbench.views.report import embed

Record = dict[str, Any]


def step(site: str, number: int, loss: float, **sites: dict[str, float]) -> Record:
    """A report of a unit at a step, with values of its sites."""
    values = {"step": number, "loss": loss, "output_error": loss / 2, "reconstruction": loss / 2}
    values |= {"gradient": 0.1, "held_out": loss, "flips": 0.2, "open": 0.5}
    counts = {"h": [number] + [1] * 9, "latent": [2] * 10}
    held = {name: {"values": found, "counts": counts} for name, found in sites.items()}
    return {"kind": "step", "site": site, "values": values, "counts": counts, "sites": held}


def run() -> list[Record]:
    """Two units, one of them with two sites, and a concern."""
    return [
        step("stem", 1, 4.0, w={"scale": 0.5}),
        step("stem", 50, 2.0, w={"scale": 0.6}),
        {"kind": "note", "site": "w", "concern": "dead", "text": "'w' is dead; calibrate"},
        step("block", 1, 8.0, a={"scale": 1.0}, b={"scale": 2.0, "clipped": 0.1}),
        step("block", 50, 1.0),
    ]


def test_units_come_in_order_with_their_series():
    view = view_of.signals(run(), None, "done", "W4A4")
    assert view["title"] == "Learning, site by site · W4A4"
    assert view["reports"] == 4
    stem, block = view["units"]
    assert (stem["steps"], stem["at"]) == ([1, 50], [0, 1])
    assert stem["series"]["held_out"] == [4.0, 2.0]
    assert stem["parts"] == ["output_error"]
    assert stem["h"] == [[1] + [1] * 9, [50] + [1] * 9]
    assert stem["latent"] == [[2] * 10] * 2
    assert [site["name"] for site in block["sites"]] == ["a", "b"]
    assert block["sites"][1]["series"] == {"scale": [2.0], "clipped": [0.1]}
    assert block["sites"][1]["at"] == [2]
    assert view["concerns"] == [{"kind": "dead", "site": "w", "text": "'w' is dead; calibrate"}]
    json.dumps(view, allow_nan=False)


def test_the_current_unit_is_marked_while_it_runs():
    view = view_of.signals(run(), {"fraction": 0.5, "text": "block"}, "running")
    assert [unit["current"] for unit in view["units"]] == [False, True]
    assert view["status"] == "block"


def test_layers_solved_in_one_go_fall_from_nearest_to_learned():
    values = {"error_nearest": 0.02, "error_learned": 0.01, "flips": 0.1}
    sites = {"w": {"values": {"flips": 0.3, "scale": 0.5}}}
    events = [{"kind": "layer", "site": "a", "values": values, "sites": sites}]
    (unit,) = view_of.signals(events, None, "done")["units"]
    assert unit["series"]["reconstruction"] == [0.02, 0.01]
    assert unit["at"] == [0, 0]
    assert unit["series"]["flips"][-1] == 0.3
    assert unit["series"]["scale"][-1] == 0.5
    assert unit["parts"] == []


def test_epochs_are_one_unit_and_ranges_another():
    ranges = [
        {"kind": "step", "site": name, "sites": {name: {"values": {"scale": 1.0}}}} for name in "ab"
    ]
    epochs = [{"kind": "layer", "site": f"epoch {k}", "values": {"loss": 1 / k}} for k in (1, 2, 4)]
    first, second = view_of.signals([*ranges, *epochs], None, "done")["units"]
    assert [site["name"] for site in first["sites"]] == ["a", "b"]
    assert (second["name"], second["layer"], second["steps"]) == ("network", None, [1, 2, 4])


def test_two_stages_of_one_layer_are_two_units():
    events = [{**event, "stage": stage} for stage in (0, 1) for event in run()]
    names = [unit["name"] for unit in view_of.signals(events, None, "done")["units"]]
    assert names == ["1 · stem", "1 · block", "2 · stem", "2 · block"]


def test_long_runs_are_thinned_and_keep_both_ends():
    events = [step("stem", k, 1.0 + k) for k in range(1000)]
    (unit,) = view_of.signals(events, None, "done")["units"]
    assert len(unit["at"]) == view_of.MOST_POINTS
    assert (unit["steps"][0], unit["steps"][-1]) == (0, 999)


def epochs(count: int) -> list[Record]:
    """A trained network that says three times an epoch how it learns, and once more than that."""
    found = []
    for k in range(3 * count):
        sites = {name: {"scale": 1.0 + k} for name in "ab"} if k % 3 == 1 else {}
        found.append(step(f"epoch {k // 3 + 1}", k + 1, 9.0 / (k + 1), **sites))
        found[-1]["step"] = k + 1
        found[-1]["values"] |= {"agreement": 0.9 if k % 3 == 1 else None}
    return found


def test_what_is_measured_once_an_epoch_is_not_thinned_away():
    (unit,) = view_of.signals(epochs(40), None, "done")["units"]
    assert len(unit["at"]) == view_of.MOST_POINTS
    known = [value for value in unit["series"]["agreement"] if value is not None]
    assert len(known) == 40
    assert unit["series"]["loss"][1] == pytest.approx(9.0 / unit["steps"][1], rel=1e-3)


def test_numbers_that_are_none_are_gaps():
    events = run()
    events[1]["values"]["loss"] = None
    stem = view_of.signals(events, None, "done")["units"][0]
    assert stem["series"]["loss"] == [4.0, None]


def test_nothing_learned_is_said():
    assert view_of.signals([], None, "")["message"]
    assert view_of.signals(run(), None, "done")["message"] == ""


def test_one_line_for_a_terminal():
    assert view_of.line(run()) == (
        "block · loss 1 · held out 1 · gradient 0.1 · moved 20.0 % · undecided 50.0 %"
    )
    assert view_of.line([{"kind": "note", "text": "hello"}]) == ""


PAGE = """<!doctype html><style>{style}#at{{height:560px}}</style><div id="at"></div>
<script type="application/json" id="data">{data}</script><script>(() => {{{script}
window.model = JSON.parse(document.getElementById("data").textContent);
const listeners = [];
window.again = () => listeners.forEach((f) => f());
const on = (f) => listeners.push(f);
mountSignals(document.getElementById("at"), {{ get: () => window.model, on }});
}})()</script>"""


@pytest.fixture
def drawn(page):
    """The page with these events drawn."""

    def draw(events: list[Record], state: str = "done"):
        page.set_viewport_size({"width": 1300, "height": 700})
        data = embed(view_of.signals(events, None, state))
        page.set_content(PAGE.format(style=style(), data=data, script=script("signals")))
        return page

    return draw


pictures = pytest.mark.browser


@pictures
def test_a_row_for_each_unit_and_the_chosen_one_in_detail(drawn, watch):
    page = drawn(run())
    rows = page.locator(".wb-signal-list .wb-signal-row")
    assert rows.count() == 2
    rows.nth(1).click()
    assert [row.get_attribute("data-name") for row in rows.all()] == ["stem", "block", "a", "b"]
    titles = page.locator(".wb-signal-detail h3").all_inner_texts()
    assert {"Loss and its parts", "Learned from, and held out", "Gradient norm"} <= set(titles)
    assert {"h(V), as roundings harden", "Weights around their levels"} <= set(titles)
    assert page.locator(".wb-signal-detail svg").count() == len(titles)
    rows.nth(3).click()
    assert page.locator(".wb-signal-detail h2 .wb-name").get_attribute("title") == "b"
    page.locator(".wb-signal-list").press("ArrowUp")
    assert page.locator(".wb-signal-detail h2 .wb-name").get_attribute("title") == "a"
    watch.assert_clean()


@pictures
def test_lines_of_sites_go_on_to_the_right_where_reports_are_thinned(drawn):
    page = drawn(epochs(40))
    row = page.locator(".wb-signal-list .wb-signal-row[data-name=a] path").last
    xs = [
        float(part.split()[0])
        for part in re.split("[ML]", row.get_attribute("d"))[1:]
        if " " in part
    ]
    assert len(xs) == 40
    assert xs == sorted(xs)
    detail = page.locator(".wb-signal-detail section", has_text="Held-out examples").locator("path")
    assert detail.first.get_attribute("d").count("M") == 1  # a line, not a dot for each epoch


@pictures
def test_the_slider_goes_back_and_stays_there_while_more_arrives(drawn, watch):
    page = drawn(run())
    where = page.locator(".wb-signal-where")
    assert where.inner_text() == "4 of 4 · block, step 50"
    page.locator(".wb-slider").fill("1")
    assert where.inner_text() == "2 of 4 · stem, step 50"
    assert page.locator(".wb-signal-row[data-name=block] svg").count() == 0
    page.evaluate("window.again()")
    assert where.inner_text() == "2 of 4 · stem, step 50"
    page.locator(".wb-slider").fill("3")
    assert page.locator(".wb-signal-row[data-name=block] svg").count() > 0
    watch.assert_clean()


@pictures
def test_a_replay_plays_pauses_and_ends_at_the_last_report(drawn, watch):
    page = drawn([step("stem", number, 9.0 / number) for number in range(1, 61)])
    where = page.locator(".wb-signal-where")
    play = page.locator(".wb-play")
    assert play.get_attribute("aria-label") == "Play"
    page.locator(".wb-slider").fill("9")
    page.locator(".wb-slider").press(" ")
    assert play.get_attribute("aria-label") == "Pause"
    page.wait_for_function("parseInt(document.querySelector('.wb-signal-where').textContent) > 11")
    page.locator(".wb-signal-list").press(" ")
    assert play.get_attribute("aria-label") == "Play"
    held = where.inner_text()
    page.evaluate("window.again()")
    assert where.inner_text() == held
    assert 11 < int(held.split()[0]) < 60
    page.locator(".wb-slider").fill("50")
    page.get_by_label("Speed of the replay").select_option("4")
    play.click()
    page.wait_for_function("document.querySelector('.wb-play').textContent === '▶'")
    assert where.inner_text().startswith("60 of 60")
    play.click()  # from the end it begins again
    assert int(where.inner_text().split()[0]) < 60
    play.click()
    watch.assert_clean()


@pictures
def test_who_asked_for_less_motion_goes_from_report_to_report(drawn, watch):
    page = drawn(run())
    page.emulate_media(reduced_motion="reduce")
    page.evaluate("window.again()")
    where, play = page.locator(".wb-signal-where"), page.locator(".wb-play")
    seen = []
    for _ in range(4):
        play.press(" ")
        assert play.get_attribute("aria-label") == "Next report"
        seen.append(where.inner_text().split()[0])
    assert seen == ["1", "2", "3", "4"]
    watch.assert_clean()


@pictures
def test_a_concern_leads_to_its_site(drawn):
    concern = {"kind": "note", "site": "b", "concern": "dead", "text": "'b' is dead"}
    page = drawn([*run(), concern])
    page.locator(".wb-concerns button").last.click()
    chosen = page.locator(".wb-signal-row[aria-selected=true]")
    assert chosen.get_attribute("data-name") == "b"
    marked = page.locator(".wb-signal-row", has=page.locator(".wb-signal-name b"))
    assert [row.get_attribute("data-name") for row in marked.all()] == ["stem", "block", "b"]


@pictures
def test_hostile_names_stay_text(drawn):
    bad = "<img src=x onerror=window.hit=1>"
    page = drawn([step(bad, 1, 2.0, **{bad: {"scale": 1.0}})])
    assert page.locator(".wb-signal-row .wb-name").first.get_attribute("title") == bad
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0
