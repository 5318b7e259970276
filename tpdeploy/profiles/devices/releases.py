"""What earlier releases of an engine took longer for than today's."""

from datetime import date
from functools import cache
from typing import Literal

from pydantic import Field

from tpdeploy.files import kind_of
from tpdeploy.profiles import DATA
from tpdeploy.profiles.devices.accelerator import Efficiency
from tpdeploy.profiles.record import Provenance, Record, Text
from tpdeploy.records import read_record


class Earlier(Provenance):
    """What releases before one added to today's times, and factors on today's rates.

    Times are of the host: they are the same on every GPU, and are not divided by the width.
    """

    major: int = Field(ge=0, description="the first release that it does not concern")
    minor: int = Field(ge=0)
    released: date = Field(description="when that one came out")
    since: tuple[int, int] = Field(default=(0, 0), description="the first one that it concerns")
    platform: Literal["cuda", "rocm"]
    step_s: float = Field(default=0.0, ge=0, description="per step, more than today")
    prompt_step_s: float = Field(default=0.0, ge=0, description="per step that reads prompts")
    group_step_s: float = Field(default=0.0, ge=0, description="per step of several ranks")
    sequence_s: float = Field(default=0.0, ge=0, description="per new token, within the engine")
    context_s: float = Field(default=0.0, ge=0, description="per step and token of context")
    memory: float = Field(default=1.0, gt=0, description="factor on the memory rate of kernels")
    compute: float = Field(default=1.0, gt=0, description="factor on the compute rate of products")
    communication: float = Field(default=1.0, gt=0, description="factor on collectives")
    alone_above: int | None = Field(
        default=None, ge=0, description="heads of Q in decode attention that read K and V together"
    )
    apart: bool = Field(
        default=False, description="attention of prompts and of decoding were calls of their own"
    )
    error: float | None = Field(
        default=None,
        gt=0,
        description="of TPOT and tokens/s: four of five runs lie within a factor of 1 + this; "
        "None: today's",
    )
    ttft_error: float | None = Field(default=None, gt=0, description="the same of TTFT")

    def of(self, today: Efficiency) -> Efficiency:
        """The engine as it was, from how it is today."""
        serving = today.serving
        changed = {
            "step_s": serving.step_s + self.step_s,
            "prompt_step_s": serving.prompt_step_s + self.prompt_step_s,
            "group_step_s": serving.group_step_s + self.group_step_s,
            "sequence_s": serving.sequence_s + self.sequence_s,
            "context_s": serving.context_s + self.context_s,
            "memory": serving.memory * self.memory,
            "compute": serving.compute * self.compute,
            "communication": serving.communication * self.communication,
        }
        found = today.changed(serving=serving.changed(**changed))
        if self.error:
            ranges = {"tpot": self.error, "ttft": self.ttft_error or today.errors.ttft, "parts": ()}
            found = found.changed(errors=today.errors.changed(**ranges))
        if self.alone_above is not None:
            found = found.changed(kernels=today.kernels.decoding(alone_above=self.alone_above))
        if self.apart:
            found = found.changed(kernels=found.kernels.decoding(alone_beside_prompts=None))
        return found


class History(Record):
    """The releases of one engine that differ from today's, the earliest first."""

    engine: Text
    earlier: tuple[Earlier, ...] = Field(min_length=1)


@cache
def earlier_releases(engine: str, platform: str) -> tuple[Earlier, ...]:
    """What is known of earlier releases of `engine` on `platform`, the earliest first."""
    path = DATA / "releases" / f"{engine}.yaml"
    if not kind_of(path):
        return ()
    known = read_record(path, History).earlier
    return tuple(each for each in known if each.platform == platform)
