package tests

import (
	"slices"
	"testing"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

func TestWrongPassword(t *testing.T) {
	database, err := flightsql.NewDriver(memory.DefaultAllocator).NewDatabase(map[string]string{
		adbc.OptionKeyURI: url, adbc.OptionKeyUsername: "admin", adbc.OptionKeyPassword: "no",
	})
	must(t, err)
	defer database.Close()
	_, err = database.Open(within(t))
	same(t, code(t, err), adbc.StatusUnauthenticated)
}

func TestCurrentSchema(t *testing.T) {
	connection := connect(t)
	name := namespace(t, connection)
	options := connection.(adbc.GetSetOptions)
	must(t, options.SetOption(adbc.OptionKeyCurrentDbSchema, name))
	schema, err := options.GetOption(adbc.OptionKeyCurrentDbSchema)
	must(t, err)
	same(t, schema, name)
	update(t, connection, "CREATE TABLE here"+items)
	found, err := connection.GetTableSchema(within(t), nil, &name, "here")
	must(t, err)
	same(t, found.NumFields(), 2)
}

func TestGetObjects(t *testing.T) {
	connection := connect(t)
	name := namespace(t, connection)
	update(t, connection, "CREATE TABLE "+name+".listed"+items)
	pattern := "li%"
	reader, err := connection.GetObjects(within(t), adbc.ObjectDepthColumns, nil, &name, &pattern, nil, nil)
	must(t, err)
	found := read(t, reader)
	same(t, len(found), 1)
	for _, word := range []string{name, "listed", "TABLE", "BIGINT", "VARCHAR"} {
		if !slices.ContainsFunc(found, func(row string) bool { return contains(row, word) }) {
			t.Fatalf("%v does not name %s", found, word)
		}
	}
	types, err := connection.GetTableTypes(within(t))
	must(t, err)
	if !slices.Contains(read(t, types), "TABLE") {
		t.Fatal("no type TABLE")
	}
	info, err := connection.GetInfo(within(t), []adbc.InfoCode{adbc.InfoVendorName})
	must(t, err)
	if said := read(t, info); !contains(said[0], "Insula") {
		t.Fatal(said)
	}
}

func TestIngest(t *testing.T) {
	connection := connect(t)
	name := namespace(t, connection)
	batch := numbered(10_000)
	defer batch.Release()
	ingest := func(mode string) (int64, error) {
		statement, err := connection.NewStatement()
		must(t, err)
		defer statement.Close()
		must(t, statement.SetOption(adbc.OptionKeyIngestTargetTable, "loaded"))
		must(t, statement.SetOption(adbc.OptionValueIngestTargetDBSchema, name))
		must(t, statement.SetOption(adbc.OptionKeyIngestMode, mode))
		reader, err := array.NewRecordReader(batch.Schema(), []arrow.RecordBatch{batch})
		must(t, err)
		must(t, statement.BindStream(within(t), reader))
		return statement.ExecuteUpdate(within(t))
	}
	for _, mode := range []string{adbc.OptionValueIngestModeCreate, adbc.OptionValueIngestModeAppend,
		adbc.OptionValueIngestModeReplace, adbc.OptionValueIngestModeCreateAppend} {
		count, err := ingest(mode)
		must(t, err)
		same(t, count, 10_000)
	}
	expect(t, rows(t, connection, "SELECT count(*), count(DISTINCT id) FROM "+name+".loaded"), "20000|10000")
	_, err := ingest(adbc.OptionValueIngestModeCreate)
	same(t, code(t, err), adbc.StatusAlreadyExists)
}

func TestTransactions(t *testing.T) {
	one, other := connect(t), connect(t)
	table := namespace(t, one) + ".kept"
	update(t, one, "CREATE TABLE "+table+items)
	must(t, one.(adbc.PostInitOptions).SetOption(adbc.OptionKeyAutoCommit, adbc.OptionValueDisabled))
	count := "SELECT count(*) FROM " + table
	for i, end := range []func() error{
		func() error { return one.Rollback(within(t)) },
		func() error { return one.Commit(within(t)) },
	} {
		update(t, one, "INSERT INTO "+table+" VALUES (1, 'a'), (2, 'b')")
		expect(t, rows(t, one, count), "2")
		expect(t, rows(t, other, count), "0")
		must(t, end())
		expect(t, rows(t, other, count), []string{"0", "2"}[i])
	}
}
