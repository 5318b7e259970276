"""Small traces in every format, made from a seed: bursts of requests, some with shared beginnings.

Nothing of public data is in them. `recorded` draws requests as bursts: a few seconds with many,
then a pause, as people come; every second request goes on from an earlier prompt, so that its first
blocks are equal. The writers put the same requests into the columns or keys that each source uses.
"""

import csv
import io
import json
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tpdeploy.harness.traces.reading import read_trace
from tpdeploy.planner.trace import Recorded, Trace

BEGAN = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
BLOCK = 512


def recorded(
    count: int = 40, seed: int = 7, *, mean_s: float = 0.5, most: int = 3
) -> list[Recorded]:
    """So many requests of up to `most` blocks; times are whole milliseconds."""
    draw = random.Random(seed)  # noqa: S311 - the same requests each time
    clock, found = 0.0, list[Recorded]()
    for number in range(count):
        burst = number % 8 != 0
        clock += draw.expovariate(1 / mean_s) * (0.2 if burst else 4) if number else 0.0
        # The last block of a prompt is rarely full, and then nobody else's.
        earlier = draw.choice(found).blocks[:-1] if found and number % 2 else ()
        own = range(most - len(earlier))
        blocks = (*earlier, *(1000 + 10 * number + n for n in own))
        prompt = (len(blocks) - 1) * BLOCK + draw.randint(17, BLOCK)
        found.append(Recorded(round(clock, 3), prompt, draw.randint(1, 40), blocks))
    return found


def mooncake(requests: Sequence[Recorded]) -> str:
    return _lines(
        {
            "timestamp": round(r.at * 1000),
            "input_length": r.prompt,
            "output_length": r.answer,
            "hash_ids": list(r.blocks),
        }
        for r in requests
    )


def bailian(requests: Sequence[Recorded]) -> str:
    """Seconds, and a hash for each 16 tokens."""
    rows = []
    for number, r in enumerate(requests):
        hashes = [100 * r.blocks[n // 32] + n % 32 for n in range(-(-r.prompt // 16))]
        kept = {"timestamp": r.at, "input_length": r.prompt, "output_length": r.answer}
        rows.append({"chat_id": number, **kept, "hash_ids": hashes})
    return _lines(rows)


def guidellm(requests: Sequence[Recorded]) -> str:
    return _lines(
        {"timestamp": 1234500 + r.at, "input_length": r.prompt, "output_length": r.answer}
        for r in requests
    )


def azure(requests: Sequence[Recorded]) -> str:
    def when(r: Recorded) -> str:
        return f"{BEGAN + timedelta(seconds=r.at):%Y-%m-%d %H:%M:%S.%f}0"

    return _table(("TIMESTAMP", "ContextTokens", "GeneratedTokens"), when, requests)


def burstgpt(requests: Sequence[Recorded]) -> str:
    names = ("Timestamp", "Request tokens", "Response tokens")
    return _table(names, lambda r: f"{r.at}", requests)


def own(requests: Sequence[Recorded]) -> str:
    return _table(("arrival_s", "input_tokens", "output_tokens"), lambda r: f"{r.at}", requests)


def vllm(requests: Sequence[Recorded]) -> str:
    """What `vllm bench serve --save-result --save-detailed` writes, as far as it is read."""
    return json.dumps(
        {
            "date": "20260105-090000",
            "start_times": [5000.25 + r.at for r in requests],
            "input_lens": [r.prompt for r in requests],
            "output_lens": [r.answer for r in requests],
        }
    )


def aiperf(requests: Sequence[Recorded]) -> str:
    """What aiperf's profile_export.jsonl has of each request, after one of its warm-up."""
    began = int(BEGAN.timestamp() * 1e9)

    def record(at: float, prompt: int, answer: int, phase: str) -> dict[str, object]:
        lengths = {"input_sequence_length": prompt, "output_sequence_length": answer}
        return {
            "metadata": {"request_start_ns": began + round(at * 1e9), "benchmark_phase": phase},
            "metrics": {k: {"value": v, "unit": "tokens"} for k, v in lengths.items()},
        }

    warm_up = record(-60, 99, 9, "warmup")
    return _lines([warm_up, *(record(r.at, r.prompt, r.answer, "profiling") for r in requests)])


FORMATS: dict[str, Callable[[Sequence[Recorded]], str]] = {
    **{"Mooncake": mooncake, "Bailian": bailian, "GuideLLM": guidellm, "Azure": azure},
    **{"BurstGPT": burstgpt, "vLLM": vllm, "aiperf": aiperf, "own": own},
}


def written(folder: Path, requests: Sequence[Recorded], form: str = "Mooncake") -> Path:
    """A file of `requests` in that format."""
    path = folder / f"{form}.trace"
    path.write_text(FORMATS[form](requests))
    return path


def trace_of(folder: Path, requests: Sequence[Recorded], form: str = "Mooncake") -> Trace:
    """`requests` as they are read from such a file."""
    return read_trace(written(folder, requests, form))


def _lines(rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)  # type: ignore[attr-defined]


def _table(
    names: Sequence[str], when: Callable[[Recorded], str], requests: Sequence[Recorded]
) -> str:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(names)
    table.writerows((when(r), r.prompt, r.answer) for r in requests)
    return text.getvalue()
