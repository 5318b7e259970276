"""Time of one engine step: a roofline per operator, plus communication, plus the engine itself."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from tpdeploy.planner.performance.collectives import (
    Collective,
    PointToPoint,
)
from tpdeploy.planner.performance.operators import Attention, Exchange, Linear, RoutedExperts, State
from tpdeploy.planner.performance.step import Step, StepTime
from tpdeploy.profiles.devices.accelerator import Serving

# Counts of which the seconds are kept; a long simulation meets some thousands.
STEPS_KEPT = 8192


class _Rows(NamedTuple):
    """Seconds of what all tokens of a step go through."""

    products: float
    exchanges: float
    hand_on: float  # from one pipeline stage to the next


class _Routed(NamedTuple):
    """Seconds of the routed experts, and of bringing the tokens of all ranks there and back."""

    products: float
    exchanges: float


class _Logits(NamedTuple):
    """Seconds of the logits of a step, of gathering them, and of both and sampling."""

    products: float
    exchanges: float
    head: float


@dataclass(frozen=True, eq=False)
class StepModel:
    """Everything about one model on one data rank that a step's time depends on.

    All but attention depends on counts of which a simulation meets the same ones often: their
    seconds are kept.
    """

    layers: int
    hidden_bytes: float  # one token's residual stream
    products: tuple[Linear, ...]
    experts: RoutedExperts | None
    head: tuple[Linear, ...]
    mixing: tuple[Attention | State, ...]
    small_kernels: float  # seconds per token outside the products, all layers
    serving: Serving
    exchanges: tuple[Exchange, ...]  # first the all-reduces that end each block
    expert_exchanges: tuple[Exchange, ...]  # among data ranks: tokens to the experts, and back
    stages: int
    stage_layers: tuple[int, int]  # of the fullest pipeline stage before the last, and of the last
    hand_on: PointToPoint  # from one pipeline stage to the next
    latent_s: float = 0.0  # seconds a step takes longer with attention on a latent
    launch_s: float = 0.0  # seconds a step's kernels take to be launched one by one

    @property
    def reduce(self) -> Collective:
        """The all-reduce that ends each block."""
        return self.exchanges[0].collective

    @property
    def sources(self) -> tuple[str, ...]:
        """The source of the collectives that take longest."""
        main = (self.exchanges[0], *self.expert_exchanges)
        return tuple(e.collective.source for e in main if e.collective.group > 1)

    @property
    def joined(self) -> bool:
        """Whether several devices hold the model together."""
        return self.stages > 1 or bool(self._shared)

    def time(self, step: Step) -> StepTime:
        """Seconds of `step`, by cause."""
        counted = step.tokens, step.sampled, step.prefill_tokens > 0, step.elsewhere
        linear, communication, overhead = self._parts(*counted)
        attention = self._attention_seconds(step)
        waiting = max(0.0, self.launch_s - linear - attention - communication)
        overhead += waiting + self._tables_seconds(step)
        return StepTime(linear, attention, communication, overhead)

    def seconds(self, step: Step) -> float:
        """Seconds of `step` in all."""
        if self.launch_s:
            return self.time(step).total
        decoded, reads = step.decode_sequences * step.verified, step.prefill_tokens
        sampled = decoded + step.prefills_done
        counted = self._counted(decoded + reads, sampled, reads > 0, step.elsewhere)
        return counted + self._attention_seconds(step) + self._tables_seconds(step)

    def stage_seconds(self, step: Step, alone: float) -> tuple[float, float]:
        """Seconds that `step` takes of the fullest stage before the last, and of the last.

        The last stage has the head and samples; the others hand their rows on. `alone` is what all
        stages take, one after the other.
        """
        stages, (most, last) = self.stages, self.stage_layers
        hand_on, head = self._rows(step.tokens).hand_on, self._logits(step.sampled).head
        each = self._step_overheads_s[step.prefill_tokens > 0]
        layers = alone - head - stages * each - (stages - 1) * hand_on
        of_a_layer = layers / self.layers
        return most * of_a_layer + each + hand_on, last * of_a_layer + each + head

    def _attention_seconds(self, step: Step) -> float:
        seconds = 0.0
        for layers in self.mixing:
            seconds += layers.seconds(step)
        return seconds

    def _tables_seconds(self, step: Step) -> float:
        """Seconds in which the host writes the tables of KV blocks that the step reads."""
        return self.serving.context_s * step.decode_sequences * step.decode_context

    @cached_property
    def _counted(self) -> Callable[[int, int, bool, int], float]:
        return lru_cache(STEPS_KEPT)(lambda *counted: sum(self._parts_of(*counted)))

    @cached_property
    def _parts(self) -> Callable[[int, int, bool, int], tuple[float, float, float]]:
        return lru_cache(STEPS_KEPT)(self._parts_of)

    @cached_property
    def _rows(self) -> Callable[[int], _Rows]:
        return lru_cache(STEPS_KEPT)(self._rows_seconds)

    @cached_property
    def _routed(self) -> Callable[[int], _Routed]:
        return lru_cache(STEPS_KEPT)(self._routed_seconds)

    @cached_property
    def _logits(self) -> Callable[[int], _Logits]:
        return lru_cache(STEPS_KEPT)(self._logits_seconds)

    def _parts_of(
        self, tokens: int, sampled: int, reads: bool, elsewhere: int
    ) -> tuple[float, float, float]:
        """Products, communication and the engine's own time.

        `reads`: of a prompt; `elsewhere`: tokens of other data ranks.
        """
        (products, exchanges, hand_on), engine = self._rows(tokens), self.serving
        routed, brought = self._routed(tokens + elsewhere)
        sampling, gathers, _ = self._logits(sampled)
        exchanged = exchanges + brought + gathers
        each = self.layers * engine.layer_s + self.latent_s + sampled * engine.sequence_s
        return (
            products + routed + sampling + tokens * self.small_kernels,
            exchanged + self._waited_s + (self.stages - 1) * hand_on,
            # Every stage of a pipeline is given its part of the step by itself.
            self.stages * self._step_overheads_s[reads] + each,
        )

    def _rows_seconds(self, tokens: int) -> _Rows:
        moved = tokens * self.hidden_bytes
        return _Rows(
            products=sum([product.seconds(tokens) for product in self.products]),
            exchanges=sum([self._seconds_of(e, tokens) for e in self.exchanges if not e.sampled]),
            hand_on=self.hand_on.seconds(moved) if self.stages > 1 else 0.0,
        )

    def _routed_seconds(self, tokens: int) -> _Routed:
        return _Routed(
            products=self.experts.seconds(tokens) if self.experts else 0.0,
            exchanges=sum(self._seconds_of(e, tokens) for e in self.expert_exchanges),
        )

    def _logits_seconds(self, sampled: int) -> _Logits:
        products = sum(product.seconds(sampled) for product in self.head)
        gathered = sum(self._seconds_of(e, sampled) for e in self.exchanges if e.sampled)
        each = products + gathered
        return _Logits(products, gathered, each + sampled * self.serving.sequence_s)

    def _seconds_of(self, exchange: Exchange, tokens: int) -> float:
        """Seconds of `exchange` between an engine's other kernels."""
        engine = self.serving
        over_pcie = exchange.collective.over_pcie
        factor = engine.pcie_communication if over_pcie else engine.communication
        return factor * exchange.seconds(tokens)

    @cached_property
    def _waited_s(self) -> float:
        """Seconds that ranks wait for the last of them before collectives begin."""
        return self.serving.arrival_s * sum(exchange.count for exchange in self._shared)

    @property
    def _shared(self) -> list[Exchange]:
        """The exchanges that more than one rank takes part in."""
        both = (*self.exchanges, *self.expert_exchanges)
        return [exchange for exchange in both if exchange.collective.group > 1]

    @cached_property
    def _step_overheads_s(self) -> tuple[float, float]:
        """Seconds that the engine spends on one step of one stage, without prompts and with."""
        engine = self.serving
        group = engine.group_step_s if self._shared else 0.0
        return engine.step_s + group, engine.step_s + engine.prompt_step_s + group
