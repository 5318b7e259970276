"""The batch script of a replica for Slurm, which a person could submit as well."""

from pathlib import Path

from tpdeploy.backends.base import Platform
from tpdeploy.errors import InputError
from tpdeploy.files import kind_of
from tpdeploy.launcher.runtimes import script
from tpdeploy.launcher.runtimes.base import Engine, Parts, Replica
from tpdeploy.launcher.runtimes.local import environment_named
from tpdeploy.launcher.runtimes.script import quoted
from tpdeploy.launcher.runtimes.slurm_queue import FIRST_PORT, PORTS
from tpdeploy.planner.plan import Placement
from tpdeploy.profiles.models.hub_cache import hub_home

ADDRESS, HEAD, PORT, MEETING_PORT, RANK = map(
    script.late, ("ADDRESS", "HEAD", "PORT", "MEETING_PORT", "SLURM_NODEID")
)
# Options of sbatch that the plan and the deployment have.
OURS = frozenset(
    {"array", "job-name", "nodes", "ntasks", "ntasks-per-node", "gres", "gpus", "output", "error"}
    | {"gpus-per-node", "gpus-per-task", "open-mode", "wrap", "parsable", "wait", "export"}
)
MEET = f"""\
export PORT=$(({FIRST_PORT} + 2 * (SLURM_JOB_ID % {PORTS})))
export MEETING_PORT=$((PORT + 1))
export FIRST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
"""
# A node's own name may stand for its loopback there: then its first address.
HERE = """\
ADDRESS=$(address_of "$SLURMD_NODENAME")
ADDRESS=${ADDRESS:-$(hostname -I | cut -d ' ' -f 1)}
HEAD=$ADDRESS
[ "$SLURM_NODEID" = 0 ] || HEAD=$(address_of "$FIRST")
"""
# What can run a step in an image, as `--on slurm:NAME` names it.
PYXIS, APPTAINER = "pyxis", "apptainer"
CONTAINERS = (PYXIS, APPTAINER)
_DEVICES: dict[Platform, tuple[str, ...]] = {"cuda": ("--nv",), "rocm": ("--rocm",)}


def job_script(replica: Replica, parts: Parts) -> str:
    """The batch script of one replica."""
    place, engine = replica.place, replica.engine
    deployment = replica.folder.parent
    header = [
        "#!/bin/bash",
        f"#SBATCH --job-name=tpdeploy-{deployment.name}",
        f"#SBATCH --array={place.replica}",
        *(f"#SBATCH --{option}" for option in (*resources(engine, place), *asked(engine))),
        f"#SBATCH --output={deployment / 'logs'}/replica-%a.log",
        "#SBATCH --open-mode=append",
    ]
    own = None if engine.image else environment_named(engine)
    path = f"export PATH={quoted(str(own.executables))}:$PATH\n" if own else ""
    body = (
        script.ADDRESS_OF,
        HERE,
        script.INTERFACE,
        script.exported(parts.leader.env),
        script.chosen(script.named(engine, parts), RANK),
        script.START,
        script.WAIT,
    )
    step = f"{' '.join(map(quoted, _step(replica, parts)))} <<'PART'\n"
    return "\n".join(header) + "\n" + path + MEET + step + "".join(body) + "PART\n"


def resources(engine: Engine, place: Placement) -> list[str]:
    """What a replica needs of every node, as options of sbatch without their dashes."""
    nodes = len(place.machines)
    here = len(place.devices) // nodes
    options = [f"nodes={nodes}", f"ntasks-per-node={here if _by_mpi(engine, place) else 1}"]
    if engine.platform != "cpu":
        options.append(f"gres=gpu:{here}")
    return options


def asked(engine: Engine) -> list[str]:
    """What the user wants of sbatch besides, without dashes."""
    return [option.removeprefix("--") for option in engine.options]


def check_options(engine: Engine) -> None:
    """Return if the options fit the plan, and an image has something that runs it.

    Raises:
        InputError: one does not.
    """
    for option in asked(engine):
        if option.partition("=")[0] in OURS:
            raise InputError(f"--sbatch {option}: the plan says that; plan again instead")
    by = container(engine)
    if by and by not in CONTAINERS:
        raise InputError(f"--on {engine.on}: jobs run in images by {' or '.join(CONTAINERS)}")
    if engine.image and not by:
        known = " or ".join(f"--on slurm:{name}" for name in CONTAINERS)
        raise InputError(f"--container: say what runs images on the nodes: {known}")
    if by and not engine.image:
        raise InputError(f"--on {engine.on}: name the image: --container IMAGE")


def container(engine: Engine) -> str:
    """What is to run the image on the nodes; "" for none."""
    return engine.on.partition(":")[2]


def _step(replica: Replica, parts: Parts) -> list[str]:
    """What runs a part of the replica on each node, or in each rank of its MPI job."""
    engine = replica.engine
    argv = ["srun", "--kill-on-bad-exit=1"]
    if _by_mpi(engine, replica.place):
        argv.append("--mpi=pmix")
    shared = ",".join(f"{path}:{path}" for path in _shared(replica, parts))
    if container(engine) == PYXIS:
        argv += [f"--container-image={engine.image}", f"--container-mounts={shared}"]
    if container(engine) == APPTAINER:
        argv += ["apptainer", "exec", *_DEVICES.get(engine.platform, ())]
        argv += ["--bind", shared, engine.image]
    return [*argv, "bash", "-s"]


def _shared(replica: Replica, parts: Parts) -> list[Path]:
    """What an image must see of the shared file system: this replica's files, and the model."""
    named = [Path(word) for word in parts.leader.argv if word.startswith("/")]
    inside = [path for path in named if replica.folder in path.parents]
    models = [path for path in named if path not in inside and kind_of(path)]
    return [replica.folder, hub_home(), *models]


def _by_mpi(engine: Engine, place: Placement) -> bool:
    return len(place.machines) > 1 and engine.backend.joined_by_mpi
