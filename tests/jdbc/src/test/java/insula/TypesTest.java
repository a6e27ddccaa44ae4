package insula;

import static insula.Server.admin;
import static insula.Server.change;
import static insula.Server.namespace;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.Date;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Time;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalTime;
import java.util.Calendar;
import java.util.TimeZone;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/** A value of each type goes in as a parameter and comes out as it was, and so does NULL; fresh and flushed. */
class TypesTest {
    private static final Calendar UTC = Calendar.getInstance(TimeZone.getTimeZone("UTC"));
    private static Connection connection;
    private static String namespace;

    /** `sent`: what is set; `read`: how it is asked for. Both speak of the same value. */
    record Case(String name, int jdbcType, Set set, Get get, Object value) {
        @Override
        public String toString() {
            return name;
        }

        String table() {
            return namespace + ".\"t " + name + "\"";
        }
    }

    interface Set {
        void on(PreparedStatement statement, int parameter) throws SQLException;
    }

    interface Get {
        Object from(ResultSet row, int column) throws SQLException;
    }

    /** Moments are of milliseconds: that is what the driver binds, into a column of whatever unit. */
    static Stream<Case> types() {
        Timestamp moment = Timestamp.from(Instant.parse("2024-02-29T12:30:59.123Z"));
        byte[] bytes = {0, 1, (byte) 0xff};
        return Stream.of(
                new Case("BOOLEAN", Types.BOOLEAN, (s, i) -> s.setBoolean(i, true), ResultSet::getBoolean, true),
                new Case("TINYINT", Types.TINYINT, (s, i) -> s.setByte(i, (byte) -7), ResultSet::getByte, (byte) -7),
                new Case("SMALLINT", Types.SMALLINT, (s, i) -> s.setShort(i, (short) -700), ResultSet::getShort,
                        (short) -700),
                new Case("INTEGER", Types.INTEGER, (s, i) -> s.setInt(i, Integer.MIN_VALUE), ResultSet::getInt,
                        Integer.MIN_VALUE),
                new Case("BIGINT", Types.BIGINT, (s, i) -> s.setLong(i, Long.MAX_VALUE), ResultSet::getLong,
                        Long.MAX_VALUE),
                new Case("REAL", Types.FLOAT, (s, i) -> s.setFloat(i, 1.5f), ResultSet::getFloat, 1.5f),
                new Case("DOUBLE", Types.DOUBLE, (s, i) -> s.setDouble(i, 1e300), ResultSet::getDouble, 1e300),
                new Case("DECIMAL(20, 4)", Types.DECIMAL, (s, i) -> s.setBigDecimal(i, new BigDecimal("-12345.6789")),
                        ResultSet::getBigDecimal, new BigDecimal("-12345.6789")),
                new Case("VARCHAR", Types.VARCHAR, (s, i) -> s.setString(i, "ß🦊 'quoted'"), ResultSet::getString,
                        "ß🦊 'quoted'"),
                new Case("VARBINARY", Types.VARBINARY, (s, i) -> s.setBytes(i, bytes), ResultSet::getBytes, bytes),
                new Case("DATE", Types.DATE, (s, i) -> s.setDate(i, Date.valueOf("2024-02-29"), UTC),
                        (r, i) -> r.getDate(i, UTC).toLocalDate(), LocalDate.of(2024, 2, 29)),
                new Case("TIME(3)", Types.TIME, (s, i) -> s.setTime(i, Time.valueOf("12:30:59"), UTC),
                        (r, i) -> r.getTime(i, UTC).toLocalTime(), LocalTime.of(12, 30, 59)),
                new Case("TIMESTAMP(3)", Types.TIMESTAMP, (s, i) -> s.setTimestamp(i, moment, UTC),
                        (r, i) -> r.getTimestamp(i, UTC).toInstant(), moment.toInstant()),
                new Case("TIMESTAMP(3) WITH TIME ZONE", Types.TIMESTAMP_WITH_TIMEZONE,
                        (s, i) -> s.setTimestamp(i, moment, UTC),
                        (r, i) -> r.getTimestamp(i, UTC).toInstant(), moment.toInstant()));
    }

    @BeforeAll
    static void tables() throws SQLException {
        namespace = namespace();
        connection = admin();
    }

    @AfterAll
    static void close() throws SQLException {
        connection.close();
    }

    @ParameterizedTest
    @MethodSource("types")
    void roundTrip(Case type) throws SQLException {
        change(connection, "CREATE TABLE " + type.table() + " (id INTEGER PRIMARY KEY, v " + type.name + ")");
        String sql = "INSERT INTO " + type.table() + " VALUES (?, ?)";
        try (PreparedStatement insert = connection.prepareStatement(sql)) {
            insert.setInt(1, 1);
            type.set.on(insert, 2);
            assertEquals(1, insert.executeUpdate());
            insert.setInt(1, 2);
            insert.setNull(2, type.jdbcType);
            assertEquals(1, insert.executeUpdate());
        }
        check(type);
        change(connection, "FLUSH TABLE " + type.table());
        check(type);
    }

    private static void check(Case type) throws SQLException {
        String sql = "SELECT v FROM " + type.table() + " ORDER BY id";
        try (PreparedStatement select = connection.prepareStatement(sql); ResultSet rows = select.executeQuery()) {
            assertEquals(type.jdbcType, rows.getMetaData().getColumnType(1));
            assertTrue(rows.next());
            Object value = type.get.from(rows, 1);
            if (value instanceof byte[] bytes) {
                assertArrayEquals((byte[]) type.value, bytes);
            } else {
                assertEquals(type.value, value);
            }
            assertFalse(rows.wasNull());
            assertTrue(rows.next());
            assertNull(rows.getString(1));
            assertTrue(rows.wasNull());
            assertFalse(rows.next());
        }
    }

    /** What the driver cannot bind as it is meant is read all the same. */
    @ParameterizedTest
    @CsvSource(delimiter = ';', value = {
        "CAST('10000000000000000000000000000000000000000.25' AS DECIMAL(50, 2)); 10000000000000000000000000000000000000000.25",
        "TIMESTAMP '2024-02-29 12:30:59.123456'; 2024-02-29 12:30:59.123456",
        "TIMESTAMP '2024-02-29 12:30:59.123456789'; 2024-02-29 12:30:59.123456789",
        "TIMESTAMP '9999-12-31 23:59:59'; 9999-12-31 23:59:59.0",
        "CAST('12:30:59' AS TIME); 12:30:59",
        "[1, 2, NULL]; [1,2,null]",
        "INTERVAL '1' MONTH; P1M PT0S",
        "CAST(200 AS SMALLINT UNSIGNED); 200",
    })
    void read(String expression, String text) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery("SELECT " + expression)) {
            assertTrue(row.next());
            assertEquals(text, String.valueOf(
                    expression.startsWith("TIMESTAMP") ? row.getTimestamp(1) : row.getObject(1)));
        }
    }

    /** `getObject` and `getString` of a moment with a time zone are not there in the driver; `getTimestamp` is. */
    @Test
    void aMomentWithTimeZone() throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery("SELECT TIMESTAMP WITH TIME ZONE '2024-02-29 12:30:59.123456+02:00'")) {
            assertTrue(row.next());
            assertEquals(Instant.parse("2024-02-29T10:30:59.123456Z"), row.getTimestamp(1, UTC).toInstant());
        }
    }
}
