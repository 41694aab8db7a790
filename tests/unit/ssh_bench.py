"""Shared by the tests of connections: servers in this process with one client key, known_hosts and environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabfile.inventory import Environment, Node
from fabfile.inventory.settings import Settings
from fabfile.nodes import script
from fabfile.nodes.connection import Connection
from fabfile.nodes.hostkeys import KnownHosts
from fabfile.text.masking import Secret
from rehearsal.login import Login
from rehearsal.server import Endpoint, Farm, key_from, new_key_seed, private_text

SCRIPT = script.render("test.step", ("echo hello",))


class Bench:
    """One farm with its client key, known_hosts and environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        seed = new_key_seed()
        self.client_key = key_from(seed)
        self.key_file = folder / "id_ed25519"
        self.key_file.write_text(private_text(seed))
        self.key_file.chmod(0o600)
        self.farm = Farm()
        self.new_keys: list[tuple[str, str]] = []
        self.known = KnownHosts(
            folder / "known_hosts", lambda host, fingerprint: self.new_keys.append((host, fingerprint))
        )
        # no test waits for its end: a machine that is busy with others may need seconds to shake hands
        self.settings = Settings(simulated=True, connect_timeout=30.0)

    def serve(
        self, name: str = "w1", run: Callable[[str], tuple[int, bytes]] | None = None, **sudo: Any
    ) -> tuple[Endpoint, Node]:
        login = Login(run or (lambda text: (0, b"hello\n##kubefab 1 0\n")), **sudo)
        endpoint = self.farm.add(name, login, key_from(new_key_seed()), self.client_key)
        return endpoint, Node(name, "127.0.0.1", "10.2.1.1", name == "cp1", "ops", endpoint.port, str(self.key_file))

    def environment(self, node: Node) -> Environment:
        return Environment("test", (replace(node, control_plane=True),), (), self.settings)

    def connect(self, node: Node, *, password: str = "", gateway: Connection | None = None) -> Connection:
        return Connection(node, self.environment(node), self.known, Secret(password), gateway)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    with made.farm:
        yield made
