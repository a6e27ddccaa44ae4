// A client of plain Flight SQL for Node against a real server, by Node's own test runner.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";

import { FlightSQLClient } from "@gizmodata/gizmosql-client";

const PASSWORD = "correct horse battery staple";
const READY = "insula listening on grpc://";
let directory, server, client, namespaces = 0;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), "insula-node"));
  const log = await open(join(directory, "log"), "w");
  const flags = ["serve", "--listen", "127.0.0.1:0", "--data-dir", join(directory, "data")];
  const env = { ...process.env, INSULA_ADMIN_PASSWORD: PASSWORD };
  server = spawn(process.env.BUILD_BIN, flags, { env, stdio: ["ignore", "pipe", log.fd] });
  const first = await Promise.race([
    once(createInterface(server.stdout), "line").then(([line]) => line),
    once(server, "exit").then(() => ""),
  ]);
  assert.ok(first.startsWith(READY), `the server did not get ready: ${await readFile(join(directory, "log"), "utf8")}`);
  server.address = first.slice(READY.length);
  await log.close();
  client = connect("admin", PASSWORD);
});

after(async () => {
  await client?.close();
  server?.kill("SIGKILL");
  await rm(directory, { recursive: true, force: true, maxRetries: 3 });
});

function connect(username, password) {
  const [host, port] = server.address.split(":");
  return new FlightSQLClient({ host, port: Number(port), plaintext: true, username, password });
}

async function namespace() {
  const name = `node${++namespaces}`;
  await client.execute(`CREATE NAMESPACE ${name}`);
  return name;
}

/** Rows as arrays; whole numbers come as BigInt, which JSON does not know. */
async function rows(sql) {
  const table = await client.execute(sql);
  return table.toArray().map((row) => Object.values(row.toJSON()).map((v) => (typeof v === "bigint" ? Number(v) : v)));
}

test("values of each type arrive", async () => {
  const [row] = await rows(
    "SELECT 1, CAST(9007199254740991 AS BIGINT), 1.5::DOUBLE, true, 'ß🦊', NULL, CAST('2024-02-29' AS DATE)," +
      " X'00ff', [1, 2]",
  );
  assert.deepEqual(row.slice(0, 6), [1, 9007199254740991, 1.5, true, "ß🦊", null]);
  assert.equal(new Date(row[6]).toISOString(), "2024-02-29T00:00:00.000Z");
  assert.deepEqual([...row[7]], [0, 255]);
  assert.deepEqual([...row[8]].map(Number), [1, 2]);
});

test("a result of many batches is whole", async () => {
  const table = await client.execute("SELECT value AS n FROM generate_series(1, 100000)");
  assert.equal(table.numRows, 100_000);
  assert.equal(table.getChild("n").get(99_999), 100_000n);
  assert.equal((await client.execute("SELECT 1 AS n WHERE false")).numRows, 0);
});

test("each statement runs once", async () => {
  const table = `${await namespace()}.once`;
  await client.execute(`CREATE TABLE ${table} (id BIGINT PRIMARY KEY, n INTEGER)`);
  await client.execute(`INSERT INTO ${table} VALUES (1, 0), (2, 0)`);
  await client.execute(`UPDATE ${table} SET n = n + 1`);
  await client.execute(`DELETE FROM ${table} WHERE id = 2`);
  assert.deepEqual(await rows(`SELECT * FROM ${table}`), [[1, 1]]);
  // What is deleted is still there with the number of its one deletion; the table was made once.
  assert.deepEqual(await rows(`SELECT count(*), count(DISTINCT _seq) FROM ${table} WHERE _deleted OR id > 0`), [[2, 2]]);
  assert.equal((await rows(`DESCRIBE TABLE ${table} HISTORY`)).length, 1);
});

test("metadata", async () => {
  const name = await namespace();
  await client.execute(`CREATE TABLE ${name}.listed (id BIGINT PRIMARY KEY, name VARCHAR)`);
  assert.deepEqual(await client.getCatalogs(), ["insula"]);
  assert.ok((await client.getSchemas("insula")).some(({ schema }) => schema === name));
  const [listed] = await client.getTables("insula", name, "li%");
  assert.deepEqual([listed.tableName, listed.tableType], ["listed", "TABLE"]);
  assert.ok((await client.getTableTypes()).includes("TABLE"));
  assert.equal((await client.getSqlInfo([0])).get(0), "Insula");
});

test("errors say what is wrong, and the client goes on", async () => {
  await assert.rejects(client.execute("SELECT * FROM no_such_table"), /no_such_table/);
  await assert.rejects(client.execute("SELEKT 1"), /SELEKT/);
  const stranger = connect("admin", "wrong");
  await assert.rejects(stranger.execute("SELECT 1"), /password|credentials|UNAUTHENTICATED/i);
  await stranger.close();
  assert.deepEqual(await rows("SELECT 1"), [[1]]);
});
