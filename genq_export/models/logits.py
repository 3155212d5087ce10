"""Does a network return a number for each class of an image? Tried once, on an image of zeros, when it is loaded."""

from typing import TYPE_CHECKING

from genq_export.core.errors import UserError, reason_of

if TYPE_CHECKING:
    from torch import nn

_MOST_ITEMS = 4
_FROM_PICTURES = (1, 3)  # channels: grey, and colours


def count_logits(name: str, module: "nn.Module", input_size: tuple[int, int, int]) -> int:
    """Return how many logits the network gives for an image.

    Args:
        name: what messages call the network.
        module: in eval mode.
        input_size: (channels, height, width).

    Raises:
        UserError: where it takes no pictures of this size, or what it returns is not float [N, classes].
    """
    import torch

    if input_size[0] not in _FROM_PICTURES:
        raise UserError(
            f"{name} takes images of {input_size[0]} channels: calibration and evaluation images are pictures of 1"
            " (grey) or 3 (RGB), give a network for these"
        )
    shape = (1, *input_size)
    try:
        with torch.no_grad():
            found: object = module(torch.zeros(shape))
    except Exception as error:  # whatever the network's code raises
        raise UserError(
            f"{name} does not take an input of {list(shape)}: {reason_of(error)[:200]}; say what it takes with"
            " --input-size"
        ) from None
    if not isinstance(found, torch.Tensor):
        raise UserError(f"{name} returns {_kind(found)}, not one tensor of logits [N, classes]: {_REMEDY}")
    if found.ndim != 2 or found.shape[0] != 1 or not found.is_floating_point():
        raise UserError(
            f"{name} returns {str(found.dtype).removeprefix('torch.')} {list(found.shape)} for one image, not logits"
            f" [1, classes]{_why(found.ndim)}: {_REMEDY}"
        )
    return found.shape[1]


_REMEDY = "give a classifier whose forward returns these"


def _why(rank: int) -> str:
    if rank == 4:
        return " (a map of features: the global pooling and the head are missing)"
    return " (a row for each token: the pooling is missing)" if rank == 3 else ""


def _kind(found: object) -> str:
    if isinstance(found, dict):
        keys = ", ".join(map(str, list(found)[:_MOST_ITEMS]))
        return f"a dictionary ({keys})"
    if isinstance(found, tuple | list):
        return f"{len(found)} outputs"
    return f"a {type(found).__name__}"
