package insula;

import static insula.Server.admin;
import static insula.Server.change;
import static insula.Server.namespace;
import static insula.Server.rows;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A refusal is an SQLException that says what was wrong, and the connection lives on. */
class ErrorsTest {
    @ParameterizedTest
    @CsvSource(delimiter = '|', value = {
        "SELEKT 1 | SELEKT",
        "SELECT no_such_column FROM generate_series(1, 2) | no_such_column",
        "SELECT * FROM no_such_table | no_such_table",
        "SELECT 1 / (value - 1) FROM generate_series(1, 2) | zero",
        "SELECT CAST('word' AS INTEGER) | word",
        "SELECT 9223372036854775807 + value FROM generate_series(1, 2) | verflow",
    })
    void messagesNameTheThing(String sql, String word) throws SQLException {
        try (Connection connection = admin()) {
            SQLException refused = assertThrows(SQLException.class, () -> rows(connection, sql));
            assertTrue(refused.getMessage().contains(word), refused.getMessage());
            assertFalse(refused.getMessage().contains("panicked"), refused.getMessage());
            assertEquals(List.of("1"), rows(connection, "SELECT 1"));
        }
    }

    @Test
    void aRefusedChangeChangesNothing() throws SQLException {
        String table = namespace() + ".items";
        try (Connection connection = admin()) {
            change(connection, "CREATE TABLE " + table + " (id BIGINT PRIMARY KEY, name VARCHAR NOT NULL)");
            change(connection, "INSERT INTO " + table + " VALUES (1, 'a')");
            for (String[] refused : new String[][] {
                {"INSERT INTO " + table + " VALUES (2, 'b'), (1, 'again')", "1"},
                {"INSERT INTO " + table + " VALUES (3, NULL)", "name"},
                {"CREATE TABLE " + table + " (id BIGINT)", table},
            }) {
                SQLException error = assertThrows(SQLException.class, () -> change(connection, refused[0]));
                assertTrue(error.getMessage().contains(refused[1]), error.getMessage());
            }
            assertEquals(List.of("1|a"), rows(connection, "SELECT * FROM " + table));
        }
    }
}
