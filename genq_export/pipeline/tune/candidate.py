"""A build that may be tried: which bits, which layers stay in float, learned or in closed form."""

from dataclasses import dataclass

from genq_export.config.build import BuildConfig
from genq_export.config.quantize import MixedPrecisionConfig, WideActivationsConfig

MIXED_BITS = 6.0  # mean of the mixed-precision candidate
# More in the mean than weights have, where activations have 8 bits in places; as `--activation-bits auto`.
_WIDE_BITS = 1
_FIDELITY_IMAGES = 64  # whose codes are compared while candidates are only held against each other


@dataclass(frozen=True)
class Candidate:
    """One point of the grid that `tune` chooses from.

    Attributes:
        weight_bits, activation_bits: of the layers between the first and the last; None: mixed, `MIXED_BITS` on
            average.
        kept: layers that stay in float, the worst first.
        learned: whether the build's own reconstruction and training follow; else ranges and closed form alone.
        wide: whether activations have 8 bits where fewer cost most (`--activation-bits auto`).
    """

    weight_bits: int | None
    activation_bits: int | None
    kept: tuple[str, ...] = ()
    learned: bool = False
    wide: bool = False

    @property
    def name(self) -> str:
        """`w4a8`, `w4a4-8`, `w4a8-float2-learned`: its folder."""
        bits = f"mixed{MIXED_BITS:g}" if self.weight_bits is None else f"w{self.weight_bits}a{self.activation_bits}"
        bits += "-8" if self.wide else ""
        return bits + (f"-float{len(self.kept)}" if self.kept else "") + ("-learned" if self.learned else "")

    def config(self, base: BuildConfig) -> BuildConfig:
        """The whole build: `base` with this candidate's grids, measured for the main setting of latency alone.

        Raises:
            UserError: where the settings of `base` rule it out.
        """
        settings = base.quantize
        average = MIXED_BITS if self.weight_bits is None else None
        grids: dict[str, object] = {"mixed_precision": MixedPrecisionConfig(average_bits=average, size_budget=None)}
        if self.weight_bits is not None:
            mean = self.weight_bits + _WIDE_BITS if self.wide else None
            grids |= {"wide_activations": WideActivationsConfig(mean_bits=mean)}
            grids |= {"weight_bits": self.weight_bits, "activation_bits": self.activation_bits}
        learning = {} if self.learned else _without_learning(base)
        quantize = settings.model_copy(
            update={**grids, **learning, "keep_float": (*settings.keep_float, *self.kept), "sensitivity": True}
        )
        verify = base.verify.model_copy(
            update={
                "latency_batches": base.verify.latency_batches[:1],
                "fidelity_images": min(_FIDELITY_IMAGES, base.verify.fidelity_images),
                "backends": base.verify.backends or (),
                "gates": base.verify.gates.model_copy(update={"min_integer_share": 0.0}),
            }
        )
        changed = base.model_copy(update={"quantize": quantize, "verify": verify})
        return BuildConfig.parse(changed.model_dump(mode="json"), source=self.name)


def can_learn(base: BuildConfig) -> bool:
    """Is there anything to learn in builds of this config?"""
    return base.quantize.uses("reconstruction") or base.quantize.uses("qat")


def _without_learning(base: BuildConfig) -> dict[str, object]:
    settings = base.quantize
    return {
        "reconstruction": settings.reconstruction.model_copy(update={"iterations": 0}),
        "qat": settings.qat.model_copy(update={"epochs": 0}),
    }


# Tried first and always: without learning each takes little longer than measuring it.
CHEAP = (Candidate(8, 8), Candidate(4, 8), Candidate(None, None), Candidate(4, 4))
