"""A run in one or two sentences."""

from collections.abc import Sequence

from genq_export.runtimes import runtime
from genq_export.targets import target as target_of
from runtime_tests.verify import gates
from runtime_tests.verify.gate import Gate
from runtime_tests.verify.gates import AuditedLayer
from runtime_tests.verify.label_figures import labelled
from runtime_tests.verify.results import FLOAT, Latency, Verification
from runtime_tests.verify.task_answers import deployed_answers, shown_figure

_WORKING = 0.05  # of mAP or mIoU, below which float is not seen to work
_BETTER = 0.1  # share of what is above chance that float must reach to count as working


def verdict(run: Verification, target: str, audit: Sequence[AuditedLayer], judged: Sequence[Gate]) -> str:
    """The failed gates, or what the build achieved.

    Args:
        run: What was measured.
        target: What the file was made for.
        audit: Layers of the deployed file.
        judged: The gates of the run.
    """
    failed = [gate.message for gate in judged if not gate.passed]
    said = _failure(run, failed) if failed else _success(run, target, audit)
    return " ".join(filter(None, (_of_float(run), said)))


def _of_float(run: Verification) -> str:
    """What must be known first: that float itself was not seen to work, or is hardly better than chance."""
    seen_right = labelled(run, FLOAT)
    if seen_right is not None:
        if seen_right.value > _WORKING:
            return ""
        return (
            f"Float itself reaches {shown_figure(seen_right)} of {seen_right.title}: labels or preprocessing do not fit"
            " the network."
        )
    if FLOAT not in run.accuracy:
        seen = gates.deployed_from_float(run)
        judged = f"{seen.sqnr_db:.1f} dB from float on {seen.n} {seen.images} images" if seen and seen.sqnr_db else ""
        where = f", only that the file is {judged}" if judged else ""
        return f"Whether the network is right was not seen, as there were no labelled images{where}."
    found, share = run.accuracy[FLOAT], chance(run)
    if share is None:
        return ""
    if found.low > share and found.top1 > min(2 * share, share + _BETTER * (1 - share)):
        return ""
    return (
        f"Float itself is right on {100 * found.top1:.1f} % of the images, hardly more than the {100 * share:.1f} % of"
        " always giving the commonest class: labels or preprocessing do not fit the network."
    )


def chance(run: Verification) -> float | None:
    """Top-1 of always giving the commonest class, at least that of giving any; None without labels."""
    counts = run.evaluation.class_counts if run.evaluation is not None else None
    if not counts or not sum(counts):  # a run of an earlier release
        return None
    return max(1 / len(counts), max(counts) / sum(counts))


def _failure(run: Verification, messages: list[str]) -> str:
    where = gates.first_divergence(run)
    first = next((number for number, message in enumerate(messages) if where and where in message), len(messages))
    # Where codes first differ explains several gates; once is enough.
    said = [message.replace(where, "") if number > first else message for number, message in enumerate(messages)]
    return " ".join(message[0].upper() + message[1:] + "." for message in said)


def _success(run: Verification, target: str, audit: Sequence[AuditedLayer]) -> str:
    parts = [part for part in (_cost(run), _speed(run.latency), _size(run), _integers(run, target, audit)) if part]
    if not parts:
        return "Nothing could be measured on this machine."
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    if run.deployed == target_of(target).stand_in:
        stand_in = runtime(run.deployed).product
        return f"The {target_of(target).title} file, computed as written by {stand_in}, {listed}."
    return f"The deployed network {listed}."


def _cost(run: Verification) -> str:
    loss, right = gates.accuracy_loss(run), labelled(run, run.deployed)
    if loss is not None and right is not None:
        name, moved = right.title.partition(" ")[0], "loses" if loss >= 0 else "gains"
        return f"reaches {100 * right.value:.2f} % {name} and {moved} {abs(loss):.2f} points against float"
    if loss is not None:
        moved = "loses" if loss >= 0 else "gains"
        top1 = run.accuracy[run.deployed].top1
        return f"reaches {100 * top1:.2f} % top-1 and {moved} {abs(loss):.2f} points against float"
    figures = deployed_answers(run)
    if figures:
        told = f"{figures[0].title} {shown_figure(figures[0])}"
        return f"is held against float ({told}, on {figures[0].n} {figures[0].images} images)"
    agreement = run.agreement.get(f"{run.deployed}_vs_{FLOAT}")
    return f"agrees with float on {100 * agreement:.2f} % of the images" if agreement is not None else ""


def _speed(latency: Latency | None) -> str:
    if latency is None:
        return ""
    if not latency.significant:
        return "is as fast as float within the noise"
    if latency.speedup >= 1:
        return f"runs {latency.speedup:.2f} times as fast"
    return f"runs slower than float ({latency.speedup:.2f} times its speed)"


def _size(run: Verification) -> str:
    if run.size is None:
        return ""
    return f"is {run.size.float_bytes / run.size.deployed_bytes:.1f} times smaller"


def _integers(run: Verification, target: str, audit: Sequence[AuditedLayer]) -> str:
    if gates.integer_share(audit) is None:
        return ""
    integer = sum(layer.integer for layer in audit)
    done = f"all {len(audit)}" if integer == len(audit) else f"{integer} of {len(audit)}"
    return f"{'has' if run.deployed == target_of(target).stand_in else 'computes'} {done} layers in integers"
