package insula;

import static insula.Server.admin;
import static insula.Server.rows;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;

/** A result that nobody reads to its end costs nothing further. */
class CancelTest {
    /** A hundred billion rows: it would take hours to read. */
    private static final String ENDLESS = "SELECT a.value + b.value AS n FROM generate_series(1, 1000000) a"
            + " CROSS JOIN generate_series(1, 100000) b";

    @Test
    void cancelEndsTheStreamAndTheConnectionGoesOn() {
        assertTimeoutPreemptively(Duration.ofSeconds(60), () -> {
            try (Connection connection = admin(); Statement statement = connection.createStatement()) {
                ResultSet rows = statement.executeQuery(ENDLESS);
                assertTrue(rows.next());
                statement.cancel();
                assertThrows(SQLException.class, () -> {
                    while (rows.next()) {
                        rows.getLong(1);
                    }
                });
                assertEquals(List.of("1"), rows(connection, "SELECT 1"));
            }
        });
    }

    @Test
    void closingBeforeTheEndIsNoError() {
        assertTimeoutPreemptively(Duration.ofSeconds(60), () -> {
            try (Connection connection = admin()) {
                for (int i = 0; i < 3; i++) {
                    try (Statement statement = connection.createStatement();
                            ResultSet rows = statement.executeQuery(ENDLESS)) {
                        assertTrue(rows.next());
                    }
                }
                assertEquals(List.of("1"), rows(connection, "SELECT 1"));
            }
        });
    }

    @Test
    void maxRowsAndFetchSizeAreTaken() throws SQLException {
        try (Connection connection = admin(); Statement statement = connection.createStatement()) {
            statement.setFetchSize(10);
            try (ResultSet rows = statement.executeQuery("SELECT value FROM generate_series(1, 100000)")) {
                long sum = 0;
                while (rows.next()) {
                    sum += rows.getLong(1);
                }
                assertEquals(5_000_050_000L, sum);
            }
        }
    }
}
