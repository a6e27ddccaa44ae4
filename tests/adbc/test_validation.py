"""The suite's four classes, unchanged."""

from adbc_drivers_validation.tests import connection, ingest, query, statement

from .quirks import insula


class TestConnection(connection.TestConnection):
    pass


class TestIngest(ingest.TestIngest):
    pass


class TestQuery(query.TestQuery):
    pass


class TestStatement(statement.TestStatement):
    pass


MODULES = {TestConnection: connection, TestIngest: ingest, TestQuery: query, TestStatement: statement}


def pytest_generate_tests(metafunc):
    MODULES[metafunc.cls].generate_tests([insula()], metafunc)
