"""What is known: every bundled model, device, interconnect and workload, with its source."""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Literal

from pydantic import Field

from tpdeploy.errors import InputError, nearest, shown
from tpdeploy.profiles.devices.accelerator import Accelerator
from tpdeploy.profiles.devices.catalog import (
    accelerators,
    choose_fabric,
    efficiency_of,
    fabric_names,
    find_accelerator,
    find_fabric,
    is_accelerator,
    measured_on,
)
from tpdeploy.profiles.devices.instances import (
    Rented,
    find_instance,
    instance_names,
    providers,
)
from tpdeploy.profiles.devices.networks import find_network, network_names
from tpdeploy.profiles.models.config.parser import shape_from_config
from tpdeploy.profiles.models.library import bundled_model, model_profiles
from tpdeploy.profiles.models.shape import ModelProfile, ModelShape
from tpdeploy.profiles.naming import gpu_key, key_of
from tpdeploy.profiles.record import Confidence, Dtype, Provenance, Record, Text
from tpdeploy.profiles.workloads import (
    WorkloadProfile,
    find_workload,
    workload_names,
    workload_profiles,
)
from tpdeploy.records import read_record


class KnownModel(Provenance):
    """A bundled model."""

    id: Text
    aliases: tuple[Text, ...] = Field(description="short names, the usual one first")
    same_config: tuple[Text, ...] = Field(description="checkpoints that are planned alike")
    architecture: Text
    parameters: int
    layers: int
    experts: int | None = Field(description="routed experts of a layer; None: it has none")
    weights: Dtype = Field(description="format of most weights in the checkpoint")
    stored_as: Text | None = Field(description="method of a quantized checkpoint")
    max_context: int = Field(description="tokens of one request, prompt and answer")

    @property
    def name(self) -> str:
        """The shortest that it is called."""
        return self.aliases[0] if self.aliases else self.id


class ClassError(Provenance):
    """How far measured runs lay from predictions on one class of device, with vLLM."""

    tpot: float = Field(description="four of five lie within a factor of 1 + this")
    ttft: float = Field(description="the same for TTFT")


class KnownGpu(Provenance):
    """A bundled device: datasheet peaks, and how well its class is predicted."""

    name: Text
    aliases: tuple[Text, ...]
    architecture: Text = Field(description="class of device")
    memory_bytes: int
    memory_bytes_per_s: float
    flops_per_s: dict[Dtype, float] = Field(description="dense matrix products by number format")
    fabrics: tuple[Text, ...] = Field(description="that it is sold with, the assumed one first")
    error: ClassError


class KnownInterconnect(Provenance):
    """A bundled fabric within machines, or network between them; figures are of its link model."""

    name: Text
    description: Text
    between: Literal["GPUs", "machines"]
    domain: int | None = Field(description="devices that it joins directly; None: any number")
    bytes_per_s: float = Field(description="achieved bus bandwidth of a device or an adapter")
    latency_s: float = Field(description="of one hop")
    measured_on: tuple[Text, ...] = Field(description="GPUs whose collectives were measured on it")


class KnownMachine(Provenance):
    """A machine that a provider rents, or a rack that is sold whole."""

    name: Text
    also: tuple[Text, ...] = Field(description="names of sizes that differ in CPUs and memory")
    provider: Text
    machines: int = Field(description="of a rack; 1: it is a machine")
    count: int = Field(description="GPUs of one machine")
    gpu: Text
    fabric: Text = Field(description="between its GPUs")
    network: Text = Field(description="between such machines or racks")


class KnownWorkloads(Record):
    """Bundled workloads."""

    workloads: tuple[WorkloadProfile, ...]


class KnownModels(Record):
    """Bundled models."""

    models: tuple[KnownModel, ...]


class KnownGpus(Record):
    """Bundled devices, and the machines that `--gpus` takes in their place."""

    gpus: tuple[KnownGpu, ...]
    machines: tuple[KnownMachine, ...]


class KnownInterconnects(Record):
    """Bundled fabrics and networks."""

    interconnects: tuple[KnownInterconnect, ...]


def known_models(word: str = "") -> KnownModels:
    """The bundled models with `word` in a name, smallest first; dashes make no difference.

    Raises:
        InputError: there is none.
    """
    every = {(p.id, *p.aliases, *p.same_config): p for p in model_profiles()}
    found = [_model(every[names]) for names in _with(word, every)]
    if not found:
        names = [name for profile in every.values() for name in profile.aliases]
        raise InputError(
            f"no bundled model has {shown(word)!r} in its name; {nearest(word, names)}"
        )
    return KnownModels(models=tuple(sorted(found, key=lambda m: (m.parameters, m.name))))


def known_gpus(word: str = "") -> KnownGpus:
    """The bundled devices with `word` in a name or as their class, and machines named so.

    Raises:
        InputError: there is none.
    """
    every = {(each.name, *each.aliases, each.architecture): each for each in accelerators()}
    found = [_gpu(every[names]) for names in _with(word, every) or _with(gpu_key(word), every)]
    rented = {each.names: each for p in providers() for each in p.instances}
    named = [find_instance(names[0]) for names in _with(word, rented)]
    if not found and not named:
        names = [*(each.name for each in every.values()), *instance_names()]
        near = nearest(word, names, listed_by="tpdeploy gpus")
        raise InputError(f"no known GPU has {shown(word)!r} in its name; {near}")
    machines = tuple(_machine(each) for each in named if each)
    return KnownGpus(gpus=tuple(found), machines=machines)


