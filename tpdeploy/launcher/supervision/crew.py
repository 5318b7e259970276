"""All members of one deployment: how each is started, and what they are together."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial

from tpdeploy.backends.base import Backend, last_exception
from tpdeploy.errors import TpdeployError
from tpdeploy.files import write_whole
from tpdeploy.launcher import state
from tpdeploy.launcher.access import API_KEY, INNER_KEY
from tpdeploy.launcher.commands import (
    FRONT,
    Order,
    address_of,
    front_command,
    front_member,
    replica_command,
    replica_commands,
)
from tpdeploy.launcher.front import addresses
from tpdeploy.launcher.runtimes.base import Rendered
from tpdeploy.launcher.runtimes.member import Member, Phase
from tpdeploy.launcher.runtimes.registry import by_runtime
from tpdeploy.launcher.supervision.life import Kind, Life, Rules
from tpdeploy.launcher.supervision.liveness import EngineLife, Liveness
from tpdeploy.planner.plan import DeploymentPlan

# The front is asked often: it does nothing but pass on.
FRONT_EVERY_S, FRONT_HANG_TIMEOUT_S = 2.0, 10.0

log = logging.getLogger(__name__)


class Crew:
    """The replicas of a plan, and the front before them.

    `keys` has the key of clients, if they need one, and the one between front and replicas.
    """

    def __init__(
        self,
        plan: DeploymentPlan,
        order: Order,
        backend: Backend,
        members: Sequence[Member],
        keys: Mapping[str, str],
    ) -> None:
        self.plan, self.order, self.backend, self.keys = plan, order, backend, keys
        self.resting: set[str] = set()  # replicas that are to get no requests
        self.shown: dict[str, str] = {}  # what the front was told last
        runtimes = {m.label: runtime for runtime, of in by_runtime(members) for m in of}
        lives = [Life(m, runtimes[m.label], self._kind(m.label), self._rules(m)) for m in members]
        self.front = lives.pop()
        self.replicas = lives

    @property
    def everyone(self) -> list[Life]:
        """The replicas, then the front."""
        return [*self.replicas, self.front]

    @property
    def wanted(self) -> list[Life]:
        """The replicas that nobody has stopped."""
        return [life for life in self.replicas if life.member.phase != "stopped"]

    @property
    def members(self) -> tuple[Member, ...]:
        """As they are now."""
        return tuple(life.member for life in self.everyone)

    @property
    def phase(self) -> Phase:
        """Of the deployment, once it has started."""
        serving = [life.member.phase == "ready" for life in self.wanted]
        if self.front.member.phase != "ready" or not any(serving):
            return "down"
        return "ready" if all(serving) else "degraded"

    @property
    def reason(self) -> str:
        """What keeps it from being whole."""
        members = [life.member for life in (*self.wanted, self.front)]
        missing = [m for m in members if m.phase != "ready" and m.last_end]
        return "; ".join(f"{m.label} {m.last_end}" for m in missing)

    @property
    def is_lost(self) -> bool:
        """Whether nothing is left that could serve."""
        phases = {life.member.phase for life in self.wanted}
        return self.front.member.phase == "crashed" or phases == {"crashed"}

    def show_front(self) -> None:
        """Tell the front where its replicas are now."""
        away = self._away()
        now = addresses([address_of(life.member, away) for life in self.replicas])
        for name, text in now.items():
            if self.shown.get(name) != text:
                self._show(name, text)

    def _show(self, name: str, text: str) -> None:
        """One file; if the disk is full, the next time: the front finds out who is away itself."""
        try:
            write_whole(state.folder_of(self.order.name) / FRONT / name, text)
        except TpdeployError as error:
            log.warning("the front was not told where a replica is: %s", error)
        else:
            self.shown[name] = text

    def _away(self) -> set[str]:
        """The replicas that get no requests: not ready, at rest, or silent while others are not."""
        away = {life.member.label for life in self.replicas if life.member.phase != "ready"}
        away |= self.resting
        silent = {life.member.label for life in self.replicas if life.is_silent}
        everyone = {life.member.label for life in self.replicas}
        return away | silent if everyone - away - silent else away

    def _kind(self, label: str) -> Kind:
        written = state.log_of(self.order.name, label)
        if label == FRONT:
            watch = self._watch_front
            return Kind(self._render_front, self.keys, written, _none, last_exception, watch)
        engine = self.backend
        variable = engine.api_key_variable
        keys = {variable: self.keys[INNER_KEY]} if variable else {}
        place = next(p for p in self.plan.placement if label == f"replica-{p.replica}")
        render = partial(replica_command, self.plan, place, engine, self.order)
        return Kind(render, keys, written, engine.progress, engine.failure, self._watch)

    def _rules(self, member: Member) -> Rules:
        order = self.order
        hang_timeout_s = FRONT_HANG_TIMEOUT_S if member.label == FRONT else order.hang_timeout_s
        return Rules(order.startup_timeout_s, hang_timeout_s, order.restarts)

    def _render_front(self) -> Rendered:
        if self.order.keyed and not self.keys[API_KEY]:
            raise TpdeployError(f"the key of its clients is lost; set {API_KEY} and launch again")
        replicas = [life.member for life in self.replicas]
        return front_command(self.plan, self.backend, self.order, replicas, self._away())

    def _watch(self, member: Member) -> Liveness:
        life = next(life for life in self.replicas if life.member.label == member.label)
        url = life.runtime.address(member)
        key = self.keys[INNER_KEY]
        return Liveness(EngineLife(url, self.backend, self.plan.model.id, key))

    def _watch_front(self, member: Member) -> Liveness:
        return Liveness(partial(self.front.runtime.answers, member), FRONT_EVERY_S)


def planned_members(plan: DeploymentPlan, backend: Backend, order: Order) -> tuple[Member, ...]:
    """The members that a launch will start, the front last."""
    replicas = replica_commands(plan, backend, order)
    return (*(rendered.member for rendered in replicas), front_member(order))


def _none(_line: str) -> None:
    """The front tells of no stages."""
