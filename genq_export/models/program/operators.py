"""The operators that an exported program may hold: those of stored networks, and what traced programs hold beside them.

These are views, copies, constants, forms in place, and BatchNorm and dropout in eval mode.
"""

from collections.abc import Callable
from typing import Any

import torch

from genq_export.core.errors import UserError
from genq_export.network.allowed_operators import ATEN, PYTHON

_ATEN, _PYTHON = "torch.ops.aten.", "_operator."

BATCH_NORM = {"batch_norm.default": 7, "_native_batch_norm_legit_no_training.default": 6}  # where epsilon stands

# Checked when the program was made, and again when it is captured here.
ASSERTIONS = frozenset((
    "_assert_tensor_metadata.default", "_assert_scalar.default", "_assert_async.msg", "sym_constrain_range.default",
    "sym_constrain_range_for_size.default",
))  # fmt: skip

# No one of these draws random numbers or reaches a file; a device is always the CPU here.
_TRACED = frozenset((
    "__and__.Tensor", "__or__.Tensor", "_adaptive_avg_pool2d.default", "_log_softmax.default", "_softmax.default",
    "_to_copy.default", "_unsafe_view.default", "_upsample_bicubic2d_aa.default", "_upsample_bicubic2d_aa.vec",
    "_upsample_bilinear2d_aa.default", "_upsample_bilinear2d_aa.vec", "alpha_dropout.default", "arange.default",
    "arange.start", "arange.start_step", "clone.default", "contiguous.default", "copy.default", "detach.default",
    "dropout.default", "eye.default", "feature_dropout.default", "fill.Scalar", "fill.Tensor", "full.default",
    "full_like.default", "index_put.default", "lift_fresh_copy.default", "linspace.default", "meshgrid.default",
    "meshgrid.indexing", "new_full.default", "new_ones.default", "new_zeros.default", "ones.default",
    "ones_like.default", "scalar_tensor.default", "sym_numel.default", "to.device", "to.dtype_layout", "to.other",
    "view.default", "view.dtype", "zeros.default", "zeros_like.default",
))  # fmt: skip

EVAL_MODE: dict[str, dict[str, Any]] = {
    "alpha_dropout.default": {"train": False},
    "batch_norm.default": {"training": False},
    "dropout.default": {"train": False},
    "feature_dropout.default": {"train": False},
}


def short_name(target: str) -> str:
    """`conv2d.default` of `torch.ops.aten.conv2d.default`; other targets stay."""
    return target.removeprefix(_ATEN)


def operator_of(target: str) -> Callable[..., Any]:
    """The operator that a file calls `torch.ops.aten.conv2d.default` or `_operator.mul`.

    Raises:
        UserError: naming it, where it is not on the list, or this torch has none such.
    """
    if target.startswith(_PYTHON) and target.removeprefix(_PYTHON) in PYTHON:
        return PYTHON[target.removeprefix(_PYTHON)]
    name = short_name(target)
    packet, _, overload = name.partition(".")
    plain = f"{packet.removesuffix('_')}.{overload}"
    if not target.startswith(_ATEN) or not {name, plain} & (ATEN | _TRACED | ASSERTIONS | BATCH_NORM.keys()):
        raise UserError(f"operator '{name[:80]}' is not among those that an exported program may hold")
    found = getattr(getattr(torch.ops.aten, packet, None), overload, None)
    if found is None:
        raise UserError(f"operator '{name[:80]}' is not known to torch {torch.__version__}")
    return found  # type: ignore[no-any-return]
