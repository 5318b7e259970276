"""From all-reduces that were measured between machines to the network that plans take."""

from collections.abc import Iterable, Sequence
from math import exp, log, sqrt
from typing import Literal

from tpdeploy.planner.performance.link_model import all_reduce_seconds
from tpdeploy.profiles.devices.fabric import Curve, LinkModel, Network
from tpdeploy.profiles.devices.networks import Reduction

Told = dict[str, object]

# What no sample shows may be anything: it is held where hardware is.
LEAST_HOP_S = 1e-8
RATE_SPAN = 100.0  # around bytes / seconds of the largest message, which starts and crosses as well


def network_of(
    name: str, description: str, samples: Sequence[Reduction], device: str, told: Told
) -> Network:
    """The network: its adapters and link as they are found, and every curve of one group alone.

    `told` is the provenance of the numbers. Needs two message sizes or more of each group.
    """
    alone = _column(samples, rails=1)
    rails = max(sample.rails for sample in samples)
    own = rails > 1 and _own_adapters(alone, _column(samples, rails))
    link = fitted_link(_column(samples, rails) if own else alone, told)
    return Network(
        name=name,
        description=description,
        adapters=_adapters(own=own),
        link=link,
        curves=_curves(samples, device, told),
    )


def fitted_link(samples: Sequence[Reduction], told: Told) -> LinkModel:
    """Latency per hop and bandwidth of one adapter that explain these all-reduces.

    The least squares of log(fitted / measured). Each sample is of one rank on each machine.
    """
    from scipy.optimize import least_squares  # noqa: PLC0415 - 0.9 s that only this needs

    def link(hop: float, rate: float) -> LinkModel:
        found = {"hop_latency_s": exp(hop), "ring_bytes_per_s": exp(rate)}
        return LinkModel.model_validate({**found, **told})

    def off(logs: Iterable[float], /) -> list[float]:
        model = link(*logs)
        return [log(all_reduce_seconds(model, s.group, s.bytes) / s.seconds) for s in samples]

    least, most = (pick(samples, key=lambda s: s.bytes) for pick in (min, max))
    rate = most.bytes / most.seconds
    found = least_squares(
        off,
        [log(least.seconds / 2), log(rate)],
        bounds=(
            [log(LEAST_HOP_S), log(rate / RATE_SPAN)],
            [log(least.seconds), log(rate * RATE_SPAN)],
        ),
        loss="soft_l1",
        f_scale=0.2,
    )
    return link(*found.x)


def _column(samples: Sequence[Reduction], rails: int) -> list[Reduction]:
    """Those of groups with one rank on each machine."""
    return [s for s in samples if s.group == s.machines and s.rails == rails]


def _own_adapters(alone: Sequence[Reduction], together: Sequence[Reduction]) -> bool:
    """Whether each device has an adapter of its own: large messages hardly slow one another.

    Over a common adapter as many messages at once take as many times as long as one.
    """
    one, many = (max(samples, key=lambda s: s.bytes) for samples in (alone, together))
    return many.seconds / one.seconds < sqrt(many.rails)


def _adapters(*, own: bool) -> Literal["gpu", "machine"]:
    return "gpu" if own else "machine"


def _curves(samples: Sequence[Reduction], device: str, told: Told) -> tuple[Curve, ...]:
    """One of each width of group, as far as it had the network to itself."""
    return tuple(
        _curve([s for s in samples if (s.group, s.rails) == (width, 1)], device, told)
        for width in sorted({s.group for s in samples})
    )


def _curve(samples: Sequence[Reduction], device: str, told: Told) -> Curve:
    first = samples[0]
    return Curve.model_validate(
        {
            "operation": "all-reduce",
            "algorithm": first.kernel,
            "group_size": first.group,
            "nodes": first.machines,
            "gpu": device,
            "points": [(s.bytes, s.seconds) for s in samples],
            **told,
        }
    )
