"""Who may enter, what is refused, and a page that asks nobody else."""

from __future__ import annotations

import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from workbench.foundation.errors import WorkbenchError
from workbench.ui.gradio import offline
from workbench.ui.gradio.serving import STUDENT, Serving, join_code, serving, users_of


def test_only_this_machine_needs_no_password() -> None:
    assert Serving().enter is None
    assert Serving(host="localhost").greeting is None
    with pytest.raises(WorkbenchError, match=r"'0\.0\.0\.0' can be reached by others.*--classroom"):
        Serving(host="0.0.0.0")
    assert Serving(host="0.0.0.0", code="AB12CD").guarded


def test_users_have_their_own_passwords_and_a_class_one_code() -> None:
    enter = Serving(users={"ann": "secret"}, code="AB12CD").enter
    assert enter is not None
    assert enter("ann", "secret")
    assert not enter("ann", "AB12CD")  # a name that has a password is nobody else's
    assert enter("Bob the 2nd", " ab12cd ")
    assert not enter("bob", "AB12CE")
    assert not enter("<img src=x>", "AB12CD")
    assert not enter("", "AB12CD")
    alone = Serving(users={"ann": "secret"}).enter
    assert alone is not None
    assert not alone("bob", "")


def test_codes_differ_and_can_be_read_aloud() -> None:
    codes = {join_code() for _ in range(50)}
    assert len(codes) == 50
    assert all(len(code) == 6 and not set(code) & set("01OI") for code in codes)
    assert STUDENT.fullmatch("Zoë O'Brien-Smith")


def test_users_come_from_words_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "class").write_text("ann:a\nbob:b:c\n")
    assert users_of([str(tmp_path / "class"), "eve:e"]) == {"ann": "a", "bob": "b:c", "eve": "e"}
    with pytest.raises(WorkbenchError, match="NAME:PASSWORD"):
        users_of(["ann"])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_upload": "much"}, "'max_upload' was 'much'.*200mb"),
        ({"root_path": "here there"}, "'root_path' was .*a path such as"),
        ({"port": 70_000}, "'port' was 70000.*at most 65535"),
        ({"prot": 1}, "no option 'prot'"),
    ],
)
def test_faults_name_the_value_and_the_cure(values, words: str) -> None:
    with pytest.raises(WorkbenchError, match=words):
        serving(**values)


def test_a_password_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_PASSWORD", "secret")
    enter = serving().enter
    assert enter is not None
    assert enter("workbench", "secret")
    assert "secret" not in repr(serving())


def test_without_a_browser_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline.shutil, "which", lambda _: None)
    with pytest.raises(WorkbenchError, match="install Chromium"):
        offline.look("http://127.0.0.1:1")


def test_a_log_that_was_cut_off_is_read() -> None:
    own = "http://127.0.0.1:1"
    log = {
        "constants": {"logEventTypes": {"URL_REQUEST_START_JOB": 2, "OTHER": 3}},
        "events": [
            {"type": 2, "params": {"url": f"{own}/", "initiator": "not an origin"}},
            {"type": 2, "params": {"url": f"{own}/a.js", "initiator": own}},
            {"type": 2, "params": {"url": "https://example.org/font.woff", "initiator": own}},
            {"type": 2, "params": {"url": "http://home.example/", "initiator": "not an origin"}},
            {"type": 3, "params": {"url": "https://example.org/none", "initiator": own}},
            {"type": 2},
        ],
    }
    found = list(offline._addresses(log, own))
    assert found == [f"{own}/", f"{own}/a.js", "https://example.org/font.woff"]


@pytest.mark.browser
@pytest.mark.slow
def test_the_page_asks_nobody_but_the_app(served) -> None:
    found = offline.look(served.url)
    assert found.own > 5
    assert found.others == ()


@pytest.mark.slow
def test_a_connection_stays_longer_than_a_page_waits(served) -> None:
    place = urlsplit(served.url)
    connection = HTTPConnection(str(place.hostname), place.port or 80, timeout=30)
    connection.request("GET", "/config")
    connection.getresponse().read()
    before = connection.sock
    time.sleep(6)
    connection.request("GET", "/config")
    assert connection.getresponse().status in (200, 401)
    assert connection.sock is before
    connection.close()
