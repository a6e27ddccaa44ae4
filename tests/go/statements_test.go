package tests

import (
	"context"
	"strings"
	"testing"

	"github.com/apache/arrow-adbc/go/adbc"
)

const items = " (id BIGINT PRIMARY KEY, name VARCHAR)"

// A statement that ran twice would meet its own row or add twice; _seq and the table's history count what was done.
func TestEachStatementRunsOnce(t *testing.T) {
	connection := connect(t)
	table := namespace(t, connection) + ".once"
	query := func(sql string) { expect(t, rows(t, connection, sql)) }
	query("CREATE TABLE " + table + items)
	query("INSERT INTO " + table + " VALUES (1, 'a'), (2, 'b')")
	query("UPDATE " + table + " SET name = name || '!'")
	same(t, update(t, connection, "INSERT INTO "+table+" VALUES (3, 'c')"), 1)
	same(t, update(t, connection, "UPDATE "+table+" SET name = name || '?' WHERE id > 1"), 2)
	prepared := statement(t, connection, "UPDATE "+table+" SET name = name || '.' WHERE id = 3")
	must(t, prepared.Prepare(within(t)))
	count, err := prepared.ExecuteUpdate(within(t))
	must(t, err)
	same(t, count, 1)
	same(t, update(t, connection, "DELETE FROM "+table+" WHERE id = 1"), 1)
	expect(t, rows(t, connection, "SELECT * FROM "+table+" ORDER BY id"), "2|b!?", "3|c?.")
	expect(t, rows(t, connection, "SELECT count(*), count(DISTINCT _seq) FROM "+table+" WHERE _deleted OR id > 0"), "3|3")
	same(t, len(rows(t, connection, "DESCRIBE TABLE "+table+" HISTORY")), 1)
}

func TestParametersAreBoundAfterPreparing(t *testing.T) {
	connection := connect(t)
	table := namespace(t, connection) + ".bound"
	update(t, connection, "CREATE TABLE "+table+items)
	insert := statement(t, connection, "INSERT INTO "+table+" VALUES (?, ?)")
	must(t, insert.Prepare(within(t)))
	parameters, err := insert.GetParameterSchema()
	must(t, err)
	same(t, parameters.NumFields(), 2)
	batch := numbered(1_000)
	defer batch.Release()
	must(t, insert.Bind(within(t), batch))
	count, err := insert.ExecuteUpdate(within(t))
	must(t, err)
	same(t, count, 1_000)

	find := statement(t, connection, "SELECT name FROM "+table+" WHERE id = $1 AND name = $2")
	must(t, find.Prepare(within(t)))
	wanted := batch.NewSlice(7, 9)
	defer wanted.Release()
	must(t, find.Bind(within(t), wanted))
	reader, _, err := find.ExecuteQuery(within(t))
	must(t, err)
	expect(t, read(t, reader), "name 7", "name 8")
}

func TestSchemaBeforeTheExecution(t *testing.T) {
	connection := connect(t)
	schema, err := statement(t, connection, "SELECT 1 AS one, 'x' AS letter").(adbc.StatementExecuteSchema).ExecuteSchema(within(t))
	must(t, err)
	same(t, schema.Field(0).Name+","+schema.Field(1).Name, "one,letter")
}

func TestPartitionsAreReadByAnyConnection(t *testing.T) {
	connection := connect(t)
	schema, partitions, _, err := statement(t, connection, "SELECT value AS n FROM generate_series(1, 1000)").ExecutePartitions(within(t))
	must(t, err)
	same(t, schema.Field(0).Name, "n")
	other, total := connect(t), 0
	for _, id := range partitions.PartitionIDs {
		reader, err := other.ReadPartition(within(t), id)
		must(t, err)
		total += len(read(t, reader))
	}
	same(t, total, 1_000)
}

// PollFlightInfo, asked until there are no new partitions.
func TestIncrementalPartitions(t *testing.T) {
	connection := connect(t)
	query := statement(t, connection, "SELECT value FROM generate_series(1, 1000)")
	must(t, query.SetOption(adbc.OptionKeyIncremental, adbc.OptionValueEnabled))
	total := 0
	for {
		_, partitions, _, err := query.ExecutePartitions(within(t))
		must(t, err)
		if len(partitions.PartitionIDs) == 0 {
			break
		}
		for _, id := range partitions.PartitionIDs {
			reader, err := connection.ReadPartition(within(t), id)
			must(t, err)
			total += len(read(t, reader))
		}
	}
	same(t, total, 1_000)
}

func TestCancelEndsAStream(t *testing.T) {
	connection := connect(t)
	ctx, cancel := context.WithCancel(within(t))
	endless := "SELECT a.value + b.value FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 100000) b"
	reader, _, err := statement(t, connection, endless).ExecuteQuery(ctx)
	must(t, err)
	defer reader.Release()
	if !reader.Next() {
		t.Fatal(reader.Err())
	}
	cancel()
	for reader.Next() {
	}
	if reader.Err() == nil {
		t.Fatal("a cancelled stream ended as if it were whole")
	}
	expect(t, rows(t, connection, "SELECT 1"), "1")
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	connection := connect(t)
	for _, refused := range []struct {
		sql, word string
		code      adbc.Status
	}{
		{"SELEKT 1", "SELEKT", adbc.StatusInvalidArgument},
		{"SELECT * FROM no_such_table", "no_such_table", adbc.StatusNotFound},
		{"CREATE NAMESPACE public", "public", adbc.StatusAlreadyExists},
		{"COPY (SELECT 1) TO '/tmp/x'", "outside", adbc.StatusUnauthorized},
	} {
		_, err := statement(t, connection, refused.sql).ExecuteUpdate(within(t))
		same(t, code(t, err), refused.code)
		if !strings.Contains(err.Error(), refused.word) {
			t.Fatalf("%q does not name %q", err, refused.word)
		}
	}
}
