package insula;

import static insula.Server.PASSWORD;
import static insula.Server.admin;
import static insula.Server.change;
import static insula.Server.closeSession;
import static insula.Server.host;
import static insula.Server.namespace;
import static insula.Server.port;
import static insula.Server.rows;
import static insula.Server.url;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.reflect.Field;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.List;
import java.util.Properties;
import java.util.function.Consumer;
import org.apache.arrow.driver.jdbc.shaded.org.apache.arrow.flight.CallHeaders;
import org.apache.arrow.driver.jdbc.shaded.org.apache.arrow.flight.FlightCallHeaders;
import org.apache.arrow.driver.jdbc.shaded.org.apache.arrow.flight.FlightClient;
import org.apache.arrow.driver.jdbc.shaded.org.apache.arrow.flight.Location;
import org.apache.arrow.driver.jdbc.shaded.org.apache.arrow.flight.grpc.CredentialCallOption;
import org.apache.arrow.driver.jdbc.shaded.org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.driver.jdbc.shaded.org.apache.arrow.memory.RootAllocator;
import org.junit.jupiter.api.Test;

/** Ways to log in, and what the connection's URL sets. */
class ConnectTest {
    @Test
    void userAndPassword() throws SQLException {
        try (Connection connection = admin()) {
            assertEquals(List.of("admin"), rows(connection, "SELECT current_user"));
            assertTrue(connection.isValid(5));
        }
        SQLException refused = assertThrows(
                SQLException.class, () -> DriverManager.getConnection(url(""), "admin", "wrong").close());
        assertTrue(refused.getMessage().toLowerCase().contains("unauthenticated")
                || String.valueOf(refused.getCause()).contains("UNAUTHENTICATED"), refused.toString());
    }

    /** `catalog=` is a session option; the driver makes a header of `schema=`, which a new session begins with. */
    @Test
    void catalogAndSchemaOfTheUrl() throws SQLException {
        String namespace = namespace();
        Connection connection = admin("&catalog=insula&schema=" + namespace);
        assertEquals(List.of(namespace), rows(connection, "SELECT current_schema()"));
        change(connection, "CREATE TABLE here (id BIGINT PRIMARY KEY)");
        assertEquals(1, change(connection, "INSERT INTO here VALUES (7)"));
        assertEquals(List.of("7"), rows(connection, "SELECT id FROM " + namespace + ".here"));
        // What is set later counts from then on, though the header comes with every call.
        change(connection, "SET schema = 'public'");
        assertEquals(List.of("public"), rows(connection, "SELECT current_schema()"));
        closeSession(connection);
    }

    @Test
    void anUnknownCatalogIsRefused() {
        assertThrows(SQLException.class, () -> {
            Connection connection = admin("&catalog=elsewhere");
            rows(connection, "SELECT 1");
        });
    }

    @Test
    void aToken() throws Exception {
        try (Connection connection = DriverManager.getConnection(url("&token=" + sessionToken()))) {
            assertEquals(List.of("admin"), rows(connection, "SELECT current_user"));
        }
        assertThrows(SQLException.class, () -> DriverManager.getConnection(url("&token=nonsense")).close());
    }

    /** What a login with a password gives; the Flight client inside the driver asks for it. */
    @SuppressWarnings("unchecked")
    private static String sessionToken() throws Exception {
        try (BufferAllocator allocator = new RootAllocator();
                FlightClient client = FlightClient.builder(allocator, Location.forGrpcInsecure(host(), port())).build()) {
            CredentialCallOption login = client.authenticateBasicToken("admin", PASSWORD).orElseThrow();
            Field writer = CredentialCallOption.class.getDeclaredField("credentialWriter");
            writer.setAccessible(true);
            FlightCallHeaders headers = new FlightCallHeaders();
            ((Consumer<CallHeaders>) writer.get(login)).accept(headers);
            return headers.get(headers.keys().iterator().next()).substring("Bearer ".length());
        }
    }

    @Test
    void unknownPropertiesAreHeaders() throws SQLException {
        try (Connection connection = admin()) {
            change(connection, "CREATE USER \"jdbc-ann\" PASSWORD 'p'");
        }
        Properties properties = new Properties();
        properties.put("user", "admin");
        properties.put("password", PASSWORD);
        properties.put("x-insula-run-as", "jdbc-ann");
        try (Connection connection = DriverManager.getConnection(url(""), properties)) {
            assertEquals(List.of("jdbc-ann"), rows(connection, "SELECT current_user"));
        }
    }
}
