"""What can go wrong, in the form that a person reads: what, where, and what to do next."""

from __future__ import annotations

EXIT_FAILED, EXIT_USAGE, EXIT_CHANGES, EXIT_INTERRUPTED = 1, 2, 3, 130  # CHANGES: `plan --check` found something to do


class KubefabError(Exception):
    """An error with a next action.

    `message` says what and where; `remedy` what to do next; `output` is the end of what the
    command printed. All three are masked here, and the remedy's command lines made complete, in one place.
    """

    whole = (
        ""  # all that the command printed, masked: known failures are looked for in it, as `output` is cut for people
    )
    exit_code = EXIT_FAILED
    code = "failed"  # for scripts that read `--json`: it never changes its meaning

    def __init__(self, message: str, remedy: str = "", output: str = "") -> None:
        from .text.advice import complete  # here: patterns are compiled at import, and `inv -l` prints no error
        from .text.masking import mask

        super().__init__(mask(message))
        self.message, self.remedy, self.output = mask(message), mask(complete(remedy)), mask(output)


class UsageError(KubefabError):
    """The command line or the inventory is wrong; nothing was connected to."""

    exit_code = EXIT_USAGE
    code = "usage"


class Unreachable(KubefabError):
    """No SSH connection, or it broke. It says nothing about what the node did meanwhile.

    `silent`: nothing at that address answered at all, as of a machine that is off; not where something refused the login.
    """

    code = "unreachable"
    silent = False


class StepFailed(KubefabError):
    """A step's command ended with another code than 0, or a wait gave up."""

    code = "step"


class Malformed(StepFailed):
    """A node's answer does not have the expected form. `field` names the part that is wrong, "" is the whole answer."""

    code = "malformed"

    def __init__(self, message: str, remedy: str = "", output: str = "", field: str = "") -> None:
        super().__init__(message, remedy, output)
        self.field = field


class StillRunning(StepFailed):
    """A step of an earlier run is still running on the node and holds its lock."""

    code = "busy"


class Refused(KubefabError):
    """A phase saw something on the node that it must not change, or cannot work with."""

    code = "refused"


class Interrupted(KubefabError):
    """The operator pressed Ctrl-C; the next run continues from here."""

    exit_code = EXIT_INTERRUPTED
    code = "interrupted"
