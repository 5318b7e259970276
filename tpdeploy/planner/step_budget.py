"""Tokens in a step: where every split misses a target with the usual steps, smaller ones are tried.

A step that reads many prompts at once holds up all that is decoded and all prompts in it; one that
reads fewer lets the first answers begin earlier, and costs throughput.
"""

from dataclasses import replace

from tpdeploy.planner.question import Question
from tpdeploy.planner.search import Outcome, search

SMALLER = (4096, 2048, 1024)


def search_steps(question: Question) -> tuple[Question, Outcome]:
    """The search, with the largest of the smaller steps that meets the targets if need be.

    Raises:
        InputError: as `search` does.
    """
    usual = search(question)
    if usual.best or question.max_num_batched_tokens or not usual.ranked:
        return question, usual
    limits = usual.ranked[0].limits
    for tokens in SMALLER:
        if not limits.max_num_seqs <= tokens < limits.max_num_batched_tokens:
            continue
        asked = replace(question, max_num_batched_tokens=tokens)
        found = search(asked)
        if found.best:
            remark = (
                f"Steps of at most {tokens:,} tokens: with the usual "
                f"{limits.max_num_batched_tokens:,} more prompts are read at once, and no split "
                "meets the targets."
            )
            return asked, replace(found, remarks=(remark, *found.remarks))
    return question, usual
