"""What the notebooks of the course call.

from workbench import course

course.check("clip_or_round", "30 to 50 %")
"""

from __future__ import annotations

from workbench.lessons.checking import Verdict, check

__all__ = ["Verdict", "check"]