def known_interconnects(word: str = "") -> KnownInterconnects:
    """The bundled fabrics, then the networks, with `word` in their name.

    Raises:
        InputError: there is none.
    """
    every: dict[tuple[str, ...], KnownInterconnect] = {(i.name,): i for i in _interconnects()}
    found = tuple(every[names] for names in _with(word, every))
    if not found:
        names = (*fabric_names(), *network_names())
        raise InputError(
            f"no known interconnect has {shown(word)!r} in its name; {nearest(word, names)}"
        )
    return KnownInterconnects(interconnects=found)


def known_workloads(word: str = "") -> KnownWorkloads:
    """The bundled workloads with `word` in their name or description.

    Raises:
        InputError: there is none.
    """
    every: dict[tuple[str, ...], WorkloadProfile] = {
        (each.name, each.description): each for each in workload_profiles()
    }
    found = tuple(every[names] for names in _with(word, every))
    if not found:
        raise InputError(
            f"no workload has {shown(word)!r} in its name; {nearest(word, workload_names())}"
        )
    return KnownWorkloads(workloads=found)


Known = KnownModel | KnownGpu | KnownInterconnect | KnownMachine | WorkloadProfile


def what_is(name: str) -> Known:
    """The bundled model, device, interconnect, machine of a provider or workload called `name`.

    Raises:
        InputError: there is none; the nearest names are offered.
    """
    if is_accelerator(name):
        return _gpu(find_accelerator(name))
    if model := bundled_model(name):
        return _model(read_record(model[1], ModelProfile))
    every = {each.name: each for each in _interconnects()}
    if name.lower() in every:
        return every[name.lower()]
    if name.lower() in workload_names():
        return find_workload(name)
    if rented := find_instance(name):
        return _machine(rented)
    names = [
        *every,
        *workload_names(),
        *instance_names(),
        *(n for p in model_profiles() for n in p.aliases),
    ]
    names += [n for device in accelerators() for n in (device.name, *device.aliases)]
    near = nearest(name, names, listed_by="tpdeploy models, gpus, ...")
    raise InputError(f"nothing known is called {shown(name)!r}; {near}")


def _with(word: str, every: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Those of whose names one has `word` in it, or has it without dashes."""
    everyone = list(every)
    found = [names for names in everyone if any(word.lower() in n.lower() for n in names)]
    return found or [names for names in everyone if any(key_of(word) in key_of(n) for n in names)]


def _model(profile: ModelProfile) -> KnownModel:
    shape = shape_from_config(profile.config, id=profile.id)
    return KnownModel(
        id=profile.id,
        aliases=profile.aliases,
        same_config=profile.same_config,
        architecture=shape.architecture,
        parameters=profile.parameters,
        layers=shape.layers,
        experts=shape.experts.count if shape.experts else None,
        weights=_weights(shape),
        stored_as=shape.quantization.method if shape.quantization else None,
        max_context=shape.max_context,
        **_provenance(profile),
    )


def _weights(shape: ModelShape) -> Dtype:
    return shape.quantization.weights if shape.quantization else shape.dtype


def _gpu(device: Accelerator) -> KnownGpu:
    peaks, errors = device.peaks, efficiency_of(device.architecture).errors
    return KnownGpu(
        name=device.name,
        aliases=device.aliases,
        architecture=device.architecture,
        memory_bytes=peaks.memory_bytes,
        memory_bytes_per_s=peaks.memory_bytes_per_s,
        flops_per_s=peaks.flops_per_s,
        fabrics=device.fabrics,
        error=ClassError(tpot=errors.tpot, ttft=errors.ttft, **_provenance(errors)),
        **_provenance(peaks),
    )


def _machine(rented: Rented) -> KnownMachine:
    made, device = rented.instance, find_accelerator(rented.instance.gpu)
    (provider,) = (p for p in providers() if p.provider == rented.provider)
    return KnownMachine(
        name=rented.name,
        also=tuple(each for each in made.names if each != rented.name),
        provider=rented.provider,
        machines=made.machines,
        count=made.count,
        gpu=made.gpu,
        fabric=choose_fabric(device, made.fabric),
        network=made.network,
        **_provenance(provider),
    )


def _interconnects() -> Iterator[KnownInterconnect]:
    for fabric in map(find_fabric, fabric_names()):
        yield KnownInterconnect(
            name=fabric.name,
            description=fabric.description,
            between="GPUs",
            domain=fabric.domain,
            bytes_per_s=fabric.link.ring_bytes_per_s,
            latency_s=fabric.link.hop_latency_s,
            measured_on=measured_on(fabric.name),
            **_provenance(fabric.link),
        )
    for network in map(find_network, network_names()):
        yield KnownInterconnect(
            name=network.name,
            description=network.description,
            between="machines",
            domain=None,
            bytes_per_s=network.link.ring_bytes_per_s,
            latency_s=network.link.hop_latency_s,
            measured_on=tuple(dict.fromkeys(curve.gpu for curve in network.curves)),
            **_provenance(network.link),
        )


def _provenance(block: Provenance) -> dict[str, str | date | Confidence]:
    return {name: getattr(block, name) for name in Provenance.model_fields}
