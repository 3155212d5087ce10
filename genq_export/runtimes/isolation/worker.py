"""The process in which one runtime lives: `python -m genq_export.runtimes.isolation.worker`, driven over its
standard streams.

A runtime that crashes or hangs takes this process with it and nothing else.
"""

import os
import resource
import sys
from pathlib import Path
from typing import Any

from genq_export.core.errors import BackendError, BackendMissing
from genq_export.runtimes import backends
from genq_export.runtimes.isolation.protocol import Channel, EndOfStream, Message
from genq_export.runtimes.tensorrt import TensorRtBackend
from runtime_tests.verify import latency


def serve(channel: Channel) -> None:
    """Answer requests until the other side closes."""
    backend: backends.Backend | None = None
    while True:
        try:
            request = channel.receive()
        except EndOfStream:
            return
        fields = request.fields
        try:
            if fields["op"] == "load":
                backend = backends.create(fields["kind"], Path(fields["path"]), fields["threads"])
                answer = Message({"title": backend.title, "device": backend.device})
            elif fields["op"] == "time":
                answer = Message({"rows": latency.time_sessions(**_timing_arguments(fields))})
            elif fields["op"] == "peak":
                on_gpu = backend if isinstance(backend, TensorRtBackend) else None
                answer = Message({"peak_mib": on_gpu.peak_memory_mib() if on_gpu else peak_memory_mib()})
            elif backend is None:
                answer = Message({"error": "no network loaded"})
            elif fields["op"] == "codes":
                logits, codes = backend.codes(request.arrays["batch"])
                arrays = {"logits": logits, **{f"codes {name}": array for name, array in codes.items()}}
                answer = Message({"names": list(codes)}, arrays)
            else:
                answer = Message({}, {"logits": backend.logits(request.arrays["batch"])})
        except BackendMissing as error:
            answer = Message({"missing": str(error)})
        except BackendError as error:
            answer = Message({"error": str(error)})
        channel.send(answer)


def peak_memory_mib() -> float:
    """Peak resident memory of this program, MiB."""
    # getrusage would also count what the parent held at the moment it forked; VmHWM starts anew with the program.
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _timing_arguments(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != "op"}


def main() -> None:
    """Keep the protocol on a private copy of standard output: runtimes print to the public one when they like."""
    private = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    serve(Channel(0, private))


if __name__ == "__main__":
    main()
