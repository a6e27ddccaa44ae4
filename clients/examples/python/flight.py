"""Insula from Python by pyarrow.flight alone, for those who want no driver.

    pip install pyarrow
    INSULA_ADMIN_PASSWORD=secret insula serve &
    python flight.py

Flight SQL's commands are protobuf messages in a google.protobuf.Any; one with a string needs the few lines of `command`.
"""

import os

import pyarrow.flight as flight


def command(name: str, sql: str) -> bytes:
    """Any { type_url: "type.googleapis.com/arrow.flight.protocol.sql.NAME", value: NAME { query: sql } }"""

    def field(number: int, value: bytes) -> bytes:
        length, size = len(value), b""
        while length > 0x7F:
            size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
        return bytes([number << 3 | 2]) + size + bytes([length]) + value

    url = f"type.googleapis.com/arrow.flight.protocol.sql.{name}"
    return field(1, url.encode()) + field(2, field(1, sql.encode()))


url = os.environ.get("INSULA_URL", "grpc://127.0.0.1:50051").replace("grpc://", "grpc+tcp://")
client = flight.FlightClient(url)
login = client.authenticate_basic_token(
    os.environ.get("INSULA_USER", "admin"), os.environ.get("INSULA_PASSWORD", "secret")
)
options = flight.FlightCallOptions(headers=[login])


def query(sql: str):
    """One round trip would do: the command itself may be the ticket of a DoGet. This is the way that any server knows."""
    descriptor = flight.FlightDescriptor.for_command(command("CommandStatementQuery", sql))
    info = client.get_flight_info(descriptor, options)
    return client.do_get(info.endpoints[0].ticket, options).read_all()


query("CREATE TABLE IF NOT EXISTS people (id BIGINT PRIMARY KEY, name VARCHAR NOT NULL, age INTEGER)")
query("REPLACE INTO people VALUES (1, 'Ada', 36), (2, 'Grace', 85)")
for row in query("SELECT name, age FROM people WHERE age > 40 AND id < 3").to_pylist():
    print(row["name"], "is", row["age"])
client.close()
