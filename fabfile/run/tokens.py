"""The join tokens of one run: short-lived, replaced before they end, deleted with the run."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from threading import Lock

from ..errors import KubefabError
from ..inventory import Node
from ..nodes import script
from ..nodes.connection import outcome
from ..nodes.group import NodeGroup
from ..steps import command
from ..text.masking import Token
from .events import Events

TOKEN_AGE = 1200.0  # seconds; a token lives 30 minutes, and a node may wait for its turn and its gate before it joins
DELETE_TIMEOUT = 30.0  # seconds


def new_token() -> Token:
    """A bootstrap token in kubeadm's form."""
    alphabet = string.ascii_lowercase + string.digits
    pick = ["".join(secrets.choice(alphabet) for _ in range(length)) for length in (6, 16)]
    return Token(".".join(pick))


class JoinTokens:
    """Gives out the run's token and remembers which ones exist; `control` names the control plane that makes and deletes them."""

    def __init__(self, control: Callable[[], Node], group: NodeGroup, events: Events) -> None:
        self._control, self._group, self._events = control, group, events
        self._guard = Lock()
        self._token = new_token()
        self._minted: float | None = None  # when the token was made, by the control plane's clock
        self._made: list[Token] = []

    def current(self) -> Token:
        """The token for a node that decides now: a new one when the old one is so old that it might end before it is used."""
        with self._guard:
            if self._minted is not None and self._now() - self._minted > TOKEN_AGE:
                self._token, self._minted = new_token(), None
            return self._token

    def mint(self) -> None:
        """A step is about to make the current token on the control plane."""
        with self._guard:
            if self._minted is None:
                self._minted = self._now()
                self._made.append(self._token)

    def delete(self) -> None:
        """Delete every token that this run made. If that fails, they end by themselves after 30 minutes."""
        with self._guard:
            made, self._made = self._made, []
        if not made:
            return
        line = command("kubeadm", "token", "delete", *(token.id for token in made))
        text = script.render("join.token.delete", (line,), lock=False)
        try:
            outcome(self._group.of(self._control()), "join.token.delete", text, DELETE_TIMEOUT)
        except KubefabError as error:
            self._events.log("token", error=error.message)

    def _now(self) -> float:
        return self._events.now(self._control().name)
