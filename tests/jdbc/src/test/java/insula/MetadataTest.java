package insula;

import static insula.Server.admin;
import static insula.Server.change;
import static insula.Server.namespace;
import static insula.Server.rows;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Types;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** What a tool asks to draw its tree and to write its statements. */
class MetadataTest {
    private static Connection connection;
    private static DatabaseMetaData metadata;
    private static String namespace;

    @BeforeAll
    static void tables() throws SQLException {
        namespace = namespace();
        connection = admin();
        metadata = connection.getMetaData();
        change(connection, "CREATE TABLE " + namespace + ".keyed (note VARCHAR, b INTEGER, a BIGINT NOT NULL,"
                + " price DECIMAL(10, 2), at TIMESTAMP(6) WITH TIME ZONE, day DATE, raw VARBINARY, yes BOOLEAN,"
                + " ratio DOUBLE, PRIMARY KEY (a, b))");
        change(connection, "CREATE SHARED TABLE " + namespace + ".plain (x REAL)");
    }

    @AfterAll
    static void close() throws SQLException {
        connection.close();
    }

    /** The values of some columns of each row, joined by "|". */
    private static List<String> picked(ResultSet rows, String... columns) throws SQLException {
        try (rows) {
            List<String> all = new ArrayList<>();
            while (rows.next()) {
                List<String> row = new ArrayList<>();
                for (String column : columns) {
                    row.add(String.valueOf(rows.getObject(column)));
                }
                all.add(String.join("|", row));
            }
            return all;
        }
    }

    @Test
    void catalogsAndSchemas() throws SQLException {
        assertEquals(List.of("insula"), picked(metadata.getCatalogs(), "TABLE_CAT"));
        List<String> schemas = picked(metadata.getSchemas(), "TABLE_CATALOG", "TABLE_SCHEM");
        assertTrue(schemas.containsAll(List.of("insula|public", "insula|" + namespace)), schemas.toString());
        assertEquals(List.of(namespace), picked(metadata.getSchemas("insula", namespace), "TABLE_SCHEM"));
        assertEquals(List.of(), picked(metadata.getSchemas("elsewhere", null), "TABLE_SCHEM"));
    }

    @Test
    void tablesByPatternAndType() throws SQLException {
        assertTrue(picked(metadata.getTableTypes(), "TABLE_TYPE").contains("TABLE"));
        String[] columns = {"TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE"};
        assertEquals(
                List.of("insula|" + namespace + "|keyed|TABLE", "insula|" + namespace + "|plain|TABLE"),
                picked(metadata.getTables(null, namespace, "%", null), columns));
        assertEquals(
                List.of("insula|" + namespace + "|keyed|TABLE"),
                picked(metadata.getTables("insula", namespace, "k_y%", new String[] {"TABLE"}), columns));
        assertEquals(
                List.of(), picked(metadata.getTables("insula", namespace, "%", new String[] {"VIEW"}), columns));
    }

    @Test
    void columns() throws SQLException {
        List<String> found = picked(
                metadata.getColumns("insula", namespace, "keyed", "%"),
                "COLUMN_NAME", "DATA_TYPE", "TYPE_NAME", "NULLABLE", "ORDINAL_POSITION", "IS_NULLABLE");
        assertEquals(
                List.of(
                        "note|" + Types.VARCHAR + "|VARCHAR|1|1|YES",
                        "b|" + Types.INTEGER + "|INTEGER|0|2|NO",
                        "a|" + Types.BIGINT + "|BIGINT|0|3|NO",
                        "price|" + Types.DECIMAL + "|DECIMAL|1|4|YES",
                        "at|" + Types.TIMESTAMP_WITH_TIMEZONE + "|TIMESTAMP WITH TIME ZONE|1|5|YES",
                        "day|" + Types.DATE + "|DATE|1|6|YES",
                        "raw|" + Types.VARBINARY + "|VARBINARY|1|7|YES",
                        "yes|" + Types.BOOLEAN + "|BOOLEAN|1|8|YES",
                        "ratio|" + Types.DOUBLE + "|DOUBLE|1|9|YES"),
                found);
        assertEquals(
                List.of("price|10|2"),
                picked(metadata.getColumns(null, namespace, "keyed", "pri%"),
                        "COLUMN_NAME", "COLUMN_SIZE", "DECIMAL_DIGITS"));
    }

    @Test
    void primaryKeys() throws SQLException {
        String[] columns = {"TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME", "COLUMN_NAME", "KEY_SEQ"};
        assertEquals(
                List.of("insula|" + namespace + "|keyed|a|1", "insula|" + namespace + "|keyed|b|2"),
                picked(metadata.getPrimaryKeys("insula", namespace, "keyed"), columns));
        assertEquals(List.of(), picked(metadata.getPrimaryKeys(null, namespace, "plain"), columns));
    }

    /** Of a result without rows the driver forgets the columns, so that only the rows can be looked at. */
    @Test
    void foreignKeysAreNone() throws SQLException {
        for (ResultSet keys : List.of(
                metadata.getExportedKeys(null, namespace, "keyed"),
                metadata.getImportedKeys(null, namespace, "keyed"),
                metadata.getCrossReference(null, namespace, "keyed", null, namespace, "plain"))) {
            assertEquals(List.of(), rows(keys));
            keys.close();
        }
    }

    /** The driver has no getTypeInfo of its own and asks no server; when it has one, this shows it. */
    @Test
    void typeInfoIsNotAskedFor() throws SQLException {
        assertEquals(List.of(), rows(metadata.getTypeInfo()));
    }

    @Test
    void whatTheServerIsAndCan() throws SQLException {
        assertEquals("Insula", metadata.getDatabaseProductName());
        assertFalse(metadata.getDatabaseProductVersion().isBlank());
        assertEquals("\"", metadata.getIdentifierQuoteString());
        assertTrue(metadata.getSQLKeywords().contains("FLUSH"), metadata.getSQLKeywords());
        assertFalse(metadata.getNumericFunctions().isBlank());
        assertFalse(metadata.getStringFunctions().isBlank());
        assertFalse(metadata.getTimeDateFunctions().isBlank());
        assertFalse(metadata.getSystemFunctions().isBlank());
        assertFalse(metadata.isReadOnly());
        assertTrue(metadata.supportsGroupBy());
        assertTrue(metadata.supportsOuterJoins());
        assertTrue(metadata.supportsUnionAll());
        assertTrue(metadata.supportsCorrelatedSubqueries());
        // Which types convert to which, the driver is told but does not find again: it denies every pair.
        assertTrue(metadata.supportsConvert());
        assertTrue(metadata.getMaxColumnNameLength() >= 0);
        assertTrue(metadata.getMaxStatementLength() >= 0);
    }
}
