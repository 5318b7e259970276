"""Linear layers: as the planner names them, and where checkpoints keep them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import translate

from tpdeploy.errors import InputError
from tpdeploy.profiles.models.config.families.family import Family
from tpdeploy.profiles.models.config.keys import ConfigKeys
from tpdeploy.profiles.models.config.layer_kinds import LayerKinds

# Tensor names of the planner, and the paths below a layer that lists of modules use.
MIXING = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "output": "self_attn.o_proj",
    "head gate": "self_attn.g_proj",
    "q down": "self_attn.q_a_proj",
    "q up": "self_attn.q_b_proj",
    "kv down": "self_attn.kv_a_proj_with_mqa",
    "kv up": "self_attn.kv_b_proj",
    "output down": "self_attn.o_a_proj",
    "output gate": "self_attn.g_proj",
    "index q": "self_attn.indexer.wq_b",
    "index k": "self_attn.indexer.wk",
}
WINDOWED = {f"windowed {name}": MIXING[name] for name in ("q", "k", "v", "output", "head gate")}
LINEAR = {
    "linear q and k": "linear_attn.in_proj_qkv",
    "linear v": "linear_attn.in_proj_qkv",
    "linear gate": "linear_attn.in_proj_z",
    "linear decay": "linear_attn.in_proj_a",
    "linear output": "linear_attn.out_proj",
    "linear selection": "mamba.x_proj",
    "linear decay down": "self_attn.f_a_proj",
    "linear gate down": "self_attn.g_a_proj",
    "linear strength": "self_attn.b_proj",
}
DENSE = {"gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}
SPARSE = {
    "shared expert gate": "mlp.shared_experts.gate_proj",
    "shared expert up": "mlp.shared_experts.up_proj",
    "shared expert down": "mlp.shared_experts.down_proj",
    "experts' input": "mlp.fc1_latent_proj",
    "experts' output": "mlp.fc2_latent_proj",
    "expert gate": "mlp.experts.0.gate_proj",
    "expert up": "mlp.experts.0.up_proj",
    "expert down": "mlp.experts.0.down_proj",
}
HEAD = "head"
ROUTED = ("expert gate", "expert up", "expert down")
MODULES: Mapping[str, str] = {**MIXING, **WINDOWED, **LINEAR, **DENSE, **SPARSE}
IN_LAYER = re.compile(r"(?:.*\.)?layers\.(\d+)\.(.+)")


class LinearLayers:
    """The linear layers of one model, to look up by the module paths of its checkpoint."""

    names = (*MODULES, HEAD)

    def __init__(self, family: Family, kinds: LayerKinds) -> None:
        self.modules = {**MODULES, **family.modules}
        self.unquantized = family.unquantized
        self.kinds = kinds
        self.windowed_apart = family.other_heads != "none"
        if family.shared_gate:
            names = (name for name in SPARSE if name.startswith("shared expert"))
            self.modules |= {
                name: self.modules[name].replace("shared_experts", "shared_expert")
                for name in names
            }

    def matching(self, patterns: Iterable[str], stored: ConfigKeys) -> dict[str, int | None]:
        """Linear layers that `patterns` cover, and in how many layers; None: in all it is in.

        A pattern is a regular expression (`re:`), a glob or a module's path.

        Raises:
            InputError: a regular expression that is none.
        """
        anywhere, of_layers = _sorted(patterns)
        everywhere = _compiled(anywhere, stored)
        by_layer = {i: _compiled(own, stored) for i, own in of_layers.items()}
        covered: dict[str, int | None] = {}
        for name, module in self.modules.items():
            layers = list(self._layers_of(name))
            found = sum(
                _covers(by_layer.get(i, ()), module)
                or _covers(everywhere, f"model.layers.{i}.{module}")
                for i in layers
            )
            if found:
                covered[name] = None if found == len(layers) else found
        if _covers(everywhere, "lm_head"):
            covered[HEAD] = None
        return covered

    def _layers_of(self, name: str) -> Iterator[int]:
        for i, (mixer, mlp) in enumerate(zip(self.kinds.mixers, self.kinds.mlps, strict=True)):
            if name in WINDOWED:
                has = mixer == "sliding" and self.windowed_apart
            elif name in MIXING:
                has = mixer in {"full", "both"} or (mixer == "sliding" and not self.windowed_apart)
            elif name in LINEAR:
                has = mixer in {"linear", "both"}
            else:
                has = mlp in ({"dense", "both"} if name in DENSE else {"sparse", "both"})
            if has:
                yield i


def _sorted(patterns: Iterable[str]) -> tuple[list[str], dict[int, list[str]]]:
    """Patterns for every layer, and those for one layer without the path to it."""
    everywhere: list[str] = []
    by_layer: dict[int, list[str]] = {}
    for pattern in patterns:
        one = None if pattern.startswith("re:") else IN_LAYER.fullmatch(pattern)
        if one:
            by_layer.setdefault(int(one[1]), []).append(one[2])
        else:
            path = pattern.removeprefix("model.language_model.").removeprefix("language_model.")
            everywhere.append(path.replace("backbone.layers.", "model.layers."))
    return everywhere, by_layer


def _compiled(patterns: Iterable[str], stored: ConfigKeys) -> list[re.Pattern[str]]:
    """Each regular expression of `patterns`, and all globs as one."""
    found, globs = list[re.Pattern[str]](), list[str]()
    for pattern in patterns:
        if pattern.startswith("re:"):
            try:
                found.append(re.compile(pattern[3:]))
            except re.error as error:
                raise InputError(f"{stored.id}: {stored.where} has {pattern!r}: {error}") from error
        else:
            # A list may name a whole part, or one expert and mean all.
            forms = (pattern, f"{pattern}.*", f"*.{pattern}", f"*.{pattern}.*")
            globs += map(translate, forms)
    return [*found, re.compile("|".join(globs))] if globs else found


def _covers(patterns: Iterable[re.Pattern[str]], module: str) -> bool:
    return any(pattern.match(module) for pattern in patterns)
