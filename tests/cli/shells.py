"""Real shells, asked what Tab offers behind a beginning of a command."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from shutil import which

from tests.left_out import leave_out

PATIENCE_S = 60.0
# What bash does when Tab is pressed behind the words that it is given.
IN_BASH = """
eval "$(_TPDEPLOY_COMPLETE=source_bash tpdeploy)"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_tpdeploy_completion tpdeploy
printf '%s\\n' "${COMPREPLY[@]}"
"""
IN_FISH = """
env _TPDEPLOY_COMPLETE=source_fish tpdeploy | source
complete --do-complete "$argv"
"""
# Completion of zsh works in its line editor alone: what that is offered is written to a file.
IN_ZSH = """
PROMPT=
autoload -Uz compinit && compinit -D -u
eval "$(_TPDEPLOY_COMPLETE=source_zsh tpdeploy)"
compadd() {
    local -a hits
    [[ " $* " == *" -"[OAD]" "* ]] || builtin compadd -A hits "$@"
    print -rl -- $hits >> $OFFERED
    builtin compadd "$@"
}
comppostfuncs=(tell)
tell() { mv $OFFERED $OFFERED.whole }
: > $OFFERED
"""


def need(shell: str) -> str:
    """The shell's program; without it the test is left out, saying so, and in CI it fails."""
    found = which(shell)
    if found is None:
        leave_out(f"completion of {shell}: apt-get install {shell}")
    return found


def in_bash(home: Path, *words: str) -> list[str]:
    """What bash offers behind `tpdeploy WORDS`."""
    asked = (need("bash"), "--norc", "-c", IN_BASH, "bash", "tpdeploy", *words)
    return _told(home, asked).split()


def in_fish(home: Path, *words: str) -> list[str]:
    """What fish offers, without the descriptions."""
    line = " ".join(("tpdeploy", *words))
    told = _told(home, (need("fish"), "--no-config", "-c", IN_FISH, line))
    return [offered.partition("\t")[0] for offered in told.splitlines()]


def in_zsh(home: Path, *words: str) -> list[str]:
    """What zsh offers when Tab is pressed in a terminal."""
    begin, offered = home / "begin.zsh", home / "offered"
    begin.write_text(IN_ZSH)
    whole = offered.with_suffix(".whole")
    keyboard, terminal = pty.openpty()
    shell = subprocess.Popen(
        [need("zsh"), "-f", "-i"],
        env={**_environment(home), "OFFERED": str(offered), "TERM": "dumb"},
        stdin=terminal,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        os.write(keyboard, f"source {begin}\n".encode())
        _wait_for(offered)
        os.write(keyboard, f"{' '.join(('tpdeploy', *words))}\t".encode())
        _wait_for(whole)
    finally:
        shell.kill()
        shell.wait()
        os.close(keyboard)
        os.close(terminal)
    return whole.read_text().split()


def _wait_for(file: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not file.exists():
        assert time.monotonic() < deadline, f"no {file.name}"
        time.sleep(0.05)


def _told(home: Path, command: tuple[str, ...]) -> str:
    ran = subprocess.run(
        command,
        env=_environment(home),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _environment(home: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "TPDEPLOY_HOME": str(home), "HOME": str(home)}
