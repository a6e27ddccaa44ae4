"""A table as every system is told of it, and a source of rows for it in the form that each loads fastest."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as parquet


def sql_type(kind: pa.DataType) -> str:
    """The same words in Insula and PostgreSQL."""
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP(6) WITH TIME ZONE" if kind.tz else "TIMESTAMP(6)"
    names = {
        "int16": "SMALLINT",
        "int32": "INT",
        "int64": "BIGINT",
        "double": "DOUBLE PRECISION",
        "date32[day]": "DATE",
    }
    return "TEXT" if str(kind) in ("string", "string_view") else names[str(kind)]


@dataclass(frozen=True)
class Table:
    name: str
    schema: pa.Schema
    key: tuple[str, ...]

    def columns(self) -> str:
        """The inside of CREATE TABLE, without the key."""
        of = (f"{f.name} {sql_type(f.type)}{'' if f.nullable else ' NOT NULL'}" for f in self.schema)
        return ", ".join(of)

    def insert(self) -> str:
        return f"INSERT INTO {self.name} VALUES ({', '.join(f'${i + 1}' for i in range(len(self.schema)))})"


@dataclass
class Source:
    """Rows that can be streamed again and again. Files made of them lie in `directory` and are made once."""

    table: Table
    rows: int
    batches: Callable[[], Iterator[pa.RecordBatch]]
    directory: Path
    name: str
    _made: dict[str, Path] = field(default_factory=dict)

    def reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self.table.schema, self.batches())

    def arrow_bytes(self) -> int:
        return sum(batch.nbytes for batch in self.batches())

    def parquet(self) -> Path:
        """One file as plain tools would write it: zstd, pyarrow's other defaults."""

        def write(path: Path) -> None:
            with parquet.ParquetWriter(path, self.table.schema, compression="zstd") as writer:
                for batch in self.batches():
                    writer.write_batch(batch, row_group_size=1 << 20)

        return self._file("parquet", write)

    def csv(self) -> Path:
        """Without a header, as COPY … (FORMAT csv) reads it."""

        def write(path: Path) -> None:
            options = csv.WriteOptions(include_header=False)
            with csv.CSVWriter(path, self.table.schema, write_options=options) as writer:
                for batch in self.batches():
                    writer.write_batch(batch)

        return self._file("csv", write)

    def _file(self, kind: str, write: Callable[[Path], None]) -> Path:
        if kind not in self._made:
            path = self.directory / f"{self.name}.{kind}"
            write(path)
            self._made[kind] = path
        return self._made[kind]

    def forget(self) -> None:
        for path in self._made.values():
            path.unlink(missing_ok=True)
        self._made.clear()
