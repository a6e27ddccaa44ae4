"""The libraries that people reach ADBC by: pandas, polars, DuckDB, SQLAlchemy."""

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sqlalchemy
from sqlalchemy import orm

PEOPLE = {"id": [1, 2, 3], "name": ["Ada", None, "Grace"], "size": [36, 41, 85]}


def sums(login, table):
    return login.rows(f"SELECT count(*), count(name), sum(size) FROM {table}")


def test_pandas(alice, namespace, items):
    frame = pd.DataFrame(PEOPLE | {"name": ["Ada", "Alan", "Grace"]})
    assert frame.to_sql("items", alice.connection, schema=namespace, if_exists="append", index=False) == 3
    assert sums(alice, items) == [(3, 3, 162)]
    read = pd.read_sql(f"SELECT id, name, size FROM {items} ORDER BY id", alice.connection)
    assert read.to_dict("list") == frame.to_dict("list")
    alice.connection.adbc_current_db_schema = namespace
    assert len(pd.read_sql_table("items", alice.connection)) == 3


def test_pandas_makes_a_table(admin, namespace):
    frame = pd.DataFrame(PEOPLE)
    assert frame.to_sql("made", admin.connection, schema=namespace, if_exists="fail", index=False) == 3
    assert frame.to_sql("made", admin.connection, schema=namespace, if_exists="replace", index=False) == 3
    assert sums(admin, f"{namespace}.made") == [(3, 2, 162)]
    with pytest.raises(ValueError, match="exists"):
        frame.to_sql("made", admin.connection, schema=namespace, if_exists="fail", index=False)


def test_polars(admin, namespace):
    frame = pl.DataFrame(PEOPLE)
    table = f"{namespace}.polars"
    assert frame.write_database(table, admin.connection, engine="adbc", if_table_exists="fail") == 3
    assert frame.write_database(table, admin.connection, engine="adbc", if_table_exists="append") == 3
    assert sums(admin, table) == [(6, 4, 324)]
    assert frame.write_database(table, admin.connection, engine="adbc", if_table_exists="replace") == 3
    read = pl.read_database(f"SELECT id, name, size FROM {table} ORDER BY id", admin.connection)
    assert read.equals(frame)
    batches = list(pl.read_database(f"SELECT id FROM {table}", admin.connection, iter_batches=True, batch_size=2))
    assert sum(batch.height for batch in batches) == 3


def test_duckdb_reads_the_stream(alice, items):
    alice.ingest(items, pa.table(PEOPLE | {"name": ["Ada", "Alan", "Grace"]}))
    with alice.connection.cursor() as cursor:
        people = cursor.execute(f"SELECT * FROM {items}").fetch_record_batch()  # noqa: F841: named in the SQL below
        assert duckdb.sql("SELECT max(size), count(*) FROM people").fetchall() == [(85, 3)]


# The dialect leaves cursors to the garbage collector, which the driver warns of.
LEAVES_CURSORS = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def engine(alice):
    options = {"db_kwargs": {"username": alice.name, "password": alice.password}, "autocommit": True}
    engine = sqlalchemy.create_engine(f"adbc+flightsql://{alice.server.address}?tls=false", connect_args=options)
    yield engine
    engine.dispose()


@LEAVES_CURSORS
def test_sqlalchemy_core(engine, alice, namespace, items):
    table = sqlalchemy.Table("items", sqlalchemy.MetaData(schema=namespace), autoload_with=engine)
    assert [column.name for column in table.columns] == ["id", "name", "size"]
    with engine.connect() as connection:
        connection.execute(table.insert(), [{"id": 1, "name": "Ada", "size": 36}, {"id": 2, "name": "Alan", "size": 41}])
        connection.execute(table.update().where(table.c.id == 2).values(size=table.c.size + 1))
        found = connection.execute(sqlalchemy.select(table.c.name, table.c.size).order_by(table.c.id)).all()
        assert [tuple(row) for row in found] == [("Ada", 36), ("Alan", 42)]
        connection.execute(table.delete().where(table.c.name == "Ada"))
    assert alice.rows(f"SELECT id, size FROM {items}") == [(2, 42)]


@LEAVES_CURSORS
def test_sqlalchemy_inspects(engine, alice, namespace, items):
    inspector = sqlalchemy.inspect(engine)
    assert namespace in inspector.get_schema_names()
    # The dialect lists tables of the type "table", while Flight SQL's and JDBC's word is "TABLE": so by name only.
    assert inspector.has_table("items", schema=namespace) and not inspector.has_table("no_such", schema=namespace)
    types = {column["name"]: str(column["type"]) for column in inspector.get_columns("items", schema=namespace)}
    assert types.keys() == {"id", "name", "size"} and "BIG" in types["id"].upper()


@LEAVES_CURSORS
def test_sqlalchemy_orm(engine, alice, namespace, items):
    class Base(orm.DeclarativeBase):
        pass

    class Item(Base):
        __tablename__, __table_args__ = "items", {"schema": namespace}
        id: orm.Mapped[int] = orm.mapped_column(sqlalchemy.BigInteger, primary_key=True, autoincrement=False)
        name: orm.Mapped[str]
        size: orm.Mapped[int | None]

    with orm.Session(engine) as session:
        session.add_all([Item(id=1, name="Ada", size=36), Item(id=2, name="Alan", size=None)])
        session.commit()
        session.get_one(Item, 1).size = 37
        session.commit()
    assert alice.rows(f"SELECT id, size FROM {items} ORDER BY id") == [(1, 37), (2, None)]
