"""What the notebooks of the course call.

from workbench import course

course.check("clip_or_round", "30 to 50 %")
course.score("4", {"weights": 3, "method": "gram"})
"""

from __future__ import annotations

from workbench.lessons.challenges import Score, score
from workbench.lessons.checking import Verdict, check

__all__ = ["Score", "Verdict", "check", "score"]
