"""JSON schemas of the profile records, generated from their types.

`python scripts/write_schemas.py` writes them; editors use them on the YAML files.
"""

import json

from pydantic import BaseModel

from tpdeploy.files import write_whole
from tpdeploy.profiles import DATA
from tpdeploy.profiles.devices.accelerator import Accelerator, Efficiency
from tpdeploy.profiles.devices.fabric import Fabric, Measurements, Network
from tpdeploy.profiles.devices.instances import Provider
from tpdeploy.profiles.devices.releases import History
from tpdeploy.profiles.models.shape import ModelProfile
from tpdeploy.profiles.workloads import WorkloadProfile

FOLDER = DATA / "schemas"
RECORDS: dict[str, type[BaseModel]] = {
    "accelerator": Accelerator,
    "curves": Measurements,
    "efficiency": Efficiency,
    "fabric": Fabric,
    "instances": Provider,
    "model": ModelProfile,
    "network": Network,
    "releases": History,
    "workload": WorkloadProfile,
}


def schema_text(record: type[BaseModel]) -> str:
    """The JSON schema of `record`, as it is committed."""
    return json.dumps(record.model_json_schema(), indent=2) + "\n"


def main() -> None:
    """Write every schema."""
    for name, record in RECORDS.items():
        write_whole(FOLDER / f"{name}.schema.json", schema_text(record))


if __name__ == "__main__":
    main()
