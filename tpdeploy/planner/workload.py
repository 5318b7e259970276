"""Workload: what users will send, and how fast they want the answer."""

from math import floor
from typing import Any, Literal

from pydantic import Field, model_validator

from tpdeploy.bounds import MOST_DRAFT_COST, MOST_DRAFTED, Clients, Rate, TargetMs, Tokens
from tpdeploy.planner.lengths import Lengths
from tpdeploy.planner.trace import Recording
from tpdeploy.profiles.record import Record

# Drafting one token with a one-layer head (EAGLE, MTP) on a model of 32 to 80 layers: that layer
# and the output head again. An estimate, not measured.
DRAFT_COST = 0.05

# People's requests differ in length: vLLM's `--random-range-ratio`, of which 0.2 is a common value.
# A judgement: with it runs of drawn lengths are met that equal ones miss by a factor of 2 to 5.
LENGTH_SPREAD, MOST_SPREAD = 0.2, 0.9
INPUT_TOKENS, OUTPUT_TOKENS = 1024, 256

Percentile = Literal["mean", "p50", "p90", "p95", "p99"]


class Target(Record):
    """A latency that must not be exceeded, at a named statistic."""

    ms: TargetMs
    at: Percentile = "p50"


class Speculation(Record):
    """Speculative decoding: `tokens` are drafted and verified in one step of the model.

    Each drafted token is accepted with probability `acceptance`, up to the first that is not.
    """

    tokens: int = Field(gt=0, le=MOST_DRAFTED, description="tokens drafted a step and sequence")
    acceptance: float = Field(ge=0, le=1, description="probability that one is accepted")
    draft_cost: float = Field(
        default=DRAFT_COST,
        ge=0,
        le=MOST_DRAFT_COST,
        description="time to draft one token / time of a decode step",
    )

    @property
    def tokens_per_step(self) -> float:
        """Tokens a sequence gains in one step: (1 - A^(N+1)) / (1 - A), of 1 to N + 1.

        Leviathan et al. 2023, equation 1: accepted tokens, and the one the model adds itself.
        """
        if self.acceptance == 1:
            return self.tokens + 1.0
        return float((1 - self.acceptance ** (self.tokens + 1)) / (1 - self.acceptance))

    @property
    def verified_tokens(self) -> int:
        """Tokens of one sequence that go through the model in one step."""
        return self.tokens + 1


def fields_of(lengths: Lengths) -> dict[str, Any]:
    """The fields of a workload that has these lengths."""
    prompt, answer = lengths.means
    means = {"input_tokens": prompt, "output_tokens": answer}
    return {**means, "length_spread": 0.0, "lengths": lengths}


