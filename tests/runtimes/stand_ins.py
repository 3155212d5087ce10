"""TensorRT and CUDA as a session meets them: tensors stay on the CPU, a captured graph repeats what it saw."""

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch


class Event:
    """A CUDA event whose time is a counter that calls advance."""

    now = 0.0

    def __init__(self, enable_timing: bool = True) -> None:
        self.at: float | None = None
        self.waited = False

    def record(self) -> None:
        self.at = Event.now

    def synchronize(self) -> None:
        self.waited = True

    def elapsed_time(self, other: "Event") -> float:
        assert self.at is not None and other.at is not None and other.waited
        return other.at - self.at


class Engine:
    """One float input, float logits of three classes and int8 codes; gives the same answer to every image."""

    names = ("input", "logits", "act/codes")
    num_io_tensors = 3
    answer = 7

    def __init__(self, largest: int = 64) -> None:
        self.largest = largest
        self.calls = 0

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == "input" else "out"

    def get_tensor_dtype(self, name: str) -> str:
        return "int8" if name.endswith("codes") else "float"

    def create_execution_context(self) -> "Context":
        return Context(self)


class Context:
    """Writes the answer to the addresses that it is given; advances the events' time by half a millisecond."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        assert shape[0] <= self.engine.largest, "beyond the engine's profile"
        self.shape = shape

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.shape[0], 3)

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        self.engine.calls += 1
        Event.now += 0.5
        assert self.addresses.keys() == set(Engine.names)
        for name, kind in (("logits", np.float32), ("act/codes", np.int8)):
            size = int(np.prod(self.get_tensor_shape(name)))
            view = (np.ctypeslib.ctypes.c_char * (size * np.dtype(kind).itemsize)).from_address(self.addresses[name])
            np.frombuffer(view, kind)[:] = Engine.answer
        return True


class Stream:
    cuda_stream = 0

    def synchronize(self) -> None:
        pass


class Nothing:
    """A context manager that does nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


class Refused(Nothing):
    """A capture that CUDA does not permit."""

    def __enter__(self) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")


class Graph:
    """A captured graph, whose replay takes half a millisecond."""

    def replay(self) -> None:
        Event.now += 0.5


def stand_in_modules(
    capturable: bool = True,
    deserialize: Callable[[bytes], Any] | None = None,
    capability: tuple[int, int] = (9, 0),
    largest: int = 64,
) -> tuple[Any, Any]:
    """`tensorrt` 11.0 and `torch` of a machine with one GPU."""
    cuda = types.SimpleNamespace(
        is_available=lambda: True, get_device_name=lambda _: "a GPU", get_device_capability=lambda *_: capability,
        mem_get_info=lambda: (1000, 2000), current_stream=Stream, Stream=Stream, Event=Event,
        stream=Nothing, graph=Nothing if capturable else Refused, CUDAGraph=Graph,
    )  # fmt: skip
    fake_torch = types.SimpleNamespace(
        cuda=cuda, float32=torch.float32, int8=torch.int8, float16=torch.float16,
        from_numpy=lambda array: types.SimpleNamespace(cuda=lambda: torch.from_numpy(array)),
        empty=lambda shape, dtype, device: torch.empty(shape, dtype=dtype),
    )  # fmt: skip
    trt = types.SimpleNamespace(
        __name__="tensorrt", __version__="11.0", __spec__=types.SimpleNamespace(),
        Logger=type("Logger", (), {"ERROR": 0, "__init__": lambda *_: None}),
        Runtime=lambda _: types.SimpleNamespace(deserialize_cuda_engine=deserialize or (lambda _: Engine(largest))),
        DataType=types.SimpleNamespace(FLOAT="float", INT8="int8", HALF="half"),
        TensorIOMode=types.SimpleNamespace(INPUT="in"),
    )  # fmt: skip
    return trt, fake_torch
