package insula;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** One real server for all tests; each test has a namespace of its own. */
final class Server {
    static final String PASSWORD = "correct horse battery staple";
    private static final String READY = "insula listening on grpc://";
    private static final AtomicInteger NAMESPACES = new AtomicInteger();
    private static final Server INSTANCE = start();

    private final String address;

    private Server(String address) {
        this.address = address;
    }

    private static Server start() {
        try {
            Path directory = Files.createTempDirectory("insula-jdbc");
            Path log = directory.resolve("log");
            ProcessBuilder builder = new ProcessBuilder(
                    System.getenv("BUILD_BIN"), "serve", "--listen", "127.0.0.1:0",
                    "--data-dir", directory.resolve("data").toString());
            builder.environment().put("INSULA_ADMIN_PASSWORD", PASSWORD);
            Process process = builder.redirectError(log.toFile()).start();
            Runtime.getRuntime().addShutdownHook(new Thread(() -> end(process, directory)));
            BufferedReader out = process.inputReader(StandardCharsets.UTF_8);
            String line = out.readLine();
            if (line == null || !line.startsWith(READY)) {
                throw new IllegalStateException("the server did not get ready: " + Files.readString(log));
            }
            return new Server(line.substring(READY.length()));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static void end(Process process, Path directory) {
        process.destroyForcibly();
        try {
            process.waitFor(10, TimeUnit.SECONDS);
            try (var files = Files.walk(directory)) {
                files.sorted(Comparator.reverseOrder()).forEach(file -> file.toFile().delete());
            }
        } catch (InterruptedException | IOException e) {
            System.err.println("the server's directory is left behind: " + e);
        }
    }

    static String url(String options) {
        return "jdbc:arrow-flight-sql://" + INSTANCE.address + "/?useEncryption=false" + options;
    }

    static String host() {
        return INSTANCE.address.substring(0, INSTANCE.address.lastIndexOf(':'));
    }

    static int port() {
        return Integer.parseInt(INSTANCE.address.substring(INSTANCE.address.lastIndexOf(':') + 1));
    }

    static Connection admin() throws SQLException {
        return admin("");
    }

    static Connection admin(String options) throws SQLException {
        return DriverManager.getConnection(url(options), "admin", PASSWORD);
    }

    /** The driver closes the session of a `catalog=` and its channel twice, and reports the second failure. */
    static void closeSession(Connection connection) throws SQLException {
        try {
            connection.close();
        } catch (SQLException e) {
            if (!e.getMessage().contains("Channel shutdown invoked")) {
                throw e;
            }
        }
    }

    /** Makes a namespace and returns its name. */
    static String namespace() throws SQLException {
        String name = "jdbc" + NAMESPACES.incrementAndGet();
        try (Connection admin = admin()) {
            change(admin, "CREATE NAMESPACE " + name);
        }
        return name;
    }

    static long change(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            return statement.executeLargeUpdate(sql);
        }
    }

    /** All rows, each as its values' texts joined by "|". */
    static List<String> rows(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
            return rows(rows);
        }
    }

    static List<String> rows(ResultSet rows) throws SQLException {
        List<String> all = new ArrayList<>();
        int width = rows.getMetaData().getColumnCount();
        while (rows.next()) {
            List<String> row = new ArrayList<>();
            for (int i = 1; i <= width; i++) {
                row.add(String.valueOf(rows.getObject(i)));
            }
            all.add(String.join("|", row));
        }
        return all;
    }
}
