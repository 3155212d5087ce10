"""One run of the quantize stage: the network, its images, and the methods applied to it phase by phase."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.models.loaded import LoadedModel
from genq_export.quantization.activation_cache import ActivationCache, ActivationStore
from genq_export.quantization.blockwise import BlockStore, reconstruct
from genq_export.quantization.grids import layer_grids, quantizer_grids
from genq_export.quantization.method import Distributed, Method, MethodContext, Phase, methods_of
from genq_export.quantization.sensitivity import measure, ranked, sample_of
from genq_export.quantization.summary import Findings, LayerCost, QuantizeSummary, UnquantizedOperator
from genq_export.quantization.working_network import WorkingNetwork, load_pixels
from genq_export.targets import rule_for
from genq_export.tasks.score import score_of
from genq_export.tasks.task import task_of


@dataclass(frozen=True)
class Work:
    """A network that is being quantized, the images it is quantized on, and what methods are given beside."""

    network: WorkingNetwork
    images: ActivationStore
    context: MethodContext

    @classmethod
    def begin(
        cls,
        config: BuildConfig,
        model: LoadedModel,
        images: list[Path],
        partial: Path,
        progress: Progress,
        distributed: Distributed,
    ) -> "Work":
        """Load the images; `partial` is the folder of what a killed run goes on from."""
        cache = ActivationCache(int(config.quantize.memory_budget), partial / "cache")
        pixels = load_pixels(images, model, cache)
        task = task_of(model.task)
        rule = rule_for(config.target)
        context = MethodContext(
            config.seed, rule, partial, progress, cache, distributed, task.divergence, score_of(task)
        )
        return cls(WorkingNetwork(model, config, pixels), pixels, context)

    def apply(self, *phases: Phase) -> Findings:
        """Apply the methods of these phases, in order; returns what they found."""
        findings = Findings()
        for phase in phases:
            found = self._reconstruct() if phase is Phase.BLOCKS else self._apply(phase)
            findings = findings.together_with(found)
        return findings

    def help(self) -> None:
        """Take part in what other processes do: the methods that share their work."""
        self.apply(Phase.FLOAT)
        for method in self._methods():
            if method.shares_work:
                method.apply(self.network, self.images, self.network.settings, self.context)

    def costs(self) -> list[LayerCost]:
        """What quantization costs each layer, the most expensive first; before anything is learned."""
        graph = self.network.graph
        return ranked(measure(graph, sample_of(self.images, graph), divergence=self.context.divergence))

    def summary(self, findings: Findings, costs: Sequence[LayerCost]) -> QuantizeSummary:
        """What the stage hands on."""
        prepared = self.network.prepared
        return QuantizeSummary(
            images=len(self.images),
            layers=layer_grids(prepared.graph),
            quantizers=quantizer_grids(prepared.graph),
            unquantized=tuple(UnquantizedOperator.model_validate(entry) for entry in prepared.placement.unquantized),
            dead=tuple(prepared.dead),
            sensitivity=tuple(costs),
            free_size=self.network.free_size,
            **dict(findings),
        )

    def _methods(self) -> list[Method]:
        return [method for method in methods_of(self.network.settings) if isinstance(method, Method)]

    def _apply(self, phase: Phase) -> Findings:
        findings = Findings()
        for method in self._methods():
            if method.phase is phase and method.applies(self.network, self.network.settings):
                found = method.apply(self.network, self.images, self.network.settings, self.context)
                findings = findings.together_with(found)
        return findings

    def _reconstruct(self) -> Findings:
        """The methods for blocks go through the blocks together."""
        context, network = self.context, self.network
        store = BlockStore.in_folder(context.partial)
        errors = reconstruct(
            network.graph,
            self.images,
            network.settings,
            context.seed,
            store,
            context.progress,
            context.cache,
            context.score,
        )
        network.reconstructed = bool(errors)
        return Findings(blocks=errors) if errors else Findings()
