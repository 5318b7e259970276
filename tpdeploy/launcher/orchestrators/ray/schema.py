"""Ray's own classes read a configuration, in an environment where they are."""

from tpdeploy.errors import InputError, TpdeployError, one_line
from tpdeploy.launcher.environments import Environment, version_in
from tpdeploy.launcher.told import told

TIMEOUT_S = 180.0  # they import vLLM, which takes a busy machine a while
REFUSED = 3
PROGRAM = f"""
import sys
import yaml
from ray.serve.llm import LLMConfig
from ray.serve.schema import ServeDeploySchema

config = yaml.safe_load(sys.stdin)
try:
    ServeDeploySchema.model_validate(config)
    for application in config["applications"]:
        for model in application["args"]["llm_configs"]:
            engine = LLMConfig.model_validate(model).get_engine_config()
            engine.get_initialization_kwargs()
            print(engine.placement_strategy, engine.placement_bundles)
except ValueError as error:
    print(" ".join(str(error).split()), file=sys.stderr)
    sys.exit({REFUSED})
"""


def check(environment: Environment, text: str) -> str:
    """What Ray makes of the configuration `text`: how it places each replica.

    Raises:
        InputError: its classes refuse it.
        TpdeployError: they cannot be asked.
    """
    argv = [str(environment.python), "-c", PROGRAM]
    try:
        done = told(argv, TIMEOUT_S, stdin=text)
    except TpdeployError as error:
        raise TpdeployError(f"Ray in {environment.executables.parent}: {error}") from error
    last = one_line((done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1])
    if done.returncode == REFUSED:
        raise InputError(f"Ray {version_in(environment, 'ray')} refuses the configuration: {last}")
    if done.returncode:
        raise TpdeployError(f"Ray in {environment.executables.parent}: {last}")
    return done.stdout.strip().splitlines()[-1]
