"""Resizing of images, in all the ways in which the standard says where a pixel lies.

Every way is a matrix along each axis: row o holds how much each input pixel counts for output pixel o. torch's own
interpolation is used where its matrix is the same; anything else is computed by the matrix, or, where each row has a
single one, by picking.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from genq_export.models.onnx_import.node import Node
from genq_export.models.onnx_import.values import Value

_Matrix = NDArray[np.float64]
_CLOSE = 1e-5
_LARGEST = 2**24  # numbers of a matrix


def resize(node: Node) -> Value:
    """Of the last axes; images and channels keep their sizes."""
    x = node.input(0)
    sizes, scales = _sizes(node, x)
    changed = [axis for axis in range(x.rank) if sizes[axis] != x.shape[axis] or scales[axis] != 1]
    if not changed:
        return x
    if min(changed) < 2 or x.rank > 5:
        raise node.refuse("it resizes images or channels")
    matrices = {axis: _matrix(node, int(x.shape[axis]), sizes[axis], scales[axis]) for axis in changed}
    own = _own(x, sizes, matrices)
    if own is not None:
        return node.emit(own, x)
    for axis, matrix in matrices.items():
        x = _along(node, x, axis, matrix)
    return x


def _sizes(node: Node, x: Value) -> tuple[list[int], list[float]]:
    """Of all axes: output sizes, and the scales that decide where pixels lie."""
    scales_at, sizes_at = (1, 9) if node.kind == "Upsample" or node.opset < 11 else (2, 3)
    if node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise node.refuse("keep_aspect_ratio_policy is not taken")
    axes = [x.axis(axis) for axis in node.attribute("axes", range(x.rank))]
    sizes, scales = [int(size) for size in x.shape], [1.0] * x.rank
    if node.has(sizes_at) and node.input(sizes_at).tried[0].numel():
        wanted = [int(size) for size in _given(node, sizes_at).tolist()]
        for axis, size in zip(axes, wanted, strict=True):
            if axis > 0 or not x.grows(0):
                sizes[axis], scales[axis] = size, size / int(x.shape[axis])
        return sizes, scales
    listed = node.attribute("scales") or _given(node, scales_at).tolist()
    for axis, scale in zip(axes, listed, strict=True):
        sizes[axis], scales[axis] = math.floor(int(x.shape[axis]) * float(np.float32(scale))), float(np.float32(scale))
    return sizes, scales


def _given(node: Node, index: int) -> Tensor:
    """All axes but that of the images are the same for any number of images."""
    value = node.input(index)
    first, second = value.tried
    if not value.known or not torch.equal(first[1:], second[1:]):
        raise node.refuse(f"'{value.name}' decides its size, and depends on the image or on the batch")
    return first


def _matrix(node: Node, before: int, after: int, scale: float) -> _Matrix:
    mode = {"bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}.get(
        str(node.attribute("mode", "nearest")), str(node.attribute("mode", "nearest"))
    )
    if before * after > _LARGEST:
        raise node.refuse(f"it makes {after} pixels of {before}")
    old = node.kind == "Upsample" or node.opset < 11
    where = "asymmetric" if old else str(node.attribute("coordinate_transformation_mode", "half_pixel"))
    places = _places(node, where, before, after, scale)
    if node.attribute("antialias", 0) and scale < 1 and mode != "nearest":
        raise node.refuse("antialias is not taken")
    if mode == "nearest":
        return _picking(places, before, "floor" if old else str(node.attribute("nearest_mode", "round_prefer_floor")))
    weights = {"linear": _linear, "cubic": lambda part: _cubic(part, float(node.attribute("cubic_coeff_a", -0.75)))}
    if mode not in weights or (mode == "cubic" and node.attribute("exclude_outside", 0)):
        raise node.refuse(f"mode '{mode}' with these attributes is not taken")
    return _weighing(places, before, weights[mode])


def _places(node: Node, where: str, before: int, after: int, scale: float) -> _Matrix:
    """Where output pixels lie among input pixels, in float32 as runtimes compute it: it decides ties."""
    one, half, factor = np.float32(1), np.float32(0.5), np.float32(scale)
    o = np.arange(after, dtype=np.float32)
    found: NDArray[Any]
    if where == "pytorch_half_pixel" and after <= 1:
        found = np.zeros(1)
    elif where in ("half_pixel", "pytorch_half_pixel"):
        found = (o + half) / factor - half
    elif where == "asymmetric":
        found = o / factor
    elif where == "align_corners":
        found = o * np.float32(before - 1) / np.float32(after - 1) if after > 1 else np.zeros(1)
    elif where == "half_pixel_symmetric":
        whole = factor * np.float32(before)
        found = np.float32(before) / 2 * (one - np.float32(after) / whole) + (o + half) / factor - half
    else:
        raise node.refuse(f"coordinate_transformation_mode '{where}' is not taken")
    return found.astype(np.float64)


_ROUNDED: dict[str, Callable[[_Matrix], _Matrix]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda place: np.ceil(place - 0.5),
    "round_prefer_ceil": lambda place: np.floor(place + 0.5),
}


def _picking(places: _Matrix, before: int, rounding: str) -> _Matrix:
    matrix = np.zeros((len(places), before))
    picked = _ROUNDED[rounding](places).clip(0, before - 1).astype(int)
    matrix[np.arange(len(places)), picked] = 1
    return matrix


def _weighing(places: _Matrix, before: int, weights: Callable[[_Matrix], _Matrix]) -> _Matrix:
    """Neighbours that lie outside are the edge."""
    matrix = np.zeros((len(places), before))
    first = np.floor(places).astype(int)
    by_neighbour = weights(places - first)
    shift = by_neighbour.shape[1] // 2 - 1
    for neighbour in range(by_neighbour.shape[1]):
        column = (first + neighbour - shift).clip(0, before - 1)
        np.add.at(matrix, (np.arange(len(places)), column), by_neighbour[:, neighbour])
    return matrix


def _linear(part: _Matrix) -> _Matrix:
    return np.stack([1 - part, part], 1)


def _cubic(part: _Matrix, a: float) -> _Matrix:
    """Keys' kernel at the four neighbours."""
    distances = np.stack([part + 1, part, 1 - part, 2 - part], 1)
    near = (a + 2) * distances**3 - (a + 3) * distances**2 + 1
    far = a * distances**3 - 5 * a * distances**2 + 8 * a * distances - 4 * a
    return np.where(distances <= 1, near, far)


