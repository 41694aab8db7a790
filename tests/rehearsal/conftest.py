"""The test bed as a fixture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import rehearsal
from rehearsal_bed import Bed


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = Bed(tmp_path)
    yield made
    rehearsal.down(made.environment)
