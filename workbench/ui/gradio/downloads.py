"""Files of runs where Gradio serves them: copies in its folder, under names nobody guesses."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder

from workbench.session.store import replacing


def served(path: Path, key: str, run: str) -> dict[str, Any]:
    """A copy of a file as the page takes it; copied anew only when the file has changed.

    Args:
        path: of the file.
        key: of the page whose it is, which only its browser knows; run: name of the run.
    """
    about = path.stat()
    about_it = f"{key}/{run}/{about.st_mtime_ns}/{about.st_size}"
    folder = Path(get_upload_folder()) / hashlib.sha256(about_it.encode()).hexdigest()
    copy = folder / path.name
    if not copy.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(copy) as temporary:
            shutil.copyfile(path, temporary)
    kind = {"_type": "gradio.FileData"}
    return {"path": str(copy), "orig_name": path.name, "size": about.st_size, "meta": kind}
