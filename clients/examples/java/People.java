// Insula from Java by JDBC. The driver is one jar, org.apache.arrow:flight-sql-jdbc-driver; this file needs no build:
//
//     INSULA_ADMIN_PASSWORD=secret insula serve &
//     java --add-opens=java.base/java.nio=ALL-UNNAMED -cp flight-sql-jdbc-driver-18.3.0.jar People.java
//
// Arrow reads the memory of direct buffers, and Java 9 and newer allow that by this flag only.

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

public class People {
    public static void main(String[] arguments) throws SQLException {
        String address = System.getenv().getOrDefault("INSULA_URL", "grpc://127.0.0.1:50051").replace("grpc://", "");
        String user = System.getenv().getOrDefault("INSULA_USER", "admin");
        String password = System.getenv().getOrDefault("INSULA_PASSWORD", "secret");
        // Without TLS, useEncryption=false is needed. `schema` is the namespace of names without one.
        String url = "jdbc:arrow-flight-sql://" + address + "/?useEncryption=false&schema=public";
        try (Connection connection = DriverManager.getConnection(url, user, password)) {
            try (Statement statement = connection.createStatement()) {
                statement.executeUpdate("CREATE TABLE IF NOT EXISTS people"
                        + " (id BIGINT PRIMARY KEY, name VARCHAR NOT NULL, age INTEGER)");
            }
            // A batch is one statement for the server: all of its rows, or none.
            try (PreparedStatement write = connection.prepareStatement("REPLACE INTO people VALUES (?, ?, ?)")) {
                add(write, 1, "Ada", 36);
                add(write, 2, "Grace", 85);
                write.executeBatch();
            }
            try (PreparedStatement read = connection.prepareStatement(
                    "SELECT name, age FROM people WHERE age > ? AND id < 3")) {
                read.setInt(1, 40);
                try (ResultSet rows = read.executeQuery()) {
                    while (rows.next()) {
                        System.out.println(rows.getString("name") + " is " + rows.getInt("age"));
                    }
                }
            }
        }
    }

    private static void add(PreparedStatement write, long id, String name, int age) throws SQLException {
        write.setLong(1, id);
        write.setString(2, name);
        write.setInt(3, age);
        write.addBatch();
    }
}
