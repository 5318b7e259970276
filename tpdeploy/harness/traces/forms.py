"""Forms: what the columns or keys of a trace are called, and what its times count.

Mooncake: kvcache-ai/Mooncake, FAST25-release (`timestamp` in ms, a hash for each 512 tokens);
aiperf's `mooncake_trace` is the same. Alibaba's Bailian traces and vLLM's `timed_trace` have these
keys with seconds and a hash for each 16 tokens; GuideLLM's replay has them with seconds and no
hashes. Azure: Azure/AzurePublicDataset, 2023 and 2024. BurstGPT: HPMLL/BurstGPT.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tpdeploy.errors import InputError
from tpdeploy.harness.load.lengths import ANSWERS, PROMPTS

# What our own files call the time of a request, in seconds.
ARRIVALS = ("arrival_s", "arrived_s", "timestamp", "Timestamp", "TIMESTAMP")
BLOCKS = "hash_ids"
MOONCAKE_BLOCK, SMALL_BLOCK = 512, 16


@dataclass(frozen=True)
class Form:
    """Where a row has its time and its tokens: a key, or keys within one another."""

    name: str
    at: tuple[str, ...]
    prompt: tuple[str, ...]
    answer: tuple[str, ...]
    per_s: float = 1.0  # of its times
    blocks: bool = False  # whether rows may have hashes

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether `row` has all of it."""
        return all(within(row, path) is not None for path in (self.at, self.prompt, self.answer))


KNOWN = (
    Form(
        "aiperf's records",
        ("metadata", "request_start_ns"),
        ("metrics", "input_sequence_length", "value"),
        ("metrics", "output_sequence_length", "value"),
        per_s=1e9,
    ),
    Form("Mooncake", ("timestamp",), ("input_length",), ("output_length",), 1e3, blocks=True),
    Form("Azure", ("TIMESTAMP",), ("ContextTokens",), ("GeneratedTokens",)),
    Form("BurstGPT", ("Timestamp",), ("Request tokens",), ("Response tokens",)),
    Form("vLLM's result", ("start_times",), ("input_lens",), ("output_lens",)),
)


def form_of(row: Mapping[str, Any]) -> Form:
    """The form of a file whose first good row is `row`.

    Raises:
        InputError: it is of none.
    """
    for form in KNOWN:
        if form.fits(row):
            return form
    at, prompt, answer = (
        next((name for name in kind if name in row), "") for kind in (ARRIVALS, PROMPTS, ANSWERS)
    )
    if not (at and prompt and answer):
        raise InputError(
            "need arrival_s (s), input_tokens and output_tokens, or the columns of Mooncake, "
            "Azure, BurstGPT, vLLM or aiperf"
        )
    return Form("arrival and tokens", (at,), (prompt,), (answer,))


def within(row: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """What `row` holds at `path`; None if nothing."""
    found: Any = row
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
