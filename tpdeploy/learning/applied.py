"""A cluster with the calibrations and corrections of this machine, if there are any."""

from tpdeploy.learning import calibrations as measured
from tpdeploy.learning import corrections as learned
from tpdeploy.profiles.devices.catalog import with_engine
from tpdeploy.profiles.devices.cluster import Cluster
from tpdeploy.profiles.models.shape import ModelShape


def with_engine_here(cluster: Cluster, engine: str, shape: ModelShape) -> Cluster:
    """`cluster` with the efficiency of `engine` for `shape`, as measured and learned here.

    Raises:
        InputError: a file of measurements is not what was written.
    """
    known = with_engine_measured(cluster, engine)
    correction = learned.find(known, shape)
    return learned.learned_here(known, shape, correction) if correction else known


def with_engine_measured(cluster: Cluster, engine: str) -> Cluster:
    """The same without corrections from validations: the catalog, or what `calibrate` measured."""
    cataloged = with_engine(cluster, engine)
    machine = measured.find(cluster, engine)
    return measured.measured_here(cataloged, machine) if machine else cataloged
