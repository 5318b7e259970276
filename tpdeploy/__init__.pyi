from tpdeploy.api.functions import backtest as backtest
from tpdeploy.api.functions import compare as compare
from tpdeploy.api.functions import estimate as estimate
from tpdeploy.api.functions import plan as plan
from tpdeploy.api.results import Comparison as Comparison
from tpdeploy.api.results import Plan as Plan
from tpdeploy.api.running import Running as Running
from tpdeploy.api.serving import launch as launch
from tpdeploy.api.serving import validate as validate
from tpdeploy.errors import InfeasibleError as InfeasibleError
from tpdeploy.errors import InputError as InputError
from tpdeploy.errors import TpdeployError as TpdeployError

__version__: str
__all__: list[str]
