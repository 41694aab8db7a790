"""The lab's nodes farther away: sshd at another port of each node, where every byte comes later.

python -m benchmarks.far PORT MILLISECONDS   # in a node's network: ends when its standard input does

A round trip takes MILLISECONDS longer, half of them each way, and a connection one of them before its first byte. The kernel's netem
would do the same, and is not in every kernel; this works in any, and the same for each tool.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from fabfile import inventory
from fabfile.inventory import Environment
from lab import nodes as machines

from .measuring import beside

PORT = 2222  # of each node
LONGEST = 20.0  # seconds in which it must listen
PIECE = 1 << 16  # bytes


@contextmanager
def away(environment: Environment, milliseconds: int) -> Iterator[Environment]:
    """The same environment at that distance, until the block ends."""
    with ExitStack() as stack:
        for node in environment.nodes:
            stack.enter_context(_served(node.name, milliseconds))
        yield inventory.load(environment.name, variables=variables(environment))


def variables(environment: Environment) -> dict[str, str]:
    """With these in the process environment our commands use the other port."""
    name = environment.name.upper()
    workers = iter(range(1, len(environment.nodes) + 1))
    return {
        f"KUBEFAB_{name}_{'CONTROL_PLANE' if node.control_plane else f'WORKER_{next(workers)}'}": (
            f"{node.host} name={node.name} port={PORT}"
        )
        for node in environment.nodes
    }


def _served(node: str, milliseconds: int) -> AbstractContextManager[None]:
    command = ["nsenter", "--net", "--target", str(machines.pid(node)), "--", sys.executable, "-m", __name__]
    return beside([*command, str(PORT), str(milliseconds)], "listens", LONGEST)


async def _late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, since: float) -> None:
    """Pass on what comes, each piece `delay` seconds after it came, and nothing before `since` by the loop's clock."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def give() -> None:
        data = b"-"
        while data:
            due, data = await queue.get()
            await asyncio.sleep(due - loop.time())
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    async def take() -> None:
        data = b"-"
        while data:
            data = await reader.read(PIECE)
            await queue.put((max(loop.time(), since) + delay, data))

    await asyncio.gather(give(), take())


async def _serve(port: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = loop.time() + seconds
        try:
            sshd, to_sshd = await asyncio.open_connection("127.0.0.1", 22)
            try:
                # what the client sends first comes with the end of TCP's handshake, which sshd waits for
                await asyncio.gather(
                    _late(reader, to_sshd, seconds / 2, there), _late(sshd, writer, seconds / 2, there + seconds / 2)
                )
            finally:
                to_sshd.close()
        except OSError:  # either end has gone
            pass
        finally:
            writer.close()

    await asyncio.start_server(connected, "0.0.0.0", port)
    print("listens", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)  # connections that are still open, as Ansible keeps its own, end with the process


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]) / 1000))
