// Insula from Node by a client of plain Flight SQL:
//
//     npm install
//     INSULA_ADMIN_PASSWORD=secret insula serve &
//     node people.js

import { FlightSQLClient } from "@gizmodata/gizmosql-client";

const [host, port] = (process.env.INSULA_URL ?? "grpc://127.0.0.1:50051").replace("grpc://", "").split(":");
const client = new FlightSQLClient({
  host,
  port: Number(port),
  plaintext: true,
  username: process.env.INSULA_USER ?? "admin",
  password: process.env.INSULA_PASSWORD ?? "secret",
});

// The client has no call of its own for changes: a query that changes something runs once and gives an empty result.
await client.execute("CREATE TABLE IF NOT EXISTS people (id BIGINT PRIMARY KEY, name VARCHAR NOT NULL, age INTEGER)");
await client.execute("REPLACE INTO people VALUES (1, 'Ada', 36), (2, 'Grace', 85)");

const people = await client.execute("SELECT name, age FROM people WHERE age > 40 AND id < 3");
for (const { name, age } of people) {
  console.log(`${name} is ${age}`);
}
await client.close();
