"""The harness of `make bench`, as far as it runs without the systems that it compares."""

from bench.data import tpch
from bench.result import Result
from bench.rounds import interleaved, percentile, spread


def counted(order: list[str], name: str, values: list[float]):
    left = iter(values)

    def run():
        order.append(name)
        return {"ms": next(left)}

    return run


def test_variants_take_turns_and_ratios_stay_in_their_round():
    order = []
    variants = {"a": counted(order, "a", [2.0, 30.0, 4.0]), "b": counted(order, "b", [1.0, 10.0, 1.0])}
    measured = interleaved(variants, rounds=3, budget=60, say=print)
    assert order == ["a", "b"] * 3
    assert measured.ratios("a", "b", "ms") == [2.0, 3.0, 4.0]
    assert spread(measured.values("a", "ms")) == "4.00 (2.00–30.0)"


def test_a_disturbed_round_is_repeated_and_counted():
    variants = {"a": counted([], "a", [1.0, 9.0, 2.0])}
    said = []
    measured = interleaved(variants, 2, 60, said.append, disturbed=lambda done: "slow" if done["a"]["ms"] > 5 else None)
    assert measured.values("a", "ms") == [1.0, 2.0]
    assert measured.all_values("a", "ms") == [1.0, 2.0, 9.0]
    assert measured.reasons == ["slow"] and said == ["this round is discarded: slow"]


def test_no_time_still_means_one_round():
    measured = interleaved({"a": counted([], "a", [1.0])}, rounds=5, budget=0, say=lambda _: None)
    assert len(measured.kept) == 1


def test_what_is_only_asked_once_is_measured_once():
    order = []
    variants = {"a": counted(order, "a", [1.0] * 3), "slow": counted(order, "slow", [5.0])}
    measured = interleaved(variants, 3, 60, lambda _: None, only_first=("slow",))
    assert order == ["a", "slow", "a", "a"]
    assert measured.ratios("a", "slow", "ms") == [0.2]


def test_percentiles_are_measurements():
    assert [percentile([3.0, 1.0, 2.0], share) for share in (0, 0.5, 0.99)] == [1.0, 2.0, 3.0]


def test_a_wrong_answer_and_a_missed_bar_are_recorded():
    result = Result("title")
    result.check("right", [(1, 0.1 + 0.2)], [(1, 0.3)])
    result.check("wrong", [(1,)], [(2,)])
    result.bar("fast", [4.0, 6.0, 7.0], 5, "×", at_least=True)
    result.bar("small", 2.0, 1.0, "MiB")
    assert result.checks == 2 and result.wrong == ["wrong: [(1,)] instead of [(2,)]"]
    assert [bar["kept"] for bar in result.bars] == [True, False]


def test_no_bar_is_kept_where_an_answer_is_wrong_or_nothing_was_measured():
    refused = Result("title")
    refused.check("ingest is done", "refused", "done")
    refused.bar("memory", 100.0, 640, "MiB")
    refused.compare("ingest", "other", [0.1])
    record = refused.record()
    assert [bar["kept"] for bar in record["bars"]] == [False] and record["comparisons"] == []
    absent = Result("title")
    absent.unmeasured("memory", "no such statement")
    assert [bar["kept"] for bar in absent.record()["bars"]] == [False]


def test_there_are_twenty_two_queries():
    queries = tpch.queries()
    assert list(queries) == [f"Q{number}" for number in range(1, 23)]
    assert all(sql.startswith(("SELECT", "WITH")) and not sql.endswith(";") for sql in queries.values())
