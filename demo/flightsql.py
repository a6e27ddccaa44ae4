"""Flight SQL commands by hand, for clients that speak Flight only (pyarrow.flight, grpcurl).

The messages are small enough that encoding them takes less than a generated module would."""

import pyarrow as pa
import pyarrow.flight as flight

PACKAGE = "type.googleapis.com/arrow.flight.protocol.sql."


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def encode(fields: dict) -> bytes:
    """A protobuf message from field number → int, bool, str, bytes, or a list of them."""
    out = b""
    for number, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, int):
                out += varint(number << 3) + varint(value)
            else:
                data = value.encode() if isinstance(value, str) else bytes(value)
                out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def decode(data: bytes) -> dict[int, list]:
    """Field number → its values, in order; integers and length-delimited fields only."""
    fields: dict[int, list] = {}
    position = 0

    def number() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(data):
        key = number()
        value = number()
        if key & 7 == 2:
            value, position = data[position : position + value], position + value
        fields.setdefault(key >> 3, []).append(value)
    return fields


def command(name: str, fields: dict | None = None) -> bytes:
    """A command or action body: the message in a google.protobuf.Any."""
    return encode({1: PACKAGE + name, 2: encode(fields or {})})


class Client:
    """pyarrow.flight with the bearer token of a Basic login on every call."""

    def __init__(self, url: str, user: str, password: str):
        self.flight = flight.FlightClient(url.replace("grpc://", "grpc+tcp://"))
        self.bearer = self.flight.authenticate_basic_token(user, password)
        self.options = flight.FlightCallOptions(headers=[self.bearer])

    def info(self, name: str, fields: dict | None = None) -> flight.FlightInfo:
        descriptor = flight.FlightDescriptor.for_command(command(name, fields))
        return self.flight.get_flight_info(descriptor, self.options)

    def read(self, ticket: flight.Ticket) -> pa.Table:
        return self.flight.do_get(ticket, self.options).read_all()

    def fetch(self, name: str, fields: dict | None = None) -> pa.Table:
        """GetFlightInfo, then DoGet of each endpoint."""
        info = self.info(name, fields)
        return pa.concat_tables([self.read(endpoint.ticket) for endpoint in info.endpoints])

    def query(self, sql: str) -> pa.Table:
        return self.fetch("CommandStatementQuery", {1: sql})

    def put(self, body: bytes, schema: pa.Schema, batches=()) -> bytes | None:
        """DoPut, and the metadata of its one reply."""
        descriptor = flight.FlightDescriptor.for_command(body)
        writer, reader = self.flight.do_put(descriptor, schema, self.options)
        with writer:
            for batch in batches:
                writer.write_batch(batch)
            writer.done_writing()
            reply = reader.read()
        return reply.to_pybytes() if reply is not None else None

    def update(self, sql: str) -> int:
        """CommandStatementUpdate: the number of rows changed."""
        reply = self.put(command("CommandStatementUpdate", {1: sql}), pa.schema([]))
        return decode(reply or b"").get(1, [0])[0]

    def action(self, name: str, body: bytes) -> list[bytes]:
        results = self.flight.do_action(flight.Action(name, body), self.options)
        return [result.body.to_pybytes() for result in results]

    def close(self) -> None:
        self.flight.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self.close()
