"""What the run prints: sections with their times, SQL, small tables, and a tick or a cross per checked answer."""

import math
import sys
import time

import pyarrow as pa


class Report:
    def __init__(self):
        self.checks = 0
        self.wrong: list[str] = []
        self.started = time.monotonic()
        self.section_started: float | None = None

    def section(self, title: str) -> None:
        self._end_section()
        self.section_started = time.monotonic()
        print(f"\n── {title} " + "─" * max(3, 96 - len(title)))

    def _end_section(self) -> None:
        if self.section_started is not None:
            print(f"   ({time.monotonic() - self.section_started:.1f} s)")

    def say(self, text: str) -> None:
        print(f"   {text}")

    def sql(self, who: str, text: str) -> None:
        print(f"\n   {who}> " + "\n         ".join(line.strip() for line in text.strip().splitlines()))

    def table(self, table: pa.Table, limit: int = 8) -> None:
        rows = [[show(value) for value in row] for row in tuples(table)[:limit]]
        names = table.column_names
        widths = [max(len(name), *(len(row[i]) for row in rows), 1) for i, name in enumerate(names)]
        print("      " + "  ".join(name.ljust(width) for name, width in zip(names, widths)).rstrip())
        for row in rows:
            print("      " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        if table.num_rows > limit:
            print(f"      … {table.num_rows - limit} more")

    def check(self, what: str, got, want) -> None:
        """A checked answer: `want` was computed from the CSV, without the server."""
        self.checks += 1
        if same(got, want):
            print(f"   ✓ {what}")
            return
        self.wrong.append(what)
        print(f"   ✗ {what}\n     got:  {shorten(got)}\n     want: {shorten(want)}")
        sys.stdout.flush()

    def end(self) -> int:
        """The exit code."""
        self._end_section()
        seconds = time.monotonic() - self.started
        print(f"\n{self.checks} answers checked, {len(self.wrong)} wrong, {seconds:.1f} s")
        for what in self.wrong:
            print(f"   ✗ {what}")
        return 1 if self.wrong else 0


def tuples(table: pa.Table) -> list[tuple]:
    return list(zip(*(column.to_pylist() for column in table.columns)))


def same(got, want) -> bool:
    """Equal; floats to nine digits, since the order of additions is nobody's promise."""
    if isinstance(want, pa.Table):
        return got.column_names == want.column_names and got.cast(want.schema).equals(want)
    if isinstance(want, float) and isinstance(got, (int, float)):
        return math.isclose(got, want, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(want, (list, tuple)) and isinstance(got, (list, tuple)):
        return len(got) == len(want) and all(same(a, b) for a, b in zip(got, want))
    return got == want


def show(value) -> str:
    return f"{value:.2f}" if isinstance(value, float) else "·" if value is None else str(value)


def shorten(value) -> str:
    if isinstance(value, pa.Table):
        return f"{value.num_rows} rows of {', '.join(f'{f.name} {f.type}' for f in value.schema)}"
    text = repr(value)
    return text if len(text) <= 400 else text[:400] + " …"
