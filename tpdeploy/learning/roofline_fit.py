"""From single measurements of kernels to the rates they reach: the roofline that fits them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import median

from tpdeploy.learning.calibrations import FittedRates, Operation, Sample
from tpdeploy.planner.performance.assembly import small_values
from tpdeploy.planner.performance.kernels import Roofline
from tpdeploy.profiles.devices.fabric import Algorithm, Curve

VALUE_BYTES = 2  # of BF16 or FP16, in which everything is measured
# A kernel is held to start in no less: it must not be 0 for its logarithm.
LEAST_START_S = 1e-8
# A rate that no sample shows may be anything above the best seen; it is held near it.
MOST_OVER_BEST = 3.0
ALGORITHMS: dict[str, Algorithm] = {"nccl": "nccl", "shared-memory": "shared-memory"}


@dataclass(frozen=True)
class Work:
    """What one sample did."""

    flops: float
    moved_bytes: float


def work(sample: Sample) -> Work:
    """FLOPs and bytes of one sample, counted as the step model counts them."""
    shape = sample.shape
    match sample.operation:
        case "product":
            return _product(**shape)
        case "small":
            values = shape["rows"] * small_values(shape["hidden"], shape["wide"])
            return Work(0.0, values * VALUE_BYTES)
        case "prompt":
            return _prompt(**shape)
        case "context":
            return _context(**shape)
        case _:
            return Work(0.0, shape["bytes"])


def _product(rows: int, inputs: int, outputs: int) -> Work:
    """Weights once, inputs and outputs of each row."""
    values = inputs * outputs + rows * (inputs + outputs)
    return Work(2.0 * rows * inputs * outputs, values * VALUE_BYTES)


def _prompt(heads: int, kv_heads: int, head_size: int, tokens: int) -> Work:
    """Each token attends to half of the prompt on average; Q, K, V and output move once."""
    pairs = tokens * tokens / 2
    values = tokens * 2 * (heads + kv_heads) * head_size
    return Work(4.0 * heads * head_size * pairs, values * VALUE_BYTES)


def _context(heads: int, kv_heads: int, head_size: int, tokens: int, sequences: int) -> Work:
    """One new token per sequence reads K and V of its whole context."""
    contexts = sequences * tokens
    read = contexts * 2 * kv_heads * head_size * VALUE_BYTES
    return Work(4.0 * heads * head_size * contexts, read)


def read_rate(samples: Sequence[Sample]) -> float:
    """Bytes/s of reading memory."""
    return max(s.shape["bytes"] / s.seconds for s in samples if s.operation == "read")


def fit_rates(samples: Sequence[Sample], operation: Operation) -> FittedRates:
    """The roofline nearest the samples of `operation`: least squares of log(fitted / measured).

    Of several samples of one shape the quickest counts: what else a machine does only slows it.
    Rates end at a few times the best that any sample shows.
    """
    from scipy.optimize import least_squares  # noqa: PLC0415 - 0.9 s that only this needs

    chosen = _quickest(samples, operation)
    done = [work(sample) for sample in chosen]
    times = [sample.seconds for sample in chosen]
    most_flops = max(*(w.flops / t for w, t in zip(done, times, strict=True)), 1.0)
    most_bytes = max(w.moved_bytes / t for w, t in zip(done, times, strict=True))

    def off(logs: Iterable[float], /) -> list[float]:
        roofline = Roofline(*map(exp, logs))
        fitted = (roofline.seconds(w.flops, w.moved_bytes) for w in done)
        return [log(f / t) for f, t in zip(fitted, times, strict=True)]

    start = min(times) / 2
    found = least_squares(
        off,
        [log(most_flops), log(most_bytes), log(start)],
        bounds=(
            [log(most_flops / 100), log(most_bytes / 100), log(LEAST_START_S)],
            [log(MOST_OVER_BEST * most_flops), log(MOST_OVER_BEST * most_bytes), log(min(times))],
        ),
        loss="soft_l1",
        f_scale=0.2,
    )
    flops_per_s, bytes_per_s, start_s = map(exp, found.x)
    return FittedRates(
        kernel=chosen[0].kernel,
        flops_per_s=flops_per_s,
        bytes_per_s=bytes_per_s,
        start_s=start_s,
        error=median(abs(exp(value) - 1) for value in off(found.x)),
    )


def _quickest(samples: Sequence[Sample], operation: Operation) -> list[Sample]:
    found: dict[tuple[tuple[str, int], ...], Sample] = {}
    for sample in samples:
        shape = tuple(sample.shape.items())
        if sample.operation == operation and (
            shape not in found or sample.seconds < found[shape].seconds
        ):
            found[shape] = sample
    return list(found.values())


def curves(samples: Sequence[Sample], gpu: str, told: dict[str, object]) -> tuple[Curve, ...]:
    """The all-reduces among the samples, one curve per width; `told` is their provenance.

    Those of an algorithm that no engine uses within a machine (gloo) are left out.
    """
    chosen = [s for s in samples if s.operation == "all-reduce" and s.kernel in ALGORITHMS]
    widths = sorted({(s.kernel, s.shape["group"]) for s in chosen})
    return tuple(
        Curve.model_validate(
            {
                "operation": "all-reduce",
                "algorithm": kernel,
                "group_size": width,
                "gpu": gpu,
                "points": [
                    (s.shape["bytes"], s.seconds)
                    for s in chosen
                    if (s.kernel, s.shape["group"]) == (kernel, width)
                ],
                **told,
            }
        )
        for kernel, width in widths
    )
