"""Processes as `accelerate launch --num_processes N` starts them."""

import socket


def environments(world: int) -> list[dict[str, str]]:
    """What it sets for each process, beside what is set already."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    together = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [together | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world)]
