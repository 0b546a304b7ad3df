"""Values that are written as TOML and read again."""

from __future__ import annotations

from typing import Self

import tomlkit
from tomlkit.exceptions import TOMLKitError

from workbench.foundation.errors import RecipeError
from workbench.foundation.options import Options


class Written(Options):
    """Options that lie in a file."""

    def toml(self) -> str:
        """As TOML text."""
        return tomlkit.dumps(self.model_dump(mode="json", exclude_none=True))

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """The inverse of `toml`.

        Raises:
            RecipeError: not TOML, or not a possible plan.
        """
        try:
            values = tomlkit.parse(text).unwrap()
        except (TOMLKitError, ValueError) as error:
            raise RecipeError(f"the plan is not TOML: {error}; correct that line") from None
        return cls.parse(values, "plan")
