"""Parts of replicas as bash scripts, for machines where nothing but the engine is needed.

What is known only there is a variable of the script: `late("PORT")` stands for it in the words
that an engine is told.
"""

import shlex
from collections.abc import Mapping
from dataclasses import replace

from tpdeploy.backends.base import Command
from tpdeploy.launcher.runtimes.base import Engine, Parts

# Between NULs, which no word of a command line can hold.
MARK = "\0"
# Other than loopback, for which a machine's own name may stand.
ADDRESS_OF = """\
address_of() { getent ahostsv4 "$1" | awk '$1 !~ /^127\\./ { print $1; exit }'; }
"""
# By itself Gloo takes the address of the machine's name, NCCL the first interface.
INTERFACE = """\
interface=$(ip -o -4 addr show to "$ADDRESS" 2> /dev/null | awk '{ print $2; exit }')
if [ -n "$interface" ]; then
    export GLOO_SOCKET_IFNAME="${GLOO_SOCKET_IFNAME:-$interface}"
    export NCCL_SOCKET_IFNAME="${NCCL_SOCKET_IFNAME:-$interface}"
fi
"""
# In a session of its own, all of which ends with it: workers outlive an engine that is killed.
START = """\
setsid "$@" < /dev/null 3<&- &
engine=$!
trap 'kill -TERM -- "-$engine" 2> /dev/null' TERM INT
"""
WAIT = """\
while :; do
    { wait "$engine"; } 2> /dev/null
    code=$?
    kill -0 "$engine" 2> /dev/null || break
done
kill -KILL -- "-$engine" 2> /dev/null
exit "$code"
"""


def late(name: str) -> str:
    """What stands for the variable `name` of the script, alone or inside a word."""
    return f"{MARK}{name}{MARK}"


def quoted(word: str) -> str:
    """`word` for bash, which replaces the variables in it and nothing else."""
    pieces = word.split(MARK)
    return (
        "".join(
            f'"${piece}"' if number % 2 else shlex.quote(piece)
            for number, piece in enumerate(pieces)
            if piece
        )
        or "''"
    )


def exported(variables: Mapping[str, str]) -> str:
    """Lines that set `variables` for all that follows."""
    return "".join(f"export {name}={quoted(value)}\n" for name, value in variables.items())


def written(files: Mapping[str, str]) -> str:
    """Lines that write `files`, by their paths."""
    lines = []
    for path, text in files.items():
        end = _end_of(text)
        lines += [f"cat > {quoted(path)} <<'{end}'", text.removesuffix("\n"), end]
    return "".join(f"{line}\n" for line in lines)


def chosen(parts: Parts, rank: str) -> str:
    """Lines that make the command of the machine numbered `rank` the script's arguments."""
    if parts.worker is None or parts.worker == parts.leader:
        return _arguments(parts.leader)
    leader, worker = (_arguments(part, "    ") for part in (parts.leader, parts.worker))
    return f"if [ {quoted(rank)} = 0 ]; then\n{leader}else\n{worker}fi\n"


def named(engine: Engine, parts: Parts) -> Parts:
    """The parts, with the program that the user named in place of the engine's own."""
    if not engine.executable:
        return parts

    def by_path(command: Command) -> Command:
        return replace(command, argv=(str(engine.executable), *command.argv[1:]))

    return Parts(by_path(parts.leader), parts.worker and by_path(parts.worker))


def _arguments(command: Command, indent: str = "") -> str:
    """`set -- PROGRAM ARGUMENTS`, a line for each option."""
    lines = [f"{indent}set --"]
    for word in command.argv:
        if word.startswith("--"):
            lines[-1] += " \\"
            lines.append(f"{indent}   ")
        lines[-1] += f" {quoted(word)}"
    return "\n".join(lines) + "\n"


def _end_of(text: str) -> str:
    """A word that ends it, and no line of which is."""
    word = "EOF"
    while word in text.splitlines():
        word += "_"
    return word
