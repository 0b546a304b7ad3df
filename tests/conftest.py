"""Fixtures that every test may use: fixed seeds, data that may be absent, and a watched browser."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

# Before gradio or a hub client is imported: no test talks to the outside.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

import hypothesis
import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

ROOT = Path(__file__).resolve().parents[1]
NEEDS_DATA = {"capstone_paper_row"}  # notebooks
LOCAL_HOSTS = {"", "127.0.0.1", "localhost", "::1"}
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# Machines differ in speed, and a failure seen once must be seen again.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")


def pytest_configure(config: pytest.Config) -> None:
    """Two test workers share the cores with one thread each; a lone run takes two."""
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark notebooks, and keep the browser tests of a file in one worker, which share a server.

    Browsers have races of their own: their tests are tried twice, and the summary names those that
    failed the first time.
    """
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker("notebook")
            item.add_marker("slow")
            if item.path.stem in NEEDS_DATA and data_folder() is None:
                item.add_marker(pytest.mark.skip(reason="no data sets: set WORKBENCH_DATA"))
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.xdist_group(f"browser-{item.path.stem}"))
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same random state."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test may use the global generator
    torch.manual_seed(0)


# --- data -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Larger data sets: $WORKBENCH_DATA, or the folder `shared/data` beside the checkout."""
    folder = data_folder()
    if folder is None:
        pytest.skip("no data sets: set WORKBENCH_DATA to their folder")
    return folder


def data_folder() -> Path | None:
    """Where the larger data sets lie, if they are here."""
    given = os.environ.get("WORKBENCH_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


# --- browser --------------------------------------------------------------------------------------


@dataclass
class Watch:
    """What a page said on its console and asked of the network.

    A page is clean when it logged no error and asked nothing of another machine. A test that
    provokes an error on purpose clears the list afterwards.
    """

    console_errors: list[str] = field(default_factory=list)
    external_requests: list[str] = field(default_factory=list)

    def attach(self, page: Page) -> None:
        """Listen to `page` from now on."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        page.on("request", self._request)

    def assert_clean(self) -> None:
        """Fail with everything that was noted."""
        assert not self.console_errors, f"console errors: {self.console_errors}"
        assert not self.external_requests, f"external requests: {self.external_requests}"

    def forgive_reload(self) -> None:
        """Forget requests that a reload of the page cut off; they are no fault of the page."""
        cut_off = ("AbortError", "Connection errored out")
        kept = [text for text in self.console_errors if not any(word in text for word in cut_off)]
        self.console_errors[:] = kept

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            where = message.location.get("url", "")
            self.console_errors.append(f"{message.text} ({where})")

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        inline = address.scheme in {"data", "blob", "about"}
        if not inline and (address.hostname or "") not in LOCAL_HOSTS:
            self.external_requests.append(request.url)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium: $WORKBENCH_CHROMIUM, or one on the PATH."""
    named = os.environ.get("WORKBENCH_CHROMIUM")
    path = named or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if path is None:
        pytest.skip("no Chromium: install the package 'chromium', or set WORKBENCH_CHROMIUM")
    return path


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A headless Chromium for the tests of one module.

    Not for the whole session: Playwright keeps an event loop running in this thread meanwhile,
    and notebooks and asyncio tests need the thread for their own.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_ARGS))
        yield browser
        browser.close()


@pytest.fixture
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and relative paths of a test stay in its own folder, and tables have room."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """(exit code, standard output, standard error) of a command."""
    from workbench.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def watch() -> Watch:
    """The console errors and external requests of this test's `page`."""
    return Watch()


@pytest.fixture
def page(browser: Browser, watch: Watch) -> Iterator[Page]:
    """A fresh page in its own context; the test fails if it was not clean (see `Watch`)."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    watch.attach(page)
    yield page
    context.close()
    watch.assert_clean()
