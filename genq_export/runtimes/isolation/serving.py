"""The worker's side of the protocol: answer what comes on the standard streams, one request at a time."""

import os
import sys
from collections.abc import Callable
from typing import Any

from genq_export.core.errors import BackendError, BackendMissing, UserError
from genq_export.runtimes.isolation.protocol import Channel, EndOfStream, Message

Answer = Callable[[Message], Message]


def serve_standard_streams(answer: Answer) -> None:
    """Answer until the other side closes.

    The protocol is on a private copy of standard output: runtimes print to the public one when they like.

    Args:
        answer: to one request. What it raises of our errors is sent back as a message.
    """
    reading: Any = os.fdopen(os.dup(0), "rb", buffering=0)
    writing: Any = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    channel = Channel(reading, writing)
    while True:
        try:
            request = channel.receive()
        except EndOfStream:
            return
        try:
            reply = answer(request)
        except BackendMissing as error:
            reply = Message({"missing": str(error)})
        except (BackendError, UserError) as error:
            reply = Message({"error": str(error)})
        channel.send(reply)
