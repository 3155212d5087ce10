"""A network while it is quantized: quantizers in place, ranges searched, and made anew where its bits change."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import Tensor, fx, nn

from genq_export.config.build import BuildConfig
from genq_export.config.quantize import LayerOverride, QuantizeConfig
from genq_export.data.evaluation import load_images
from genq_export.models.loaded import LoadedModel
from genq_export.network import range_search
from genq_export.network.free_size import FreeSize
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cache import ActivationCache, ActivationStore
from genq_export.quantization.dynamic_size import DynamicSize
from genq_export.quantization.placement import Placement
from genq_export.quantization.prepare import Rewrite, calibrate_ranges, captured, prepare
from genq_export.targets import rule_for

_BATCH = 64

Graph = TypeVar("Graph", bound=nn.Module)


@dataclass(frozen=True)
class Prepared:
    """A graph with quantizers in place and ranges searched, where they sit, and the tensors that were always zero."""

    graph: GraphNetwork
    placement: Placement
    dead: list[str]


class WorkingNetwork:
    """A network on its way to the reference.

    The graph is prepared when it is first asked for, and anew after a float rewrite or other bits; so what was learned
    in it is lost then, and methods come in the order of their phases.

    Attributes:
        settings: the build's, with the bits that methods have assigned.
        reconstructed: whether blocks have been reconstructed.
    """

    def __init__(self, model: LoadedModel, config: BuildConfig, images: ActivationStore) -> None:
        self.settings: QuantizeConfig = config.quantize
        self.reconstructed = False
        self._model = model
        self._config = config
        self._images = images
        free = config.model.dynamic_size
        self._dynamic_size = DynamicSize(model.name, model.module, model.input_size) if free else None
        self._rewrites: list[Rewrite] = [] if self._dynamic_size is None else [self._dynamic_size]
        self._prepared: Prepared | None = None

    @property
    def prepared(self) -> Prepared:
        """The prepared graph and what is known of it, on the build's device."""
        if self._prepared is None:
            self._prepared = self._prepare()
        return self._prepared

    @property
    def free_size(self) -> FreeSize | None:
        """In which other sizes the network takes images; None: it was not asked for any."""
        return None if self._dynamic_size is None else self._dynamic_size.found

    @property
    def graph(self) -> GraphNetwork:
        """The prepared graph; changed in place by methods."""
        return self.prepared.graph

    def captured(self) -> fx.GraphModule:
        """A new float graph with the rewrites so far, as quantizers are placed in it, on the build's device."""
        gm, device = captured(self._model.module, self._model.input_size, self._rewrites), self._device
        return gm if device == "cpu" else _moved(gm, device)

    def before_placement(self, rewrite: Rewrite) -> None:
        """Let `rewrite` change the captured float graph in place before quantizers are placed in it."""
        self._rewrites.append(rewrite)
        self._prepared = None

    @contextmanager
    def tried(self, rewrite: Rewrite) -> Iterator[None]:
        """The network with one rewrite more, for as long as the context lasts; prepared when it begins."""
        kept = self.prepared
        self.before_placement(rewrite)
        try:
            self._prepared = self._prepare()
            yield
        finally:
            self._rewrites.remove(rewrite)
            self._prepared = kept

    def assign_bits(self, layers: Mapping[str, LayerOverride]) -> None:
        """Give layers bits of their own; patterns of the config go before them."""
        self.settings = self.settings.model_copy(update={"layers": {**layers, **self.settings.layers}})
        self._prepared = None

    def keep_float(self, names: Sequence[str]) -> None:
        """Leave layers in float, by name, beside those that the config names."""
        self.settings = self.settings.model_copy(update={"keep_float": (*self.settings.keep_float, *names)})
        self._prepared = None

    @property
    def _device(self) -> str:
        return self._config.on_chosen_device().device

    def _prepare(self) -> Prepared:
        settings, device = self.settings, self._device
        rule = rule_for(self._config.target)
        gm, placement = prepare(self._model.module, self._model.input_size, settings, rule, self._rewrites)
        batches = range_batches(self._images)
        if device != "cpu":
            gm = _moved(gm, device)
            batches = tuple(batch.to(device) for batch in batches)
        percentile = settings.percentile if settings.range == "percentile" else None
        return Prepared(gm, placement, calibrate_ranges(gm, batches, percentile))


def _moved(gm: Graph, device: str) -> Graph:
    """A copy elsewhere: a graph may share tensors with the float network, which stays."""
    return deepcopy(gm).to(device)


def load_pixels(images: list[Path], model: LoadedModel, cache: ActivationCache) -> ActivationStore:
    """All images in the network's own preprocessing, float32 [N, C, H, W]."""
    pixels = cache.rows((len(images), *model.input_size))
    for start in range(0, len(images), _BATCH):
        pixels.write(start, load_images(images[start : start + _BATCH], model))
    return pixels


def range_batches(images: ActivationStore) -> tuple[Tensor, ...]:
    """The images that ranges are searched on, float32 [B, C, H, W] each."""
    batches: tuple[Tensor, ...] = images.read(0, min(len(images), range_search.IMAGES)).split(range_search.BATCH)
    return batches
