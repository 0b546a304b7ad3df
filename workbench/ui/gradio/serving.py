"""How the app is served: address, who may enter, how much may be sent, and where work is kept."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from workbench.foundation.errors import WorkbenchError
from workbench.foundation.options import Options, explain
from workbench.ui.gradio.limits import CLASSROOM, Limits

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
USER = "workbench"
STUDENT = re.compile(r"[\w .@'-]{1,60}")
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that is taken for another on a blackboard
_SIZE = re.compile(r"\d+\s*(kb|mb|gb)", re.IGNORECASE)
_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9}

Enter = Callable[[str, str], bool]


def _size(text: str) -> str:
    if not _SIZE.fullmatch(text):
        raise ValueError("give a size such as 200mb")
    return text.replace(" ", "").lower()


def _path(text: str) -> str:
    if text and not re.fullmatch(r"/[\w./-]*|https?://\S+", text):
        raise ValueError("give a path such as /workbench")
    return text.rstrip("/")


def join_code() -> str:
    """Six letters and digits for a class."""
    return "".join(secrets.choice(_LETTERS) for _ in range(6))


class Serving(Options):
    """The server's side of `workbench app`."""

    host: Annotated[str, Field(min_length=1, description="address to bind")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="0 takes a free one")] = 7860
    users: Annotated[
        dict[str, str], Field(description="passwords by user; empty lets everyone in")
    ] = Field(default_factory=dict, repr=False)
    code: Annotated[str, Field(description="of a class: any name enters with it", repr=False)] = ""
    root_path: Annotated[
        str, AfterValidator(_path), Field(description="behind a proxy: where the app is")
    ] = ""
    max_upload: Annotated[
        str, AfterValidator(_size), Field(description="largest file that is taken")
    ] = "200mb"
    max_waiting: Annotated[
        int | None, Field(ge=1, le=1000, description="jobs of a page that wait; fewer in a class")
    ] = None
    max_stored: Annotated[
        str, AfterValidator(lambda text: text and _size(text)), Field(description="of a page")
    ] = ""
    runs: Annotated[Path | None, Field(description="folder for everything the app keeps")] = None

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.host not in LOOPBACK and not self.guarded:
            raise WorkbenchError(
                f"'{self.host}' can be reached by others, so the app must ask who they are; give"
                " --auth NAME:PASSWORD or --classroom, or leave out --host"
            )
        return self

    @property
    def guarded(self) -> bool:
        """Whether visitors are asked who they are."""
        return bool(self.users or self.code)

    @property
    def limits(self) -> Limits:
        """What one page may ask; in a class, what one student may."""
        usual = CLASSROOM if self.code else Limits()
        waiting = usual.waiting if self.max_waiting is None else self.max_waiting
        stored = self.max_stored
        return Limits(waiting, int(stored[:-2]) * _UNITS[stored[-2:]] if stored else usual.stored)

    @property
    def enter(self) -> Enter | None:
        """Says of a name and a password whether they may enter; None lets everyone in."""
        return self._may_enter if self.guarded else None

    @property
    def greeting(self) -> str | None:
        """What the page that asks says."""
        if not self.guarded:
            return None
        return "Your own name, and the code of the class" if self.code else "Workbench"

    def _may_enter(self, name: str, password: str) -> bool:
        known = self.users.get(name)
        if known is not None:
            return _same(known, password)
        student = bool(self.code) and STUDENT.fullmatch(name.strip()) is not None
        return student and _same(self.code, password.strip().upper())


def serving(**values: Any) -> Serving:
    """What is asked for, with the password that the environment holds.

    Raises:
        WorkbenchError: in one sentence, what cannot be.
    """
    secret = os.environ.get("WORKBENCH_PASSWORD")
    if secret:
        values["users"] = {USER: secret, **values.get("users", {})}
    try:
        return Serving(**values)
    except ValidationError as error:
        raise WorkbenchError(explain(error, "app", sorted(Serving.model_fields))) from None


def users_of(texts: list[str]) -> dict[str, str]:
    """Passwords by user, from `NAME:PASSWORD` or a file of such lines.

    Raises:
        WorkbenchError: one is neither.
    """
    found: dict[str, str] = {}
    for text in texts:
        path = Path(text)
        lines = path.read_text(encoding="utf-8").split() if path.is_file() else [text]
        for line in lines:
            name, colon, password = line.partition(":")
            if not (name and colon and password):
                raise WorkbenchError("--auth takes NAME:PASSWORD, or a file with one in each line")
            found[name] = password
    return found


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
