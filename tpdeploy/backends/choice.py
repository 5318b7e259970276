"""Choosing an engine: one question put to each, and their answers side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tpdeploy.backends.base import Backend
from tpdeploy.backends.capability import unbuilt
from tpdeploy.backends.rules import NotHereError
from tpdeploy.errors import InfeasibleError, InputError, TpdeployError
from tpdeploy.numbers import change
from tpdeploy.planner.inputs import PlanInputs
from tpdeploy.planner.plan import DeploymentPlan, EngineAnswer
from tpdeploy.planner.request import Objective
from tpdeploy.planner.search.search import Solved, plan
from tpdeploy.planner.search.squeeze import solve_tightly


@dataclass(frozen=True)
class Choice:
    """The answer of the engine that was chosen, and one line about every engine."""

    solved: Solved
    engines: tuple[EngineAnswer, ...]


@dataclass(frozen=True)
class _Tried:
    engine: Backend
    solved: Solved | None = None
    plan: DeploymentPlan | None = None
    refusal: TpdeployError | None = None
    remedy: str = ""


def choose(
    engines: Sequence[Backend],
    ask: Callable[[Backend], PlanInputs],
    solve: Callable[[PlanInputs], Solved],
) -> Choice:
    """The best engine for a question, by the prediction for each.

    Predictions that reach the best one within their own range are alike: among those the adapters'
    order decides, so that no engine is recommended for a difference that may be an error. An
    engine that is no longer maintained comes last.

    Raises:
        InputError: what was asked is wrong for every engine.
    """
    tried = [_try(engine, ask, solve) for engine in sorted(engines, key=lambda e: e.order)]
    able = [t for t in tried if t.plan]
    if not able:
        return _nothing(tried)
    current = [t for t in able if not t.engine.legacy] or able
    most = max(_worth(t, "value") for t in current)
    best = next(t for t in current if _worth(t, "high") >= most)
    others = sorted(
        (t for t in tried if t is not best),
        key=lambda t: (t.plan is None, bool(t.engine.legacy), -_worth(t, "value")),
    )
    ahead = most > _worth(best, "value")
    chosen = (
        "chosen; as good as the best within the error of the predictions" if ahead else "chosen"
    )
    lines = [_line(best, chosen), *(_line(t, _why_not(t, best)) for t in others)]
    assert best.solved is not None  # noqa: S101 - it has a plan
    return Choice(best.solved, tuple(lines))


def ask_one(
    engine: Backend, ask: Callable[[Backend], PlanInputs], solve: Callable[[PlanInputs], Solved]
) -> Choice:
    """The answer of one engine; a line about it only where there is something to warn of.

    Raises:
        InputError: what was asked is wrong, or nothing that this engine can run.
    """
    solved = _solved(ask(engine), solve)
    try:
        made = plan(*solved)
    except InfeasibleError:
        return Choice(solved, ())
    problems = "; ".join(f"{problem.what}: {problem.remedy}" for problem in engine.check(made))
    if problems:
        raise InputError(f"{engine.name} cannot run this plan: {problems}")
    line = _line(_Tried(engine, solved, made), "asked for")
    return Choice(solved, (line,) if line.legacy or line.unbuilt else ())


def _try(
    engine: Backend, ask: Callable[[Backend], PlanInputs], solve: Callable[[PlanInputs], Solved]
) -> _Tried:
    solved = None
    try:
        solved = _solved(ask(engine), solve)
        made = plan(*solved)
    except (InputError, InfeasibleError) as refusal:
        return _Tried(engine, solved, refusal=refusal)
    problems = engine.check(made)
    if problems:
        what = "; ".join(problem.what for problem in problems)
        remedy = "; ".join(problem.remedy for problem in problems)
        return _Tried(engine, solved, refusal=InputError(what), remedy=remedy)
    return _Tried(engine, solved, made)


def _solved(asked: PlanInputs, solve: Callable[[PlanInputs], Solved]) -> Solved:
    """The answer, with a note in its question of what was left open and had to be filled."""
    inputs, outcome = solve_tightly(asked, solve)
    before, after = dict(asked.request), dict(inputs.request)
    settled = tuple(name for name in after if after[name] != before[name])
    return replace(inputs, settled=settled), outcome


def _nothing(tried: Sequence[_Tried]) -> Choice:
    """No engine has a plan: the first one that at least understood the question tells why."""
    lines = tuple(_line(t, str(t.refusal)) for t in tried)
    for t in tried:
        if t.solved and isinstance(t.refusal, InfeasibleError):
            return Choice(t.solved, lines)
    nowhere = [t.refusal for t in tried if isinstance(t.refusal, NotHereError)]
    if len(nowhere) == len(tried) > 1:
        names = ", ".join(sorted(t.engine.name for t in tried))
        raise InputError(
            f"no engine here runs on {nowhere[0].platform} ({names}); a backend for one that does "
            "can be added (docs/backends.md)"
        )
    first = tried[0]
    assert first.refusal is not None  # noqa: S101 - it has no plan
    if first.remedy:
        name, why = first.engine.name, first.refusal
        raise InputError(f"{name} cannot run this plan: {why}: {first.remedy}")
    raise first.refusal


def _worth(tried: _Tried, bound: str) -> float:
    """What the question asks for the most of, by that bound of the prediction; 0 without a plan."""
    if tried.plan is None or tried.solved is None:
        return 0.0
    prediction, optimize = tried.plan.prediction, tried.solved[0].optimize
    if optimize == "latency":
        other = {"high": "low", "value": "value"}[bound]
        gaps = tried.plan.workload.output_tokens - 1
        first, further = (
            float(getattr(part, other)) for part in (prediction.ttft_ms, prediction.tpot_ms)
        )
        return 1 / (first + gaps * further)
    rate = float(getattr(prediction.output_tokens_per_s, bound))
    return rate if optimize in {"throughput", "goodput"} else rate / tried.plan.parallelism.devices


def _line(tried: _Tried, reason: str) -> EngineAnswer:
    made, legacy = tried.plan, tried.engine.legacy
    if made is None:
        return EngineAnswer(name=tried.engine.name, feasible=False, reason=reason)
    return EngineAnswer(
        name=tried.engine.name,
        feasible=True,
        reason=f"{reason}; legacy: {legacy}" if legacy else reason,
        legacy=legacy,
        unbuilt=unbuilt(tried.engine, made),
        parallelism=made.parallelism,
        ttft_ms=made.prediction.ttft_ms.value,
        tpot_ms=made.prediction.tpot_ms.value,
        output_tokens_per_s=made.prediction.output_tokens_per_s.value,
    )


def _why_not(tried: _Tried, best: _Tried) -> str:
    if isinstance(tried.refusal, NotHereError):
        return tried.refusal.why
    if tried.refusal:
        return str(tried.refusal)
    assert best.solved is not None  # noqa: S101 - it was chosen
    assert tried.solved is not None  # noqa: S101 - it was not refused
    taken_from = tried.solved[0].cluster.efficiency.engine
    if taken_from != tried.engine.name:
        return f"there are no runs of it: these are figures of {taken_from}"
    what = _WHAT[best.solved[0].optimize]
    more = _worth(tried, "value") / _worth(best, "value") - 1
    alike = _worth(tried, "high") >= _worth(best, "value")
    within = "; within the error of the predictions" if alike else ""
    return f"{change(more, what)}{within}"


_WHAT: dict[Objective, str] = {
    "throughput": "tokens/s",
    "latency": "speed",
    "cost": "tokens/s per device",
    "goodput": "requests/s within the targets",
    "fewest": "tokens/s per device",
    "daily": "tokens/s per device",
}
