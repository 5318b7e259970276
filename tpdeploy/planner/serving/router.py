"""Router: which replica a request goes to; one function for each policy.

Each is given the replicas, the request and a source of chance. Of equal replicas, the one that has
had the fewest requests is taken.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Protocol

from tpdeploy.planner.request import Router
from tpdeploy.planner.trace import Recorded

# SGLang's router, now SMG (github.com/lightseekorg/smg, docs/concepts/routing/cache-aware.md, read
# in November 2026), has these defaults: --cache-threshold, --balance-abs-threshold and
# --balance-rel-threshold. vLLM's router has the same ones.
LEAST_CACHED = 0.3  # of a prompt's tokens
MOST_APART, MOST_TIMES = 64, 1.5  # requests in flight of the busiest replica and the idlest


class Behind(Protocol):
    """A replica as a router sees it."""

    in_flight: int
    had: int  # requests so far

    def holds(self, request: Recorded) -> int:
        """Prompt tokens of `request` that its prefix cache holds."""


Pick = Callable[[Sequence[Behind], Recorded, Random], int]


def round_robin(replicas: Sequence[Behind], _: Recorded, __: Random) -> int:
    """One after the other."""
    return min(range(len(replicas)), key=lambda n: replicas[n].had)


def least_in_flight(replicas: Sequence[Behind], _: Recorded, __: Random) -> int:
    """The one with the fewest requests in flight, as our own front does it (Caddy's least_conn)."""
    return min(range(len(replicas)), key=lambda n: (replicas[n].in_flight, replicas[n].had))


def power_of_two(replicas: Sequence[Behind], _: Recorded, chance: Random) -> int:
    """Of two at random the one with fewer in flight.

    As Ray Serve does it by default, and Caddy's random_choose; Mitzenmacher 2001, "The power of two
    choices in randomized load balancing".
    """
    two = chance.sample(range(len(replicas)), min(2, len(replicas)))
    return min(two, key=lambda n: (replicas[n].in_flight, replicas[n].had))


def cache_aware(replicas: Sequence[Behind], request: Recorded, chance: Random) -> int:
    """The one that holds the most of the prompt, unless another is overloaded or none holds much.

    The rule of SGLang's and vLLM's routers: overloaded is the busiest with over MOST_APART requests
    and MOST_TIMES as many in flight as the idlest. The router knows what each replica holds, as
    those do that listen to the engines' KV events.
    """
    loads = [replica.in_flight for replica in replicas]
    apart, times = max(loads) - min(loads), MOST_TIMES * min(loads)
    if apart > MOST_APART and max(loads) > times:
        return least_in_flight(replicas, request, chance)
    held = [replica.holds(request) for replica in replicas]
    if max(held) <= LEAST_CACHED * request.prompt:
        return least_in_flight(replicas, request, chance)
    likely = [n for n in range(len(replicas)) if held[n] == max(held)]
    return likely[least_in_flight([replicas[n] for n in likely], request, chance)]


POLICIES: Mapping[Router, Pick] = {
    "least-in-flight": least_in_flight,
    "round-robin": round_robin,
    "power-of-two": power_of_two,
    "cache-aware": cache_aware,
}
