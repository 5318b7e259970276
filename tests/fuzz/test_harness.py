"""What is measured elsewhere: tables of runs, results of other load generators, real prompts."""

import json
from itertools import islice
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.mutants import as_json, files, mutants, words
from tests.fuzz.promise import fuzzed, is_clear, kept, numbers, ran
from tests.harness.plans import small_plan
from tests.harness.runs import PLAIN
from tpdeploy.harness.backtest.prediction import Failed, predict_row
from tpdeploy.harness.backtest.table import read_rows
from tpdeploy.harness.imported.report import imported_report
from tpdeploy.harness.load.requests import read_requests
from tpdeploy.planner.workload import Target, Workload
from tpdeploy.records import Dumper, dump_record

pytestmark = pytest.mark.slow

RESULTS = {
    path.name: json.loads(path.read_text())
    for path in sorted((Path(__file__).parents[1] / "harness" / "data").glob("*.json"))
}
PLAN = small_plan(Workload(input_tokens=16, output_tokens=4, concurrency=2, ttft=Target(ms=85)))
OPTIONAL = {
    **dict.fromkeys(("requests", "max_num_batched_tokens", "memory_fraction", "server"), ""),
    **dict.fromkeys(("engine_version", "date", "output_tokens_per_s"), ""),
}
ROW = {**PLAIN, **OPTIONAL}
PROMPT = {"prompt": [1, 2, 3], "output_tokens": 4}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@fuzzed(120)
@given(st.dictionaries(st.sampled_from(sorted(ROW)), words(), min_size=1, max_size=2))
def test_a_row_of_a_table(changes: dict[str, str]) -> None:
    """A bad cell loses its own row, for a reason; all others are predicted, finite."""
    found = kept(lambda: predict_row({**ROW, **changes}))
    assert found is not None, "a row does not end the table"
    if isinstance(found, Failed):
        assert is_clear(found.reason)
    else:
        figures = (found.ttft, found.tpot, found.output_tokens_per_s)
        assert all(abs(n) < 1e300 for f in figures for n in numbers(dict(vars(f))))


@fuzzed(80)
@given(files("\n".join((",".join(PLAIN), ",".join(PLAIN.values()))) + "\n"))
def test_a_table(place: Path, content: bytes) -> None:
    """A file that is no table, or hardly."""
    path = place / "runs.csv"
    path.write_bytes(content)
    kept(lambda: read_rows(path))


@fuzzed(200)
@given(st.sampled_from(sorted(RESULTS)).flatmap(lambda name: mutants(RESULTS[name])))
def test_a_result_of_another_tool(place: Path, result: object) -> None:
    """Its figures are possible ones, or it is refused."""
    path = place / "result.json"
    path.write_text(as_json(result))
    kept(lambda: imported_report(path, PLAN))


@fuzzed(25)
@given(st.sampled_from(sorted(RESULTS)).flatmap(lambda name: mutants(RESULTS[name])))
def test_validate_from(place: Path, result: object) -> None:
    """The same through the command."""
    path, plan = place / "result.json", place / "plan.yaml"
    path.write_text(as_json(result))
    plan.write_text(dump_record(PLAN))
    ran("validate", str(plan), "--from", str(path), home=place / "home")


@fuzzed(25)
@given(mutants(json.loads(PLAN.model_dump_json(exclude_none=True))))
def test_validate_a_plan(place: Path, plan: object) -> None:
    """A plan that was edited, against a run under a load that is not its own."""
    path = place / "plan.yaml"
    path.write_bytes(yaml.dump(plan, Dumper=Dumper).encode(errors="surrogatepass"))
    result = Path(__file__).parents[1] / "harness" / "data" / "aiperf.json"
    ran("validate", str(path), "--from", str(result), home=place / "home")


@fuzzed(60)
@given(files(json.dumps(RESULTS["vllm_detailed.json"])))
def test_a_file_that_is_no_result(place: Path, content: bytes) -> None:
    """Broken encodings, cut files, other files."""
    path = place / "result.json"
    path.write_bytes(content)
    kept(lambda: imported_report(path, PLAN))


@fuzzed(100)
@given(
    st.one_of(
        st.lists(mutants(PROMPT), max_size=3).map(
            lambda lines: "\n".join(map(as_json, lines)).encode()
        ),
        files(json.dumps(PROMPT)),
    )
)
def test_prompts(place: Path, content: bytes) -> None:
    """Every line is a prompt that can be sent, or its number is named."""
    path = place / "prompts.jsonl"
    path.write_bytes(content)
    asked = kept(lambda: list(islice(read_requests(path, 8), 5)))
    assert all(1 <= each.output_tokens <= 10**8 and each.prompt for each in asked or ())
