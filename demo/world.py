"""What the steps share: the server, a login per carrier, and what each carrier's flights must be by now."""

import contextlib
import secrets

import pyarrow as pa

from demo import adbc, data
from demo.report import Report, same
from demo.server import ADMIN_PASSWORD, Server

SELECT_ALL = (
    f"SELECT {', '.join(data.load('flights').column_names)} FROM aviation.flights ORDER BY {', '.join(data.KEY)}"
)


class World:
    def __init__(self, server: Server, report: Report):
        self.server = server
        self.report = report
        self.passwords = {"admin": ADMIN_PASSWORD} | {code: secrets.token_urlsafe(12) for code in data.carriers()}
        # The model: the CSV, changed by pyarrow in the way the SQL changes the server's rows.
        self.flights: dict[str, pa.Table] = {code: data.flights_of(code) for code in data.carriers()}
        self._open: dict[str, object] = {}

    def as_user(self, user: str):
        """The user's connection, opened at first use."""
        if user not in self._open:
            self._open[user] = adbc.connect(self.server.url, user, self.passwords[user])
        return self._open[user]

    def disconnect(self) -> None:
        for connection in self._open.values():
            # After a kill -9 there is nobody to say goodbye to.
            with contextlib.suppress(Exception):
                connection.close()
        self._open.clear()

    def ask(self, user: str, sql: str, parameters=None, show: bool = True) -> pa.Table:
        """Runs a query as the user, and prints both."""
        answer = adbc.query(self.as_user(user), sql, parameters)
        if show:
            self.report.sql(user, sql)
            self.report.table(answer)
        return answer

    def tell(self, user: str, sql: str) -> int:
        """Runs a statement that changes something, prints it, and gives the number of rows changed."""
        changed = adbc.change(self.as_user(user), sql)
        self.report.sql(user, sql)
        return changed

    def check_all_flights(self, when: str, but: tuple[str, ...] = ()) -> None:
        """Every column of every row of every carrier against the model."""
        wrong, rows = [], 0
        for carrier, want in self.flights.items():
            if carrier in but:
                continue
            got = adbc.query(self.as_user(carrier), SELECT_ALL)
            rows += got.num_rows
            if not same(got, want):
                wrong.append(f"{carrier}: {got.num_rows} rows, {want.num_rows} expected")
        self.report.check(
            f"{when}: {rows:,} rows, all columns of all {len(self.flights) - len(but)} carriers", wrong, []
        )