def _own(x: Value, sizes: list[int], matrices: dict[int, _Matrix]) -> Callable[[Tensor], Tensor] | None:
    """torch's interpolation that has the same matrices, where there is one."""
    wanted = sizes[2:]
    for options in _candidates(x.rank):
        if all(np.abs(_of_torch(matrix, options) - matrix).max() < _CLOSE for matrix in matrices.values()):
            return lambda x, options=options: F.interpolate(x, wanted, **options)  # type: ignore[misc]
    return None


def _candidates(rank: int) -> list[dict[str, Any]]:
    smooth = {3: ("linear",), 4: ("bilinear", "bicubic"), 5: ("trilinear",)}[rank]
    corners = [{"mode": mode, "align_corners": corners} for mode in smooth for corners in (False, True)]
    return [{"mode": "nearest"}, *corners]


def _of_torch(matrix: _Matrix, options: dict[str, Any]) -> _Matrix:
    """The matrix along one axis of an interpolation of torch's."""
    after, before = matrix.shape
    mode = {"linear": "bilinear", "trilinear": "bilinear"}.get(options["mode"], options["mode"])
    image = torch.eye(before, dtype=torch.float64)[None, :, :, None]
    found: _Matrix = F.interpolate(image, (after, 1), **{**options, "mode": mode})[0, :, :, 0].T.numpy()
    return found


def _along(node: Node, x: Value, axis: int, matrix: _Matrix) -> Value:
    if np.isin(matrix, (0, 1)).all() and (matrix.sum(1) == 1).all():
        index = torch.from_numpy(matrix.argmax(1))
        return node.emit(lambda x, i: x.index_select(axis, i), x, Value("", (index, index), known=True))
    weights = torch.from_numpy(matrix.astype(np.float32).T)
    turned = Value("", (weights, weights), known=True)
    return node.emit(lambda x, w: torch.matmul(x.transpose(axis, -1), w).transpose(axis, -1), x, turned)
