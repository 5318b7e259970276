"""Options that nobody can mean are refused in one short line, whatever is in them."""

from pathlib import Path

import pytest

from tests.cli.commands import answered, refused, tpdeploy
from tpdeploy.errors import MOST_MESSAGE, MOST_SHOWN

DIGITS, MORE_DIGITS = "9" * 400, "9" * 5000
DRAFTING = ("--speculative-tokens", "2", "--acceptance-rate", "0.5")


def refusal(*options: str) -> str:
    line = refused("plan", "llama-70b", "--gpus", "8xH100", "--backend", "vllm", *options)
    assert line.isprintable()
    assert len(line) < MOST_MESSAGE
    return line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--rate", "inf"), "--rate inf: must be a finite number"),
        (("--rate", "1e400"), "--rate inf: must be a finite number"),
        (("--rate", "nan"), "--rate nan: must be a finite number"),
        (("--rate", "1e-300"), "--rate 1e-300: must be greater than or equal to 0.000001"),
        (("--rate", "5e-324"), "--rate 4.94066e-324: must be"),
        (("--rate", "1e7"), "--rate 1e+07: must be less than or equal to 1000000"),
        (("--rate", "0"), "--rate 0: must be greater than 0"),
        (("--gpu-price", "nan"), "--gpu-price nan: must be a finite number"),
        (("--gpu-price", "inf"), "--gpu-price inf: must be a finite number"),
        (("--gpu-price", "1e308"), "--gpu-price 1e+308: must be a finite number"),
        (("--gpu-price", "1e9"), "--gpu-price 1e+09: must be from 1e-06 to 1,000,000"),
        ((*DRAFTING, "--draft-cost", "inf"), "--draft-cost inf: must be a finite number"),
        ((*DRAFTING, "--draft-cost", "1e308"), "--draft-cost 1e+308: must be"),
        (("--concurrency", DIGITS), "--concurrency 999"),
        (("--max-num-batched-tokens", DIGITS), "--max-num-batched-tokens 999"),
        (("--speculative-tokens", DIGITS), "--speculative-tokens 999"),
        (("--ttft", DIGITS), "--ttft 999"),
        (("--tpot", "0.0000001"), "--tpot 0.0000001: must be greater than or equal to 0.001 ms"),
        (("--gpus", f"{DIGITS}xH100"), "more than 100,000 in all"),
        (("--gpus", f"{MORE_DIGITS}xH100"), "more than 100,000 in all"),
        (("--tp", "1000000"), "--tp 1000000: must be from 1 to 100,000"),
    ],
)
def test_numbers_that_nobody_can_mean(options: tuple[str, ...], words: str) -> None:
    """Infinite ones, ones of hundreds of digits, and ones beyond anything that was built."""
    assert words in refusal(*options)


@pytest.mark.parametrize("text", [MORE_DIGITS, "a" * 5000, "x [/b] \n\x1b[31m"])
@pytest.mark.parametrize(
    "option",
    ["--ttft", "--dtype", "--quantization", "--kv-cache-dtype", "--interconnect", "--network"],
)
def test_long_and_unprintable_values_are_echoed_fit_to_read(option: str, text: str) -> None:
    """No second line, no control code, and no more of a value than a person reads."""
    line = refusal(option, text)
    assert line.startswith(f"Error: {option}")
    assert text[: MOST_SHOWN + 30] not in line or len(text) < MOST_SHOWN


@pytest.mark.parametrize("model", ["a" * 300, "a" * 300 + "/b", "~nobody-of-this-name/x"])
def test_a_model_of_no_possible_name(model: str) -> None:
    """Names that no file can have, and the home of nobody."""
    line = refused("plan", model, "--gpus", "8xH100")
    assert "File name too long" in line or "there is no such user" in line


def test_a_report_of_no_possible_name() -> None:
    """It is refused before anything is planned."""
    assert "File name too long" in refusal("--report", "a" * 300)


@pytest.mark.parametrize("path", ["/dev/null", "."])
def test_what_is_no_file_is_not_replaced(path: str) -> None:
    """A device or a folder is never written over, whoever may."""
    assert "not a regular file" in refusal("-o", path)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("plan",), "Missing argument"),
        (("plan", "x", "--nonsense"), "--nonsense"),
        (("plan", "x", "--tp", "many"), "Invalid value for '--tp': "),
        (("plan", "x", "--optimize", "ttft"), "'--optimize': 'ttft' is not one of 'throughput'"),
        (("plan", "llama-8b", "--gpus", "8xGaudi3"), "no engine here runs on gaudi (deepspeed-mii"),
        (("nonsense",), "no command 'nonsense'"),
        (("validate", "--requests", "0"), "Invalid value for '--requests'"),
        (("logs", "--lines", DIGITS), "--lines 999"),
    ],
)
def test_errors_of_the_parser_are_one_line(words: tuple[str, ...], told: str) -> None:
    """As every other error, with exit code 2."""
    assert refused(*words).startswith("Error: ")
    assert told in refused(*words)


def test_help_is_shown_where_nothing_is_asked() -> None:
    """Without a command the commands are listed; asked for, that is no error."""
    assert "plan" in tpdeploy("--help").stdout
    assert tpdeploy("--help").returncode == 0
    assert tpdeploy().returncode == 2


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_short_help(option: str) -> None:
    """Of all commands and of one; no summary is cut off."""
    assert "Usage: tpdeploy plan" in answered("plan", option)
    summaries = answered(option, width=80)
    assert "Usage: tpdeploy [OPTIONS] COMMAND" in summaries
    assert "..." not in summaries.partition("Commands:")[2]


@pytest.mark.slow
def test_quiet_and_verbose(tmp_path: Path) -> None:
    """`-v` is `--all`; `-q` leaves the result and errors, and holds for one command."""
    asked = ("plan", "smollm2", "--backend", "vllm", "--gpus")
    assert answered(*asked, "1xCPU", "-v") == answered(*asked, "1xCPU", "--all")
    assert tpdeploy(*asked, "1xCPU", home=tmp_path).stderr == ""
    assert tpdeploy(*asked, "2xCPU", "-q", home=tmp_path).stderr == ""
    assert "launch starts" in tpdeploy(*asked, "1xCPU", home=tmp_path).stderr
    assert refused(*asked, "1xnothing", "-q").startswith("Error: ")


def test_short_version() -> None:
    """`-V` is `--version`."""
    assert answered("-V") == answered("--version")


def test_a_command_that_is_not_one() -> None:
    """The nearest one is named."""
    assert "no command 'plann'; did you mean plan" in refused("plann")


def test_formats_in_capitals() -> None:
    """FP8 is fp8."""
    assert "weights fp8" in answered(
        "plan", "llama-8b", "--gpus", "1xH100", "--quantization", "FP8", "--all"
    )


def test_an_option_of_other_commands_is_said_to_be_theirs() -> None:
    assert "--detach, which is one of: tpdeploy up, launch;" in refused("plan", "x", "--detach")
    assert "Possible options: --trace" in refused("plan", "x", "--tracing")
