"""A look at the running page through a browser of this machine: does it ask anyone else?

The browser is started without a window and writes down every request that it makes; those for
another host than the app's are listed. What the browser asks for by itself is not the page's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from workbench.foundation.errors import WorkbenchError

BROWSERS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
    "microsoft-edge",
)  # fmt: skip
_QUIET = (
    "--headless=new", "--no-first-run", "--no-default-browser-check", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps",
    "--disable-extensions", "--metrics-recording-only", "--no-pings", "--no-sandbox",
)  # fmt: skip
_SCHEMES = ("http:", "https:", "ws:", "wss:")
_SECONDS = 120.0


@dataclass(frozen=True)
class Requests:
    """What a page asked for.

    Attributes:
        own: number of requests to the app itself; others: addresses of all others.
    """

    own: int
    others: tuple[str, ...]


def look(url: str, wait_ms: int = 8_000) -> Requests:
    """Open a page for some time, and list its requests.

    Args:
        url: of the app.
        wait_ms: how long the page may go on asking.

    Raises:
        WorkbenchError: this machine has no browser that can tell, or it did not come to the page.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise WorkbenchError(
            "no browser was found that can list its requests; install Chromium, Chrome or Edge"
        )
    with TemporaryDirectory() as folder:
        net = Path(folder) / "net.json"
        command = [browser, *_QUIET, f"--user-data-dir={folder}/profile", f"--log-net-log={net}"]
        command += [f"--timeout={wait_ms}", "--dump-dom", url]
        try:
            subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise WorkbenchError(f"the browser did not open '{url}' in {_SECONDS:.0f} s") from None
        address = urlsplit(url)
        found = list(_addresses(_read(net), f"{address.scheme}://{address.netloc}"))
    host = address.netloc
    own = sum(urlsplit(address).netloc == host for address in found)
    if not own:
        raise WorkbenchError(f"the browser did not come to '{url}'")
    others = sorted({a for a in found if urlsplit(a).netloc != host})
    return Requests(own, tuple(others))


def _read(path: Path) -> Mapping[str, Any]:
    """The log; one that was cut off is closed."""
    text = path.read_text(encoding="utf-8") if path.exists() else "{}"
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return json.loads(text.rstrip().rstrip(",") + "]}")


def _addresses(log: Mapping[str, Any], origin: str) -> Iterator[str]:
    """Addresses of all requests that the page began, or that went to its host."""
    types = log.get("constants", {}).get("logEventTypes", {})
    wanted = {types.get("URL_REQUEST_START_JOB"), types.get("CORS_REQUEST")} - {None}
    for event in log.get("events", ()):
        about = event.get("params") or {}
        url = str(about.get("url", ""))
        own = url.startswith(f"{origin}/") or about.get("initiator") == origin
        if own and event.get("type") in wanted and url.startswith(_SCHEMES):
            yield url
