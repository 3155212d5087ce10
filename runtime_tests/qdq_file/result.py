"""What `genq-export verify-file` finds, as typed data; `--json` prints it."""

from pathlib import Path

from genq_export.config.base import Frozen


class QuantizerFidelity(Frozen):
    """Codes of one QuantizeLinear, a runtime's beside the reference's, over all runs.

    tensor: its codes. operator: what made the numbers that it rounds, None for an input of the network.
    own, own_largest: codes that differ, and by how much at most, when it is fed with the reference's codes; None where
    the runtime does not take such a copy. clean: codes that differ in runs in which all that it is computed from are
    equal. explanation: None where nothing differs by itself, or no experiment confirms one.
    """

    tensor: str
    operator: str | None
    inputs: tuple[str, ...]
    codes: int
    differing: int
    largest: int
    own: int | None
    own_largest: int
    clean: int
    explanation: str | None = None
    evidence: tuple[str, ...] = ()

    @property
    def by_itself(self) -> bool:
        """Does it differ though everything in front of it is right?"""
        return bool(self.own or self.clean)

    @property
    def unexplained(self) -> bool:
        """Does it differ by itself for no reason that was found?"""
        return self.by_itself and self.explanation is None


class OutputFidelity(Frozen):
    """An output as users get it, beside the reference's. agreement: share of equal top answers, None where it holds
    none. sqnr_db: 300 where nothing differs."""

    name: str
    sqnr_db: float
    largest: float
    agreement: float | None


class Layer(Frozen):
    """How a runtime computes an operator that multiplies."""

    name: str
    op: str
    integer: bool
    detail: str


class RuntimeFidelity(Frozen):
    """A runtime beside the reference.

    problem: why it gave no answer; nothing else is known then. missing: because it is not installed. first: the first
    code tensor that differs, in the order of the graph. unseen_runs: in which outputs differ although every code is
    equal while codes are read. unseen: why, as an experiment showed; None without one. layers: None where the runtime
    does not tell.
    """

    runtime: str
    title: str
    problem: str | None = None
    missing: bool = False
    codes: int = 0
    differing: int = 0
    first: str | None = None
    quantizers: tuple[QuantizerFidelity, ...] = ()
    outputs: tuple[OutputFidelity, ...] = ()
    unseen_runs: int = 0
    unseen: str | None = None
    evidence: tuple[str, ...] = ()
    layers: tuple[Layer, ...] | None = None

    @property
    def unexplained(self) -> bool:
        """Does anything differ for no reason that was found, or does the runtime not take the file?"""
        if self.problem is not None:
            return not self.missing
        return (self.unseen_runs > 0 and self.unseen is None) or any(item.unexplained for item in self.quantizers)


class FileVerification(Frozen):
    """Of one file. source: what it was run on. notes: what was left out."""

    file: Path
    sha256: str
    producer: str | None
    opset: int
    quantizers: int
    runs: int
    source: str
    reference: str
    runtimes: tuple[RuntimeFidelity, ...]
    notes: tuple[str, ...] = ()

    @property
    def unexplained(self) -> bool:
        """Do codes differ in a runtime for no reason that was found?"""
        return any(item.unexplained for item in self.runtimes)
