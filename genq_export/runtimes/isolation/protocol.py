"""Messages between the verifying process and a worker: a JSON header, then raw bytes of arrays. Nothing in them runs.

Layout: 8 bytes little-endian length, header `{"fields": {…}, "arrays": [[name, dtype, shape], …]}`, then array bytes.
"""

import json
import math
import os
import select
import time
from dataclasses import dataclass, field
from io import FileIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DTYPES = {"float32", "int32", "int64", "uint8", "int8", "float64"}
_CHUNK = 1 << 20


class EndOfStream(Exception):
    """The other side is gone, or this side of the channel has been closed."""


class ChannelTimeout(Exception):
    """The other side did not read or answer in time."""


@dataclass(frozen=True)
class Message:
    """Plain fields and named arrays."""

    fields: dict[str, Any]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


class Channel:
    """Two streams, read and written against a deadline (`time.monotonic()` seconds; None waits for ever).

    The channel owns both and closes them. It never keeps a descriptor's number: once a stream is closed, the number
    belongs to whatever is opened next, and what is sent here then would go into somebody else's file.
    """

    def __init__(self, reading: FileIO, writing: FileIO) -> None:
        self._reading, self._writing = reading, writing
        os.set_blocking(writing.fileno(), False)

    def send(self, message: Message, deadline: float | None = None) -> None:
        """Raises EndOfStream or ChannelTimeout."""
        arrays = {name: np.asarray(array, order="C") for name, array in message.arrays.items()}
        listed = [[name, str(array.dtype), list(array.shape)] for name, array in arrays.items()]
        header = json.dumps({"fields": message.fields, "arrays": listed}).encode()
        self._write(len(header).to_bytes(8, "little") + header, deadline)
        for array in arrays.values():
            self._write(array.tobytes() if array.nbytes < _CHUNK else array.reshape(-1).view(np.uint8).data, deadline)

    def receive(self, deadline: float | None = None) -> Message:
        """Raises EndOfStream or ChannelTimeout; ValueError for bytes that are no message."""
        length = int.from_bytes(self._read(8, deadline), "little")
        if length > 1 << 24:
            raise ValueError("message header too long")
        header = json.loads(bytes(self._read(length, deadline)))
        arrays = {}
        for name, dtype, shape in header["arrays"]:
            if dtype not in _DTYPES:
                raise ValueError(f"unexpected array type {dtype}")
            kind = np.dtype(dtype)
            content = self._read(int(np.prod(shape, dtype=np.int64)) * kind.itemsize, deadline)
            arrays[name] = np.frombuffer(content, kind).reshape(shape)
        return Message(header["fields"], arrays)

    def close(self) -> None:
        """Close both streams; whatever is sent or received afterwards raises EndOfStream."""
        for stream in (self._reading, self._writing):
            try:
                stream.close()
            except OSError:
                continue

    def _write(self, content: bytes | memoryview, deadline: float | None) -> None:
        left = memoryview(content)
        while left:
            _wait(self._writing, select.POLLOUT, deadline)
            try:
                left = left[os.write(self._writing.fileno(), left[:_CHUNK]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise EndOfStream from None

    def _read(self, count: int, deadline: float | None) -> bytearray:
        content = bytearray()
        while len(content) < count:
            _wait(self._reading, select.POLLIN, deadline)
            part = os.read(self._reading.fileno(), min(_CHUNK, count - len(content)))
            if not part:
                raise EndOfStream
            content += part
        return content


def _wait(stream: FileIO, event: int, deadline: float | None) -> None:
    """Until the stream can be read or written; `poll` takes descriptors of any number, `select` does not."""
    if stream.closed:
        raise EndOfStream
    poll = select.poll()
    poll.register(stream.fileno(), event)
    left = None if deadline is None else math.ceil(1000 * max(0.0, deadline - time.monotonic()))
    if not poll.poll(left):
        raise ChannelTimeout
