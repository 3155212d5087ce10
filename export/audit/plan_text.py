"""The readable text of a TensorRT-RTX plan, read in one pass: a plan of anybody's takes no longer than its length.

The format is not documented (seen in 1.7.1). Every search here goes forward from where the last one ended, and no
expression repeats what another repeats.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# What stands in a tensor's braces, one token at a time.
_TOKEN = re.compile(r'tensor=\{|[{}]|name="([^"{}\n]{1,4096})"|type=(\w{1,64})')
_PRODUCT = re.compile(r'(corrltn|fully_connected|matmul)=\{ name="')
_FUNCTION = "function={ name="
_LAYER = "ONNX Layer: "


@dataclass(frozen=True)
class Product:
    """A convolution or a matrix product, and the tensors that it multiplies."""

    kind: str
    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A kernel: the tensors in one list of its arguments, and the ONNX nodes that it computes."""

    arguments: tuple[str, ...]
    layers: tuple[str, ...]


@dataclass
class _Braces:
    is_tensor: bool
    name: str | None = None
    is_named: bool = False


def tensor_types(text: str) -> dict[str, str]:
    """Type of every tensor by name: the first of each that stands in the braces of the tensor itself."""
    types: dict[str, str] = {}
    open_braces: list[_Braces] = []
    for token in _TOKEN.finditer(text):
        word, name, kind = token[0], token[1], token[2]
        if word == "}":
            if open_braces:
                open_braces.pop()
        elif word.endswith("{"):
            open_braces.append(_Braces(word != "{"))
        elif open_braces and open_braces[-1].is_tensor:
            _note(open_braces[-1], types, name, kind)
    return types


def _note(braces: _Braces, types: dict[str, str], name: str | None, kind: str | None) -> None:
    if name is not None and braces.name is None:
        braces.name = name
    elif kind is not None and braces.name is not None and not braces.is_named:
        types[braces.name] = kind
        braces.is_named = True


def products(text: str) -> Iterator[Product]:
    """Every convolution and matrix product, in the order of the text."""
    for begin, end in _pieces(text, _PRODUCT):
        kind, rest = begin[1], text[begin.end() : end]
        name, quote, rest = rest.partition('"')
        before, brace, rest = rest.partition("}")
        inputs, closed, _ = rest.removeprefix(" input={").partition("}")
        if quote and brace and closed and before.startswith(" output={") and rest.startswith(" input={"):
            yield Product(kind, name, _quoted(inputs))


def _pieces(text: str, expression: re.Pattern[str]) -> Iterator[tuple[re.Match[str], int]]:
    """Every match with where the next one begins."""
    last = None
    for found in expression.finditer(text):
        if last is not None:
            yield last, found.start()
        last = found
    if last is not None:
        yield last, len(text)


def calls(text: str, prefix: str, arguments: str) -> Iterator[Call]:
    """Every kernel whose name begins so, in the order of the text.

    Args:
        text: of the plan.
        prefix: of the names of kernels.
        arguments: `input_args` or `output_args`, the list that is wanted.
    """
    for piece in text.split(_FUNCTION)[1:]:
        line = piece.partition("\n")[0]
        if not line.startswith(prefix):
            continue
        listed, closed, rest = line.partition(f" {arguments}={{")[2].partition("}")
        layers, quote, _ = rest.partition(' layers="')[2].partition('"')
        if closed and quote:
            yield Call(_quoted(listed), tuple(_layers(layers)))


def _quoted(text: str) -> tuple[str, ...]:
    """What stands between quotation marks, and is not empty."""
    return tuple(part for part in text.split('"')[1::2] if part)


def _layers(text: str) -> Iterator[str]:
    """Names of ONNX nodes: `[ONNX Layer: conv1]`."""
    for part in text.split(_LAYER)[1:]:
        name, bracket, _ = part.partition("]")
        if bracket:
            yield name
