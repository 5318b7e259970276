"""What of a load counts, and when it is enough."""

from tpdeploy.harness.load.exchange import Exchange, Failure
from tpdeploy.harness.load.recorder import GIVE_UP_AFTER, Amount, Progress, Recorder


def answered(end: float, e2e: float = 1.0) -> Exchange:
    arrivals = [(end, 1)]
    return Exchange(end - e2e, end - e2e, arrivals, output_tokens=1, finished=end)


def failed(end: float) -> Exchange:
    return Exchange(end, end, finished=end, failure=Failure("connect", "no"))


def recorder(
    *, limit: int = 6, requests: int | None = 3, seconds: float | None = None
) -> tuple[Recorder, list[Progress]]:
    progress: list[Progress] = []
    return Recorder(limit, 2, Amount(requests, seconds), progress.append, since=0.0), progress


def test_warm_up_ends_once_two_rounds_take_the_same_time() -> None:
    """A slow first round, then two alike: four requests more, of which none counts."""
    record, progress = recorder(limit=10)
    for end, e2e in enumerate([9.0, 9.0, 1.0, 1.0, 1.05, 1.0], 1):
        assert not record.take(answered(float(end), e2e))
    assert record.stable
    assert len(record.warm_up) == 6
    assert progress[-1] == Progress("measurement", 0, 3, 0)
    assert [record.take(answered(float(end))) for end in (7, 8, 10)] == [False, False, True]
    assert record.span_s == 10 - 6


def test_warm_up_ends_at_its_limit_without_being_stable() -> None:
    """Latencies that never settle do not warm up for ever, and the record says so."""
    record, _ = recorder(limit=4)
    for number in range(7):
        record.take(answered(float(number), e2e=2.0**number))
    assert (len(record.warm_up), len(record.measured), record.stable) == (4, 3, False)


def test_no_warm_up_when_none_is_wanted() -> None:
    """With a limit of 0 the first request counts."""
    record, _ = recorder(limit=0, requests=1)
    assert record.take(answered(1.0))
    assert len(record.measured) == 1


def test_what_ends_after_enough_is_not_counted() -> None:
    """The number asked for is the number measured."""
    record, _ = recorder(limit=0, requests=1)
    record.take(answered(1.0))
    assert record.take(answered(1.0))
    assert len(record.measured) == 1


def test_seconds_end_a_measurement() -> None:
    """The first answer at or after the time limit is the last."""
    record, _ = recorder(limit=0, requests=None, seconds=2.0)
    assert [record.take(answered(end)) for end in (1.0, 1.9, 2.1)] == [False, False, True]


def test_a_dead_endpoint_is_given_up() -> None:
    """A row of failures ends everything, in the warm-up as well."""
    record, _ = recorder(limit=1000)
    taken = [record.take(failed(float(number))) for number in range(GIVE_UP_AFTER)]
    assert taken == [False] * (GIVE_UP_AFTER - 1) + [True]


def test_a_single_success_ends_the_row_of_failures() -> None:
    """Failures with successes between them are counted, not given up on."""
    record, _ = recorder(limit=0, requests=1000)
    for number in range(3 * GIVE_UP_AFTER):
        exchange = answered(float(number)) if number % 3 == 0 else failed(float(number))
        assert not record.take(exchange)
