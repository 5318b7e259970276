"""What validations teach, told on the way."""

from functools import partial

from tpdeploy.backends.question import question_of
from tpdeploy.cli.output import err
from tpdeploy.harness.learning import relearn
from tpdeploy.profiles.learned import Correction


def learn_and_tell(engine: str, device: str) -> None:
    """Learn from every run kept of `engine` on `device`, and say what came of it on stderr."""
    with err.status("Learning from the runs kept here"):
        corrections = relearn(engine, device, partial(question_of, corrected=False))
    for correction in corrections:
        err.print(f"Learned: {in_words(correction)}", style="dim", soft_wrap=True)


def in_words(correction: Correction) -> str:
    """A correction on one line."""
    changed = [
        f"{name} x{factor:.2f}"
        for name, factor in correction.factors.model_dump().items()
        if abs(factor - 1) >= 0.005
    ]
    runs = f"{correction.runs} run{'s' if correction.runs > 1 else ''}"
    return (
        f"from {runs} of {correction.model_class} models on {correction.device}: "
        f"{', '.join(changed) or 'nothing to correct'}; median error "
        f"TTFT {correction.ttft_error_before:.0%} to {correction.ttft_error:.0%}, "
        f"TPOT {correction.tpot_error_before:.0%} to {correction.tpot_error:.0%}; "
        "plans use it from now on"
    )
