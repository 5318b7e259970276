"""How findings look: a line each as soon as it is known, and what helps below it."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tpdeploy.launcher.doctor.checks import CHECKS
from tpdeploy.launcher.doctor.finding import Finding, Verdict

STYLES: dict[Verdict, str] = {"ok": "green", "warning": "yellow", "fail": "bold red"}
VERDICT_WIDTH = max(map(len, STYLES))
CHECK_WIDTH = max(len(check.name) for check in CHECKS)


def show_finding(console: Console, finding: Finding) -> None:
    """The verdict, the check, what was seen, and the remedy."""
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_column(width=VERDICT_WIDTH, style=STYLES[finding.verdict])
    line.add_column(width=CHECK_WIDTH)
    line.add_column(overflow="fold")
    line.add_row(finding.verdict, finding.check, finding.seen)
    if finding.remedy:
        line.add_row("", "", f"-> {finding.remedy}")
    console.print(line)


def show_summary(console: Console, findings: Sequence[Finding]) -> None:
    """How many of them are not well."""
    counts = {v: sum(f.verdict == v for f in findings) for v in ("fail", "warning")}
    told = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    console.print(f"\n{', '.join(told) if told else 'Nothing is in the way.'}")


def show_warnings(console: Console, findings: Sequence[Finding]) -> None:
    """Before a launch: what is not well, one line each."""
    for finding in (f for f in findings if f.verdict != "ok"):
        console.print("Warning:", style="yellow", end=" ")
        console.print(finding.line, soft_wrap=True)
