"""What an experiment may look at, and what it may say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from runtime_tests.qdq_file.copies import fed_name, fed_tensors
from runtime_tests.qdq_file.graph import Quantizer
from runtime_tests.qdq_file.inputs import Feeds
from runtime_tests.qdq_file.loading import Arrays, Manner
from runtime_tests.qdq_file.session import Opened, differing

REFERENCE = Manner("onnxruntime", "off")
LEFT = 0.01  # an experiment explains what it leaves at most this share of


@dataclass(frozen=True)
class Scene:
    """A runtime whose codes differ from the reference's.

    fed: the file's copy that is fed with codes. samples, expected: what was run, and the reference's codes. found: of
    each run the runtime's codes of those quantizers that differ by themselves. limit: seconds of an answer.
    """

    manner: Manner
    fed: onnx.ModelProto
    samples: Sequence[Feeds]
    expected: Sequence[Arrays]
    found: Sequence[Arrays]
    limit: float

    def runs(self, model: onnx.ModelProto, manner: Manner, tensors: Sequence[str]) -> list[Arrays]:
        """Tensors of a changed copy that is fed with the reference's codes, run by run. Raises BackendError."""
        read = fed_tensors(model)
        with Opened(model, manner, self.limit) as opened:
            return [
                opened.run(sample | {fed_name(name): codes[name] for name in read}, tensors)
                for sample, codes in zip(self.samples, self.expected, strict=True)
            ]

    def wrong(self, item: Quantizer) -> int:
        """Codes that a quantizer by itself computes otherwise than the reference."""
        pairs = zip(self.expected, self.found, strict=True)
        return sum(differing(right[item.tensor], codes[item.tensor]) for right, codes in pairs if item.tensor in codes)

    def left(self, item: Quantizer, changed: Sequence[Arrays], against: Sequence[Arrays]) -> int:
        """Codes of changed copies that differ; runs in which `against` has none are left out."""
        pairs = zip(changed, against, strict=True)
        return sum(differing(codes[item.tensor], other[item.tensor]) for codes, other in pairs if item.tensor in other)


@dataclass(frozen=True)
class Finding:
    """What one experiment shows of one quantizer.

    explanation: one sentence without a full stop, None where it does not confirm its suspicion. evidence: what was
    seen, whether or not it confirms.
    """

    explanation: str | None = None
    evidence: str | None = None


Experiment = Callable[[Scene, Sequence[Quantizer]], Mapping[str, Finding]]
"""Tests one suspicion on several quantizers at once, and says by tensor what it shows. It could come out otherwise."""
