"""The lab's error for problems that a person can fix."""

from __future__ import annotations


class LabError(Exception):
    """Something is missing or failed; `remedy` is the command or action that repairs it.

    `exit_code` is 2 if the machine or the command line is at fault, 1 if an attempt failed.
    """

    def __init__(self, message: str, remedy: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.exit_code = exit_code


class MissingError(LabError):
    """A precondition of the lab is not met on this machine (exit code 2)."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy, exit_code=2)