class Workload(Record):
    """Requests of one kind: in a closed loop (`concurrency`) or arriving at `rate`."""

    input_tokens: Tokens = Field(default=INPUT_TOKENS, description="mean of the prompts")
    output_tokens: Tokens = Field(default=OUTPUT_TOKENS, description="mean of the answers")
    length_spread: float = Field(
        default=LENGTH_SPREAD,
        ge=0,
        le=MOST_SPREAD,
        description="prompts and answers are drawn evenly from (1 - this) to (1 + this) times "
        "their mean; 0: all are equal, and clients run in lockstep",
    )
    lengths: Lengths | None = Field(
        default=None,
        description="the requests one by one, whose means the two above are; None: as "
        "length_spread says",
    )
    concurrency: Clients | None = Field(default=None, description="requests in flight")
    rate: Rate | None = Field(default=None, description="requests/s")
    recording: Recording | None = Field(
        default=None,
        description="requests come as they were recorded, of which rate and lengths are the means; "
        "None: in a closed loop, or at random",
    )
    ttft: Target | None = Field(default=None, description="time to first token")
    tpot: Target | None = Field(
        default=None, description="(end-to-end - TTFT) / (output tokens - 1)"
    )
    prefix_hit_rate: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of prompt tokens found in the prefix cache: not computed, but held",
    )
    speculation: Speculation | None = None

    @model_validator(mode="after")
    def _one_kind_of_load(self) -> "Workload":
        if (self.concurrency is None) == (self.rate is None):
            raise ValueError("give exactly one of concurrency and rate")
        if self.recording and self.rate is None:
            raise ValueError("a recording has a rate, its mean")
        return self

    @model_validator(mode="after")
    def _means_of_lengths(self) -> "Workload":
        if self.lengths is None:
            return self
        if (self.input_tokens, self.output_tokens) != self.lengths.means:
            raise ValueError(
                f"input_tokens and output_tokens: the lengths have means {self.lengths.means}"
            )
        if self.length_spread:
            raise ValueError("length_spread: need 0 beside lengths, which have their own")
        return self

    @property
    def differs(self) -> bool:
        """Whether requests differ in length."""
        return self.lengths is not None or self.length_spread > 0

    @property
    def sizes(self) -> str:
        """How long requests are, in words."""
        means = f"{self.input_tokens:,} tokens in, {self.output_tokens:,} out"
        return f"{self.lengths.name}: {means}" if self.lengths else means

    @property
    def context_tokens(self) -> int:
        """Tokens one request of mean length holds at its end."""
        return self.input_tokens + self.output_tokens

    @property
    def mean_held_tokens(self) -> float:
        """Mean tokens of a running request: its prompt, and half of its answer while that grows.

        Over time, in which long answers count more.
        """
        if self.lengths:
            held = sum(answer * (prompt + answer / 2) for prompt, answer in self.lengths.pairs)
            return held / sum(answer for _, answer in self.lengths.pairs)
        return self.input_tokens + self.output_tokens / 2 * (1 + self.length_spread**2 / 3)

    @property
    def longest_tokens(self) -> int:
        """Tokens the longest request holds at its end."""
        if self.lengths:
            return self.lengths.longest
        parts = self.input_tokens, self.output_tokens
        return sum(max(1, round(tokens * (1 + self.length_spread))) for tokens in parts)

    @property
    def verified_tokens(self) -> int:
        """Tokens of one sequence in a decode step: one, and what was drafted."""
        return self.speculation.verified_tokens if self.speculation else 1

    @property
    def steps_per_token(self) -> float:
        """Decode steps that one token takes: 1, or less with drafted tokens, drafting included.

        Verifying several tokens is taken to cost what one does, as it does while weights are read.
        """
        draft = self.speculation
        return (1 + draft.tokens * draft.draft_cost) / draft.tokens_per_step if draft else 1.0

    def within(self, tokens: int) -> "Workload":
        """The same requests, spread by no more than lets the longest have `tokens`.

        Of `lengths` those that are longer are left out.

        Raises:
            InputError: more than one in ten of `lengths` are longer.
        """
        if self.lengths:
            return self.model_copy(update=fields_of(self.lengths.within(tokens)))
        if self.longest_tokens <= tokens or self.context_tokens > tokens:
            return self
        spread = floor((tokens / self.context_tokens - 1) * 100) / 100
        return self.model_copy(update={"length_spread": max(0.0, spread)})

    def at_concurrency(self, clients: int) -> "Workload":
        """The same requests with so many in flight."""
        return self.model_copy(update={"concurrency": clients, "rate": None, "recording": None})

    def at_rate(self, rate: float) -> "Workload":
        """The same requests arriving at `rate` per second."""
        return self.model_copy(update={"concurrency": None, "rate": rate, "recording": None})

    @property
    def arriving(self) -> str:
        """How requests arrive, in words."""
        if self.recording:
            return f"as recorded, {self.rate:.3g} requests/s on average"
        if self.concurrency is not None:
            return f"{self.concurrency} request{'s' if self.concurrency > 1 else ''} in flight"
        return f"{self.rate:g} request{'' if self.rate == 1 else 's'}/s"

    @property
    def computed_tokens(self) -> int:
        """Prompt tokens that must be prefilled: those not cached, at least the last one."""
        return max(1, round(self.input_tokens * (1 - self.prefix_hit_rate)))
