"""Causes, cures and the proof of one, from records as the engine makes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from workbench.views import causes, strings, trial

Record = dict[str, Any]


def cause(name: str, removed: float, cures: list[str], site: str = "fc.weight") -> Record:
    return {
        "cause": name, "title": name.title(), "site": site, "sentence": f"it is {name}",
        "before_db": 10.0, "after_db": 20.0, "before": 1e-3, "after": 1e-3 * (1 - removed),
        "removed": 1e-3 * removed, "whose": "the damage", "cures": cures, "evidence": {},
    }  # fmt: skip


def cure(number: int, name: str, of: str, gain: float | None, more: int = 0) -> Record:
    return {
        "number": number, "name": name, "words": f"take {name}", "cause": of, "site": "fc.weight",
        "edit": {"weights": {"bits": 5}}, "predicted_gain": gain,
        "predicted_damage": None if gain is None else 1e-3 - gain,
        "bytes": 1000 + more, "more_bytes": more, "bops": 1e6 + more, "more_bops": float(more),
    }  # fmt: skip


FOUND = {
    "layer": "fc", "damage": 1e-3, "bytes": 1000, "bops": 1e6,
    "causes": [
        cause("upstream", 0.9, ["gram"]),
        cause("few-bits", 0.7, ["gram", "5-bit", "8-bit"]),
        cause("clipping", 0.3, ["minmax"], "image"),
    ],
    "cures": [
        cure(1, "gram", "upstream", None),
        cure(2, "5-bit", "few-bits", 7e-4, 100),
        cure(3, "8-bit", "few-bits", 9e-4, 400),
    ],
}  # fmt: skip


def test_causes_keep_their_order_and_say_their_share() -> None:
    view = causes.panel("fc", FOUND, place=(2, 9))
    json.dumps(view, allow_nan=False)
    assert [each["name"] for each in view["causes"]] == ["upstream", "few-bits", "clipping"]
    assert view["causes"][0]["share"]["text"] == "90 %"
    assert view["causes"][0]["sentence"] == "It is upstream."
    assert view["status"] == "1.00 mnat by itself · 2 of 9 by damage"
    assert [each["site"] for each in view["causes"]] == ["", "", "image"]


def test_a_cure_says_gain_and_cost_and_is_offered_once() -> None:
    first, second, third = causes.panel("fc", FOUND)["causes"]
    assert [c["gain"] for c in first["cures"]] == [strings.ONLY_A_TRIAL]
    assert [c["gain"] for c in second["cures"]] == ["−70 % damage", "−90 % damage"]
    assert [c["cost"] for c in second["cures"]] == ["+100 B", "+400 B"]
    assert second["also"] == "see above: gram"
    assert third["cures"] == []
    assert second["cures"][0]["send"] == {"kind": "cure", "layer": "fc", "number": 2}


def test_the_best_value_is_the_cheapest_that_gains_half_of_the_most() -> None:
    marked = [c["best"] for each in causes.panel("fc", FOUND)["causes"] for c in each["cures"]]
    assert marked == ["", strings.BEST_VALUE, ""]
    dear = {
        **FOUND,
        "cures": [cure(1, "5-bit", "few-bits", 1e-4), cure(2, "8-bit", "few-bits", 9e-4)],
    }
    marked = [c["best"] for each in causes.panel("fc", dear)["causes"] for c in each["cures"]]
    assert marked == ["", strings.BEST_VALUE]


def test_no_cure_begins_while_one_is_tried() -> None:
    view = causes.panel("fc", FOUND, busy=True)
    assert all(c["disabled"] for each in view["causes"] for c in each["cures"])


def test_every_state_says_something() -> None:
    assert causes.panel("fc", {**FOUND, "causes": []})["message"] == strings.WHY_NONE
    assert causes.waiting("fc", "looking", {"text": "", "fraction": 0.5})["progress"] == {
        "text": "Looking…", "fraction": 0.5,
    }  # fmt: skip
    assert causes.unknown("fc")["actions"][0]["send"] == {"kind": "look", "layer": "fc"}
    failed = causes.unknown("fc", "no memory")
    assert (failed["message"], failed["actions"][0]["label"]) == ("no memory", strings.LOOK_AGAIN)


@pytest.mark.parametrize(
    ("score", "chosen"), [(80.0, 0.01), (97.3, 0.005), (97.9, 0.0), (99.0, 0.0)]
)
def test_the_proposed_goal_is_not_reached_yet(score: float, chosen: float) -> None:
    scores = {"float": {"score": 98.0, "metric": "top-1"}, "learned": {"score": score}}
    auto = causes.automatic(scores, 1000, busy=False)
    assert auto["goals"][auto["chosen"]]["value"] == chosen
    assert [each["value"] for each in auto["budgets"]] == [None, 1000, 1050, 1100, 1250]


def test_bits_per_byte_are_better_when_lower() -> None:
    scores = {"float": {"score": 2.0, "metric": "bits/byte"}, "learned": {"score": 2.2}}
    auto = causes.automatic(scores, 1000, busy=False)
    assert auto["goals"][auto["chosen"]]["label"] == "1 % off float"


def judged(score: float, kl: float, size: int) -> Record:
    return {
        "score": score, "float_score": 98.0, "unit": "%", "lower_is_better": False, "kl": kl,
        "bytes": size, "bops": 1e6,
    }  # fmt: skip


def outcome(kept: bool, proof: Record | None = None) -> Record:
    before, after = judged(90.0, 8e-3, 1000), judged(95.0, 4e-3, 1100)
    step = {
        "layer": "fc", "cause": "few-bits", "sentence": "why", "cure": "5-bit", "words": "5 bits",
        "before": before, "after": after, "kept": kept,
    }  # fmt: skip
    return {"steps": [step], "end": "over", "before": before, "after": after, "proof": proof}


def job(state: str, making: Record | None = None, problem: str = "") -> Record:
    step = {"text": "trying", "fraction": 0.25, "seconds": 10.0}
    return {"state": state, "step": step, "making": making, "problem": problem}


PROOF = {"weights_db": [19.0, 25.0], "input_db": [40.0, 40.0], "damage": [3e-4, 6e-5]}


def test_what_was_kept_is_no_longer_tried() -> None:
    view = trial.trial(outcome(True), job("running"), words="5 bits")
    assert view["title"] == "Kept: 5 bits"
    assert view["progress"]["text"].startswith("The cured run is being made")
    view = trial.trial({**outcome(True), "steps": []}, job("running"), words="5 bits")
    assert view["progress"]["text"].startswith("Trying")


def test_a_proof_has_every_number_before_and_after() -> None:
    view = trial.trial(
        outcome(True, PROOF), job("done"), words="5 bits", adopted=True, total_db=(10.0, 9.0)
    )
    json.dumps(view, allow_nan=False)
    rows = {row["label"]: (row["before"], row["after"], row["tone"]) for row in view["rows"]}
    assert view["title"] == "Kept: 5 bits"
    assert rows["score, float 98.0"] == ("90.0", "95.0", "good")
    assert rows[strings.PROOF_KL] == ("8.00", "4.00", "good")
    assert rows[strings.PROOF_DAMAGE] == ("0.300", "0.060", "good")
    assert rows[strings.PROOF_WEIGHTS] == ("19.0", "25.0", "good")
    assert rows[strings.PROOF_TOTAL] == ("10.0", "9.0", "bad")
    assert rows[strings.PROOF_SIZE] == ("1.0 kB", "1.1 kB", "plain")
    assert strings.PROOF_INPUT not in rows
    assert [each["send"]["kind"] for each in view["actions"]] == ["back", "dismiss"]


def test_weights_that_became_float_say_so() -> None:
    proof = {"weights_db": [19.0, None], "input_db": [None, None], "damage": [3e-4, 0.0]}
    rows = trial.trial(outcome(True, proof), job("done"), words="float")["rows"]
    assert next(row for row in rows if row["label"] == strings.PROOF_WEIGHTS)["after"] == "float"


def test_what_was_put_back_says_so() -> None:
    view = trial.trial(outcome(False, PROOF), job("done"), words="5 bits")
    assert (view["state"], view["note"]) == ("dropped", strings.TRIAL_WAS)
    assert view["title"] == "Put back: 5 bits"


def test_how_long_it_will_take_and_a_way_to_stop() -> None:
    view = trial.trial({}, job("running"), words="5 bits")
    assert view["progress"] == {"text": "Trying · about 30 s left", "fraction": 0.25}
    assert view["actions"][0]["send"] == {"kind": "stop"}
    assert view["rows"] == []
    made = trial.trial(
        outcome(True, PROOF), job("running", {"fraction": 0.5, "eta_seconds": 12.0}), words="5 bits"
    )
    assert made["progress"]["fraction"] == pytest.approx(0.625)
    assert "about 12 s left" in made["progress"]["text"]
    assert made["rows"]  # the proof is there before the run is made


def test_an_automatic_cure_tells_its_story() -> None:
    running = trial.trial(outcome(True), job("running"), words="")
    assert running["progress"] == {"text": "1 cure tried, 1 kept · 10 s", "fraction": None}
    done = trial.trial(outcome(True), job("done"), words="", adopted=True)
    assert done["steps"][0]["numbers"] == "90.0 → 95.0 %, KL 8.00 → 4.00 mnat, +100 B"
    idle = trial.trial({**outcome(True), "steps": []}, job("done"), words="")
    assert idle["note"] == strings.AUTO_HEALTHY


def test_a_failure_is_a_sentence() -> None:
    view = trial.trial({}, job("failed", problem="no memory"), words="5 bits")
    assert (view["note"], view["tone"]) == ("no memory", "bad")


def test_exceptions_of_a_recipe_in_words() -> None:
    assert strings.exception({"pattern": "tensor:fc.weight", "weights": 0}) == "float for fc.weight"
    both = {"pattern": "fc", "weights": 8, "activations": 16}
    assert strings.exception(both) == "8 bit, 16 bit activations for fc"


def test_beside_another_layer_the_outcome_is_one_line() -> None:
    view = trial.trial(outcome(True, PROOF), job("done"), words="5 bits", adopted=True, here=False)
    assert (view["title"], view["rows"], view["note"]) == ("Kept: 5 bits", [], "")
