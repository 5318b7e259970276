"""The parts of a step: kernels and collectives of one rank, each with its time in seconds."""

from dataclasses import dataclass
from math import hypot, inf, log, sqrt

from tpdeploy.planner.model.attention.cost import ContextLayers
from tpdeploy.planner.performance.attention import StateLayers
from tpdeploy.planner.performance.collectives import (
    Collective,
)
from tpdeploy.planner.performance.kernels import Roofline
from tpdeploy.planner.performance.step import Step


@dataclass(frozen=True)
class Linear:
    """Equal matrix products on one rank."""

    count: int
    weight_bytes: float
    flops_per_token: float
    moved_per_token: float  # bytes of inputs and outputs
    kernel: Roofline

    def seconds(self, tokens: float) -> float:
        """Seconds of all of them for `tokens` tokens."""
        if tokens <= 0:
            return 0.0
        moved = self.weight_bytes + self.moved_per_token * tokens
        return self.count * self.kernel.seconds(self.flops_per_token * tokens, moved)


@dataclass(frozen=True)
class RoutedExperts:
    """The routed experts of all layers on one rank, one kernel per layer."""

    layers: int
    ranks: int  # that hold whole experts; 1 where every rank holds a part of each
    per_token: float
    share: float  # experts per token takes / experts there are
    weight_bytes: float  # of a layer's experts on a rank
    flops_per_token: float
    moved_per_token: float  # sorted inputs, gate and up, their product, outputs: written and read
    kernel: Roofline

    def seconds(self, tokens: float) -> float:
        """Seconds of all layers for `tokens` tokens, reading the experts that they touch."""
        if tokens <= 0:
            return 0.0
        busiest = imbalance(tokens * self.per_token, self.ranks)
        read = min(1.0, touched(self.share, tokens) * busiest) * self.weight_bytes
        flops, handed_on = self.flops_per_token * tokens, self.moved_per_token * tokens
        return self.layers * self.kernel.seconds(flops * busiest, read, handed_on * busiest)


def touched(share: float, tokens: float) -> float:
    """Share of the experts that `tokens` tokens touch, each taking `share` of them at random."""
    return float(1.0 - (1.0 - share) ** tokens)


def imbalance(choices: float, ranks: int) -> float:
    """Load of the busiest rank over the mean, when `choices` fall on `ranks` at random.

    The largest of n nearly normal counts lies about sqrt(2 ln n) deviations above their mean.
    """
    if ranks == 1:
        return 1.0
    return min(float(ranks), 1.0 + sqrt(2.0 * log(ranks) * ranks / choices))


@dataclass(frozen=True)
class Attention:
    """Equal layers, or their indexers, that attend to their context, on one rank."""

    cost: ContextLayers
    prompt_bytes: float  # Q, K, V and output of one prompt token, in one layer
    prefill: Roofline
    decode: Roofline
    # With more sequences each head of Q reads its K and V alone: in 16 bits, 2 bytes of each value
    # that it multiplies and adds.
    alone_above: float = inf
    alone_beside_prompts: bool = False  # with any number, in steps with prompts

    def seconds(self, step: Step) -> float:
        """Seconds of all of them in `step`."""
        cost, seconds = self.cost, 0.0
        if tokens := step.prefill_tokens:
            pairs = tokens * cost.attended(step.prefill_context)
            seconds = self.prefill.seconds(pairs * cost.pair_flops, tokens * self.prompt_bytes)
        if sequences := step.decode_sequences:
            # ContextLayers.attended and Roofline.seconds, spelled out: simulations do little else.
            entries, most = step.decode_context / cost.tokens_per_entry, cost.most_tokens
            contexts = sequences * (entries if most is None or entries < most else most)
            flops = contexts * step.verified * cost.decode_pair_flops
            alone = sequences > self.alone_above or (self.alone_beside_prompts and tokens > 0)
            read = contexts * (cost.decode_pair_flops if alone else cost.token_bytes)
            kernel = self.decode
            alike = hypot(flops / kernel.flops_per_s, read / kernel.bytes_per_s)
            seconds += kernel.start_s + alike
        return cost.layers * seconds


@dataclass(frozen=True)
class State:
    """Layers of linear attention: a step reads and writes the state of each sequence."""

    cost: StateLayers
    prefill: Roofline
    decode: Roofline

    def seconds(self, step: Step) -> float:
        """Seconds of all of them in `step`."""
        cost, seconds = self.cost, 0.0
        if step.prefill_tokens:
            seconds = self.prefill.seconds(step.prefill_tokens * cost.prefill_flops, 0.0)
        if step.decode_sequences:
            flops = step.decode_sequences * step.verified * cost.decode_flops
            moved = 2 * step.decode_sequences * cost.state_bytes
            seconds += self.decode.seconds(flops, moved)
        return cost.layers * seconds


@dataclass(frozen=True)
class Exchange:
    """Equal collectives of a group of ranks in one step."""

    count: int
    collective: Collective
    token_bytes: float  # of one message
    sampled: bool = False  # of the tokens that need logits alone

    def seconds(self, tokens: int) -> float:
        """Seconds of all of them for `tokens` tokens."""
        if not self.count:
            return 0.0
        return self.count * self.collective.seconds(tokens * self.token_bytes)
