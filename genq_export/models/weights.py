"""A network with weights of the user's, in the sizes that these have."""

from dataclasses import replace
from typing import TYPE_CHECKING

from genq_export.config.model import ModelConfig
from genq_export.models.checkpoint import read_checkpoint
from genq_export.models.door import Door
from genq_export.models.loaded import LoadedModel
from genq_export.models.sizes import Sizes, sizes_of

if TYPE_CHECKING:
    from genq_export.models.state_dict import Fit, StateDict


def with_weights(door: Door, config: ModelConfig) -> LoadedModel:
    """Create a network by its door and load `config.weights`; their head and first convolution decide its sizes.

    Raises:
        UserError: where the file cannot be read, or a tensor is missing, unknown, damaged, or of another shape or kind.
    """
    from genq_export.models.state_dict import fitted, load

    assert config.weights is not None
    state = read_checkpoint(config.weights)
    model = door.load(config, pretrained=False)
    state, fit = _under_its_names(state, door, model)
    own, wanted = Sizes.of(model), sizes_of(fit, model)
    sized: tuple[str, ...] = ()
    if wanted != own and (other := door.resized(config, wanted)) is not None:
        model, fit = other, fitted(state, other.module)
        sized = (f"the network has {wanted}, as the weights have ({config.name} by its name: {own})",)
    notes = (*sized, *load(fit, model.module))
    return replace(model, notes=(*model.notes, *(f"{config.weights}: {note}" for note in notes)))


def _under_its_names(state: "StateDict", door: Door, model: LoadedModel) -> "tuple[StateDict, Fit]":
    """A checkpoint, under the names that its door gives older ones where these are all there and its own are not."""
    from genq_export.models.state_dict import fitted

    fit = fitted(state, model.module)
    if not fit.missing or (found := door.renamed(state.tensors, model.module)) is None:
        return state, fit
    other = replace(
        state, tensors=found, notes=(*state.notes, "older names were changed as the network's library does")
    )
    renamed = fitted(other, model.module)
    return (state, fit) if renamed.missing else (other, renamed)
