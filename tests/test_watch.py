"""The watched page of conftest.py sees what it is there to see."""

from __future__ import annotations

import pytest
from playwright.sync_api import Error, Page

pytestmark = pytest.mark.browser


def test_a_quiet_page_is_clean(page: Page, watch):
    page.set_content("<p>hello</p>")
    watch.assert_clean()


def test_console_errors_are_noted(page: Page, watch):
    page.set_content("<script>console.error('one'); throw new Error('two')</script>")
    noted = sorted(watch.console_errors)
    watch.console_errors.clear()
    assert noted[0].startswith("one")
    assert "two" in noted[1]


def test_external_requests_are_noted(page: Page, watch):
    page.context.route("**/*", lambda route: route.abort())
    with pytest.raises(Error):
        page.goto("http://elsewhere.invalid/")
    noted = list(watch.external_requests)
    watch.external_requests.clear()
    watch.console_errors.clear()
    assert noted == ["http://elsewhere.invalid/"]
