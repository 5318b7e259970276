"""How a launch looks while it starts: one line per member, with its stage and the time so far."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from tpdeploy.launcher.runtimes.member import Member
from tpdeploy.launcher.state import Deployment


class Watcher:
    """Shows each new stage: as live lines in a terminal, as plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started = time.monotonic()
        self.seen: dict[str, str] = {}
        self.tasks: dict[str, TaskID] = {}
        columns = (
            SpinnerColumn("line", finished_text="+"),
            TextColumn("{task.description}", markup=False),
        )
        self.live = Progress(
            *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
        )

    def __enter__(self) -> "Watcher":
        self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.stop()

    def show(self, deployment: Deployment) -> None:
        """Show what changed."""
        for member in deployment.members:
            words = member.stage or member.phase
            if self.seen.get(member.label) != words:
                self.seen[member.label] = words
                self._changed(member, words)

    def _changed(self, member: Member, words: str) -> None:
        line = f"{member.label}: {words}"
        if not self.console.is_terminal:
            seconds = time.monotonic() - self.started
            self.console.print(f"{seconds:5.0f} s  {line}")
            return
        if member.label not in self.tasks:
            self.tasks[member.label] = self.live.add_task(line, total=1)
        done = 1 if member.phase == "ready" else 0
        self.live.update(self.tasks[member.label], description=line, completed=done)
