"""From where `validate` sends its requests: from here, or from where the replicas are."""

from collections.abc import Callable

from tpdeploy.api.measuring import OnProgress
from tpdeploy.errors import TpdeployError
from tpdeploy.harness.load.client import key_from_environment
from tpdeploy.harness.load.recorder import Progress
from tpdeploy.harness.measure.errand import Errand, told
from tpdeploy.harness.measure.report import ValidationReport
from tpdeploy.harness.measure.teaching import Launched
from tpdeploy.harness.measure.validation import Measurement
from tpdeploy.launcher.inside import client_of, conversation, url_from_there
from tpdeploy.launcher.state import Deployment, Endpoint, running_endpoint

Send = Callable[[Endpoint, Measurement, Launched | None, OnProgress], ValidationReport]


def measure_inside(deployment: Deployment, image: str) -> Send:
    """What measures from a machine where the replicas of `deployment` are, or a pod of `image`.

    Raises:
        InputError: it cannot be measured from there; the message says what would work.
    """
    client = client_of(deployment, running_endpoint(deployment.name).plan, image)
    url = url_from_there(deployment)

    def send(
        endpoint: Endpoint, how: Measurement, launched: Launched | None, on_progress: OnProgress
    ) -> ValidationReport:
        certificate = endpoint.certificate
        errand = Errand(
            endpoint.plan,
            url,
            how,
            launched,
            api_key=key_from_environment() or endpoint.own_key(),
            certificate=certificate.read_text(encoding="utf-8") if certificate else None,
        )
        reports: list[ValidationReport] = []

        def hear(line: str) -> None:
            said = told(line)
            if isinstance(said, Progress):
                on_progress(said)
            elif said:
                reports.append(said)

        with client() as argv:
            conversation(argv, errand.line(), hear)
        if not reports:
            raise TpdeployError("the client has ended without a result")
        return reports[0]

    return send
