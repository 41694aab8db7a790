"""The one error the lab raises for things a person can fix."""

from __future__ import annotations


class LabError(Exception):
    """Something is missing or failed; `fix` is the command or action that repairs it.

    `exit_code` is 2 when the machine or the command line is at fault, 1 when an attempt failed.
    """

    def __init__(self, message: str, fix: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.exit_code = exit_code


class MissingError(LabError):
    """A precondition of the lab is not met on this machine (exit code 2)."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message, fix, exit_code=2)
