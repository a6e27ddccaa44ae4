package insula;

import static insula.Server.admin;
import static insula.Server.change;
import static insula.Server.namespace;
import static insula.Server.rows;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Parameters, batches, and that each statement runs once. */
class PreparedTest {
    private Connection connection;
    private String items;

    @BeforeEach
    void table() throws SQLException {
        items = namespace() + ".items";
        connection = admin();
        change(connection, "CREATE TABLE " + items + " (id BIGINT PRIMARY KEY, name VARCHAR, size INTEGER)");
    }

    @AfterEach
    void close() throws SQLException {
        connection.close();
    }

    @Test
    void aBatchOfAThousandRows() throws SQLException {
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO " + items + " VALUES (?, ?, ?)")) {
            for (int i = 0; i < 1_000; i++) {
                insert.setLong(1, i);
                insert.setString(2, "name " + i);
                insert.setInt(3, i % 10);
                insert.addBatch();
            }
            insert.executeBatch();
        }
        assertEquals(
                List.of("1000|499500|4500|1000"),
                rows(connection, "SELECT count(*), sum(id), sum(size), count(DISTINCT name) FROM " + items));
        // All of it or nothing: the second row of this batch is there already.
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO " + items + " (id) VALUES (?)")) {
            for (long id : new long[] {5_000, 7}) {
                insert.setLong(1, id);
                insert.addBatch();
            }
            SQLException refused = assertThrows(SQLException.class, insert::executeBatch);
            assertTrue(refused instanceof BatchUpdateException || refused.getMessage() != null);
        }
        assertEquals(List.of("1000"), rows(connection, "SELECT count(*) FROM " + items));
    }

    @Test
    void aStatementIsUsedAgain() throws SQLException {
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO " + items + " VALUES (?, ?, ?)")) {
            for (int i = 0; i < 5; i++) {
                insert.setLong(1, i);
                insert.setString(2, i % 2 == 0 ? "even" : null);
                insert.setNull(3, Types.INTEGER);
                assertEquals(1, insert.executeUpdate());
            }
        }
        try (PreparedStatement select = connection.prepareStatement("SELECT id FROM " + items + " WHERE name = ?")) {
            for (String name : List.of("even", "odd", "even")) {
                select.setString(1, name);
                try (ResultSet found = select.executeQuery()) {
                    assertEquals(name.equals("even") ? List.of("0", "2", "4") : List.of(), rows(found));
                }
            }
        }
    }

    @Test
    void twelveParametersKeepTheirOrder() throws SQLException {
        String columns = IntStream.rangeClosed(1, 12).mapToObj(i -> "c" + i + " INTEGER").collect(Collectors.joining(", "));
        change(connection, "CREATE TABLE " + items + "12 (" + columns + ")");
        String marks = "?" + ", ?".repeat(11);
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO " + items + "12 VALUES (" + marks + ")")) {
            assertEquals(12, insert.getParameterMetaData().getParameterCount());
            for (int i = 1; i <= 12; i++) {
                insert.setInt(i, 100 + i);
            }
            assertEquals(1, insert.executeUpdate());
        }
        assertEquals(
                List.of("101|102|103|104|105|106|107|108|109|110|111|112"),
                rows(connection, "SELECT * FROM " + items + "12"));
        String where = IntStream.rangeClosed(1, 12).mapToObj(i -> "c" + i + " = ?").collect(Collectors.joining(" AND "));
        try (PreparedStatement select = connection.prepareStatement("SELECT c12 FROM " + items + "12 WHERE " + where)) {
            for (int i = 1; i <= 12; i++) {
                select.setInt(i, 100 + i);
            }
            try (ResultSet found = select.executeQuery()) {
                assertEquals(List.of("112"), rows(found));
            }
        }
    }

    @Test
    void aCastSaysTheTypeOfItsParameter() throws SQLException {
        try (PreparedStatement select = connection.prepareStatement("SELECT CAST(? AS INTEGER) + 1, ?::BIGINT")) {
            select.setInt(1, 41);
            select.setLong(2, Long.MAX_VALUE);
            try (ResultSet row = select.executeQuery()) {
                assertEquals(List.of("42|" + Long.MAX_VALUE), rows(row));
            }
        }
    }

    @Test
    void nullIsAParameterLikeAnother() throws SQLException {
        change(connection, "INSERT INTO " + items + " VALUES (1, NULL, 3)");
        String where = " WHERE id = ? AND name IS NOT DISTINCT FROM ?";
        try (PreparedStatement update = connection.prepareStatement("UPDATE " + items + " SET size = ?" + where)) {
            update.setNull(1, Types.INTEGER);
            update.setLong(2, 1);
            update.setNull(3, Types.VARCHAR);
            assertEquals(1, update.executeUpdate());
        }
        assertEquals(List.of("1|null|null"), rows(connection, "SELECT * FROM " + items));
    }

    @Test
    void resultSetMetaDataIsKnownBeforeTheExecution() throws SQLException {
        try (PreparedStatement select = connection.prepareStatement("SELECT id, name AS label FROM " + items)) {
            assertEquals(2, select.getMetaData().getColumnCount());
            assertEquals("label", select.getMetaData().getColumnLabel(2));
            assertEquals(Types.BIGINT, select.getMetaData().getColumnType(1));
        }
    }

    /** `execute`, of which the driver must tell an update by itself, and `executeUpdate`: each runs its statement once. */
    @Test
    void eachStatementRunsOnce() throws SQLException {
        String copy = items + "_copy";
        try (Statement statement = connection.createStatement()) {
            assertFalse(statement.execute("INSERT INTO " + items + " VALUES (1, 'a', 1), (2, 'b', 2)"));
            assertEquals(2, statement.getUpdateCount());
            // A statement that ran twice would meet its own rows, or add twice.
            assertFalse(statement.execute("UPDATE " + items + " SET size = size + 10"));
            assertEquals(2, statement.getUpdateCount());
            assertEquals(1, statement.executeUpdate("UPDATE " + items + " SET size = size + 100 WHERE id = 2"));
            assertFalse(statement.execute("CREATE TABLE " + copy + " (id BIGINT PRIMARY KEY)"));
            assertFalse(statement.execute("INSERT INTO " + copy + " SELECT id FROM " + items));
            assertEquals(2, statement.getUpdateCount());
            assertFalse(statement.execute("DELETE FROM " + copy + " WHERE id = 1"));
            assertEquals(1, statement.getUpdateCount());
            assertTrue(statement.execute("SELECT 1"));
        }
        assertEquals(List.of("1|a|11", "2|b|112"), rows(connection, "SELECT * FROM " + items + " ORDER BY id"));
        assertEquals(
                List.of("1|1|1"),
                rows(connection, "SELECT count(*), count(DISTINCT _seq), count(*) FILTER (WHERE NOT _deleted) FROM "
                        + copy + " WHERE NOT _deleted"));
        assertEquals(
                List.of("1"),
                rows(connection, "SELECT count(*) FROM " + copy + " WHERE _deleted"));
        try (Statement statement = connection.createStatement();
                ResultSet history = statement.executeQuery("DESCRIBE TABLE " + copy + " HISTORY")) {
            assertTrue(history.next());
            assertFalse(history.next(), "the table was made once");
        }
    }
}
