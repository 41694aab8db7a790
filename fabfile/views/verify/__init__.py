"""`inv cluster.verify`: proof.py says what is asked and judges the answers, verifier.py asks, and deletes what it made."""

from __future__ import annotations

from .proof import FAILED, OK, UNTESTED, Check
from .verifier import Verifier

__all__ = ["FAILED", "OK", "UNTESTED", "Check", "Verifier"]
