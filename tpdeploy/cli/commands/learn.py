"""What plans learn from validations, reported on stderr."""

from functools import partial

from tpdeploy.backends.inputs import inputs_of
from tpdeploy.cli.output import err
from tpdeploy.harness.measure.relearning import Taught, relearn

OTHERWISE = {"old": "the correction before it stays", "none": "plans use no correction"}


def learn_and_tell(engine: str, device: str) -> None:
    """Learn from every run kept of `engine` on `device`, and say what came of it on stderr."""
    with err.status("Learning from the runs kept here"):
        lessons = relearn(engine, device, partial(inputs_of, corrected=False))
    for lesson in lessons:
        err.print(in_words(lesson), style="dim", soft_wrap=True)


def in_words(lesson: Taught) -> str:
    """What was learned, or why nothing was, on one line."""
    correction = lesson.correction
    changed = [
        f"{name} x{factor:.2f}"
        for name, factor in correction.factors.model_dump().items()
        if abs(factor - 1) >= 0.005
    ]
    runs = f"{correction.runs} run{'s' if correction.runs > 1 else ''}"
    of = f"from {runs} of {correction.model_class} models on {correction.device}"
    errors = (
        f"median error TTFT {correction.ttft_error_before:.0%} to {correction.ttft_error:.0%}, "
        f"TPOT {correction.tpot_error_before:.0%} to {correction.tpot_error:.0%}"
    )
    if lesson.kept == "new":
        told = ", ".join(changed) or "nothing to correct"
        return f"Learned: {of}: {told}; {errors}; plans use it from now on"
    return f"Learned nothing: {of}: {errors}, which is not enough; {OTHERWISE[lesson.kept]}"
