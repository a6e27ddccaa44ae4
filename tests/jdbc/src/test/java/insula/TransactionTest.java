package insula;

import static insula.Server.admin;
import static insula.Server.change;
import static insula.Server.closeSession;
import static insula.Server.namespace;
import static insula.Server.rows;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The driver's own commit and rollback send nothing, so a transaction is begun and ended in SQL, within the session. */
class TransactionTest {
    private String items;

    @BeforeEach
    void table() throws SQLException {
        items = namespace() + ".items";
        try (Connection connection = admin()) {
            change(connection, "CREATE TABLE " + items + " (id BIGINT PRIMARY KEY, name VARCHAR)");
        }
    }

    private String count(Connection connection) throws SQLException {
        return rows(connection, "SELECT count(*) FROM " + items).get(0);
    }

    @Test
    void commitShowsAllAtOnce() throws SQLException {
        try (Connection one = admin(); Connection other = admin()) {
            change(one, "BEGIN");
            assertEquals(1, change(one, "INSERT INTO " + items + " VALUES (1, 'a')"));
            assertEquals(1, change(one, "INSERT INTO " + items + " VALUES (2, 'b')"));
            assertEquals("2", count(one), "a transaction sees its own rows");
            assertEquals("0", count(other), "and nobody else does");
            change(one, "COMMIT");
            assertEquals("2", count(other));
        }
    }

    @Test
    void rollbackLeavesNothing() throws SQLException {
        try (Connection one = admin()) {
            change(one, "BEGIN");
            change(one, "INSERT INTO " + items + " VALUES (1, 'a')");
            change(one, "ROLLBACK");
            assertEquals("0", count(one));
        }
    }

    @Test
    void aSavepointIsReturnedTo() throws SQLException {
        try (Connection one = admin()) {
            change(one, "BEGIN");
            change(one, "INSERT INTO " + items + " VALUES (1, 'a')");
            change(one, "SAVEPOINT here");
            change(one, "INSERT INTO " + items + " VALUES (2, 'b')");
            change(one, "ROLLBACK TO SAVEPOINT here");
            change(one, "COMMIT");
            assertEquals(List.of("1|a"), rows(one, "SELECT * FROM " + items));
        }
    }

    @Test
    void closingTheConnectionRollsBack() throws SQLException {
        Connection one = admin("&catalog=insula");
        change(one, "BEGIN");
        change(one, "INSERT INTO " + items + " VALUES (1, 'a')");
        closeSession(one);
        try (Connection other = admin()) {
            assertEquals("0", count(other));
        }
    }

    @Test
    void theSecondOfTwoConflictingTransactionsIsAborted() {
        assertTimeoutPreemptively(Duration.ofSeconds(60), () -> {
            try (Connection one = admin(); Connection other = admin()) {
                change(one, "INSERT INTO " + items + " VALUES (1, 'a')");
                change(one, "BEGIN");
                change(other, "BEGIN");
                change(one, "UPDATE " + items + " SET name = 'one' WHERE id = 1");
                SQLException aborted = assertThrows(SQLException.class, () -> {
                    change(other, "UPDATE " + items + " SET name = 'other' WHERE id = 1");
                    change(one, "COMMIT");
                    change(other, "COMMIT");
                });
                assertTrue(aborted.getMessage().contains("conflict"), aborted.toString());
                assertEquals(List.of("1|one"), rows(one, "SELECT * FROM " + items));
            }
        });
    }
}
