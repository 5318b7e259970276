"""vLLM's own engine, step by step, run by the Python of its environment: what it did to stdout.

Usage: PYTHON step_vllm.py MODEL BLOCKS BLOCK_TOKENS SEQUENCES BATCHED_TOKENS TRACE

TRACE is JSON: [step, prompt tokens, answer tokens] of each request, which comes before that step.
"""

import json
import random
import sys
from pathlib import Path

from vllm import EngineArgs, LLMEngine, SamplingParams

WORDS = (10, 1_000)  # prompts are drawn from: no two begin alike


def main() -> None:
    """One JSON object: of each step what it left, and of each request its first and last step."""
    model, blocks, block_tokens, sequences, batched = sys.argv[1:6]
    trace = json.loads(Path(sys.argv[6]).read_text(encoding="utf-8"))
    engine = LLMEngine.from_engine_args(
        EngineArgs(
            model=model,
            load_format="dummy",
            skip_tokenizer_init=True,
            enforce_eager=True,
            num_gpu_blocks_override=int(blocks),
            block_size=int(block_tokens),
            max_num_seqs=int(sequences),
            max_num_batched_tokens=int(batched),
        )
    )
    told = run(engine, trace)
    sys.stdout.write("\n" + json.dumps(told) + "\n")


def run(engine: LLMEngine, trace: list[list[int]]) -> dict[str, list[list[float]]]:
    """Steps until all requests have ended."""
    scheduler = engine.engine_core.engine_core.scheduler
    steps: list[list[float]] = []
    spans: list[list[float]] = [[0, 0] for _ in trace]
    preempted = count_preemptions(scheduler)
    left = len(trace)
    while left:
        for number, (step, prompt, answer) in enumerate(trace):
            if step == len(steps):
                add(engine, number, prompt, answer)
        for output in engine.step():
            number, tokens = int(output.request_id), len(output.outputs[0].token_ids)
            if tokens == 1:
                spans[number][0] = len(steps)
            if output.finished:
                spans[number][1], left = len(steps), left - 1
        steps.append(
            [*scheduler.get_request_counts(), len(preempted), scheduler.get_kv_cache_usage()]
        )
    return {"steps": steps, "spans": spans}


def add(engine: LLMEngine, number: int, prompt: int, answer: int) -> None:
    """Send request `number`, which answers as many tokens as it is told."""
    draw = random.Random(number)  # noqa: S311 - reproducible load, not cryptography
    tokens = [draw.randint(*WORDS) for _ in range(prompt)]
    params = SamplingParams(max_tokens=answer, ignore_eos=True, temperature=0, detokenize=False)
    engine.add_request(str(number), {"prompt_token_ids": tokens}, params)


def count_preemptions(scheduler: object) -> list[str]:
    """A list that gets one entry for each request that the scheduler preempts."""
    found: list[str] = []
    original = scheduler._preempt_request  # type: ignore[attr-defined]

    def counted(request: object, *args: object, **options: object) -> None:
        found.append(request.request_id)  # type: ignore[attr-defined]
        original(request, *args, **options)

    scheduler._preempt_request = counted  # type: ignore[attr-defined]
    return found


if __name__ == "__main__":
    main()
