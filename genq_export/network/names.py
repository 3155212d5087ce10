"""Names that the reference, the integer model and the deployed file agree on.

A network's own module paths (`blocks.3.attn.proj`) name its quantizers, layers and products. From such a path follow

* the name of the part inside the network: flat, of one kind, an identifier: `layer_blocks__3__attn__proj`. A dot never
  makes a level, so no path can meet another, or an attribute of `nn.Module` (`to`, `half`, `type`);
* the names of its tensors in the ONNX file: `blocks.3.attn.proj/weight`.

Nobody spells these out elsewhere. No torch in here: runtimes read files by these names alone.
"""

import re
from typing import Literal

Kind = Literal["quantizer", "layer", "product", "kept", "constant"]

MAX_LENGTH = 500  # of any name: the deepest module path that we know takes 90
_NO_WORD = re.compile(r"\W", re.ASCII)
_PATH = re.compile(r"\w+(\.\w+)*", re.ASCII)

_CODES, _DEQUANTIZED = "/codes", "/dequantized"
_WEIGHT, _WEIGHT_CODES, _BIAS, _PRODUCT = "/weight", "/weight_codes", "/bias", "/product"


def part_name(kind: Kind, path: str) -> str:
    """Name of a part inside a network, `layer_blocks__3__attn`; two paths may give the same, so number it then."""
    return f"{kind}_{_NO_WORD.sub('_', path.replace('.', '__'))}"


def kind_of_part(part: str) -> str:
    """What `part_name` was told of the part: `quantizer`, `layer`, ..."""
    return part.partition("_")[0]


def tensor_name(part: str, tensor: str) -> str:
    """Name of a tensor that a part holds, as a node of the graph names it: `quantizer_act1.scale`."""
    return f"{part}.{tensor}"


def scale_name(quantizer: str) -> str:
    """Name of the scale of the quantizer that is called so inside the network."""
    return tensor_name(quantizer, "scale")


def split_tensor_name(name: str) -> tuple[str, str]:
    """Part and tensor of a name; the tensor is empty where the network itself holds it."""
    part, _, tensor = name.partition(".")
    return part, tensor


def clean_path(path: str) -> str:
    """A module path of ASCII letters, digits, `_` and dots: what else a module's name holds becomes `_`."""
    return ".".join(_NO_WORD.sub("_", part) or "_" for part in path.split("."))


def is_path(text: object) -> bool:
    """Is this a dotted path of names, of limited length?"""
    return isinstance(text, str) and len(text) <= MAX_LENGTH and _PATH.fullmatch(text) is not None


def is_name(text: object) -> bool:
    """Is this one ASCII identifier of limited length?"""
    return isinstance(text, str) and len(text) <= MAX_LENGTH and text.isascii() and text.isidentifier()


def codes_tensor(quantizer: str) -> str:
    """The tensor of the file that holds a quantizer's codes, clipped."""
    return f"{quantizer}{_CODES}"


def quantizer_of(tensor: str) -> str | None:
    """The quantizer whose codes a tensor of the file holds; None for other tensors."""
    return tensor.removesuffix(_CODES) if tensor.endswith(_CODES) else None


def dequantized_tensor(quantizer: str) -> str:
    """The tensor of the file that holds the numbers which a quantizer's codes stand for."""
    return f"{quantizer}{_DEQUANTIZED}"


def weight_tensor(layer: str) -> str:
    """The tensor of the file that holds a quantized layer's weight, dequantized; its node has the same name."""
    return f"{layer}{_WEIGHT}"


def layer_of_weight(tensor: str) -> str | None:
    """The layer whose dequantized weight a tensor of the file holds; None for other tensors."""
    return tensor.removesuffix(_WEIGHT) if tensor.endswith(_WEIGHT) else None


def weight_codes_tensor(layer: str) -> str:
    """The tensor of the file that holds a layer's weight codes in narrow storage."""
    return f"{layer}{_WEIGHT_CODES}"


def bias_tensor(layer: str) -> str:
    """The tensor of the file that holds a layer's bias, dequantized."""
    return f"{layer}{_BIAS}"


def product_tensor(layer: str) -> str:
    """The tensor of the file that holds a linear layer's product, before its bias."""
    return f"{layer}{_PRODUCT}"
