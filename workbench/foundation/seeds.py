"""Seeds that are the same in every process."""

from __future__ import annotations

import hashlib

BYTES = 7  # as many as a torch generator takes without a sign


def seed_of(text: str) -> int:
    """A seed for a generator from text, which Python's own `hash` would salt."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:BYTES], "big")
