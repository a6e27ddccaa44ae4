"""Few bytes that ask for much: each is an error of its own statement, and the server goes on."""

import pyarrow as pa
import pyarrow.flight as flight
import pytest
from conftest import Login

from demo import flightsql
from demo.server import ADMIN_PASSWORD, Server

DEEP = "List(" * 20000 + "Int8" + ")" * 20000
TYPES = [
    f"arrow_cast(NULL, '{DEEP}')",
    f"arrow_try_cast(NULL, '{DEEP}')",
    "arrow_cast(NULL, 'FixedSizeList(2000000000, FixedSizeBinary(100000))')",
    "arrow_try_cast(make_array(1), 'FixedSizeList(300000000, Int64)')",
    "arrow_cast(NULL, 'FixedSizeBinary(2000000000)')",
    "arrow_cast(NULL, 'FixedSizeList(2000000000, FixedSizeList(2000000000, Int64))')",
    "CAST(NULL AS INT[2000000000])",
    "CAST(NULL AS INT[60000][60000])",
    "TRY_CAST(NULL AS BINARY(2000000000))",
    "NULL::STRUCT<a INT[6000], b INT[6000]>",
]


@pytest.mark.parametrize("value", TYPES, ids=lambda value: value[:40])
def test_types_of_huge_values_are_refused(alice, refused, value):
    with refused("InvalidArgument"):
        alice.query(f"SELECT {value} IS NULL")
    assert alice.rows("SELECT 1") == [(1,)]


def test_types_of_ordinary_values_are_not(alice):
    assert alice.rows("SELECT arrow_cast(5, 'Decimal128(10, 2)') = 5, arrow_typeof(arrow_cast(1, 'List(Int64)'))") == [
        (True, "List(Int64)")
    ]
    assert alice.rows("SELECT CAST(make_array(1, 2) AS INT[2])[2]") == [(2,)]


@pytest.mark.parametrize("declared", ["BINARY(65537)", "DOUBLE[8193]"])
def test_columns_of_huge_values_are_refused(admin, namespace, refused, declared):
    with refused("InvalidArgument", "65536"):
        admin.change(f"CREATE TABLE {namespace}.wide (id BIGINT PRIMARY KEY, v {declared})")


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A server that takes small messages."""
    with Server(tmp_path_factory.mktemp("narrow") / "data", "--max-message-size", "1MB") as server:
        login = Login(server, "admin", ADMIN_PASSWORD)
        login.change("CREATE NAMESPACE app")
        login.change("CREATE TABLE app.zeros (id BIGINT PRIMARY KEY, v BIGINT)")
        yield login
        login.close()


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_compressed_message_is_as_large_as_what_it_becomes(narrow, compression):
    def ingest(rows: int) -> None:
        batch = pa.record_batch({"id": pa.array(range(rows), pa.int64()), "v": pa.array([0] * rows, pa.int64())})
        client = narrow.flight()
        fields = {1: flightsql.encode({1: 2, 2: 2}), 2: "zeros", 3: "app"}
        descriptor = flight.FlightDescriptor.for_command(flightsql.command("CommandStatementIngest", fields))
        options = flight.FlightCallOptions(
            headers=[client.bearer], write_options=pa.ipc.IpcWriteOptions(compression=compression)
        )
        writer, reader = client.flight.do_put(descriptor, batch.schema, options)
        with writer:
            writer.write_batch(batch)
            writer.done_writing()
            reader.read()

    with pytest.raises((flight.FlightError, pa.ArrowException), match="--max-message-size"):
        ingest(100_000)
    assert narrow.rows("SELECT count(*) FROM app.zeros") == [(0,)]


def test_texts_that_take_long_to_compare_are_refused(alice, refused):
    with refused("InvalidArgument", "1048576"):
        alice.query("SELECT levenshtein(repeat('a', 150000), repeat('b', 150000))")
    assert alice.rows("SELECT levenshtein(repeat('a', 100), repeat('b', 90))") == [(100,)]
    assert alice.rows("SELECT levenshtein(NULL, repeat('b', 9000))") == [(None,)]
