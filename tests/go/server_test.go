// The ADBC driver for Go, and database/sql over it, against one real server.
package tests

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

const password = "correct horse battery staple"

var (
	url        string
	namespaces atomic.Int32
)

func TestMain(m *testing.M) {
	directory, err := os.MkdirTemp("", "insula-go")
	if err != nil {
		panic(err)
	}
	server, err := start(directory)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = server.Process.Kill()
	_ = server.Wait()
	_ = os.RemoveAll(directory)
	os.Exit(code)
}

func start(directory string) (*exec.Cmd, error) {
	data := filepath.Join(directory, "data")
	server := exec.Command(os.Getenv("BUILD_BIN"), "serve", "--listen", "127.0.0.1:0", "--data-dir", data)
	server.Env = append(os.Environ(), "INSULA_ADMIN_PASSWORD="+password)
	log, err := os.Create(filepath.Join(directory, "log"))
	if err != nil {
		return nil, err
	}
	server.Stderr = log
	out, err := server.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := server.Start(); err != nil {
		return nil, fmt.Errorf("the server of BUILD_BIN does not start: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	address, ready := strings.CutPrefix(strings.TrimSpace(line), "insula listening on ")
	if err != nil || !ready {
		said, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("the server did not get ready: %s", said)
	}
	url = address
	return server, nil
}

// within gives up on what hangs.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func connect(t *testing.T) adbc.Connection {
	t.Helper()
	database, err := flightsql.NewDriver(memory.DefaultAllocator).NewDatabase(map[string]string{
		adbc.OptionKeyURI: url, adbc.OptionKeyUsername: "admin", adbc.OptionKeyPassword: password,
	})
	must(t, err)
	connection, err := database.Open(within(t))
	must(t, err)
	t.Cleanup(func() {
		_ = connection.Close()
		_ = database.Close()
	})
	return connection
}

// namespace makes one of the test's own.
func namespace(t *testing.T, connection adbc.Connection) string {
	t.Helper()
	name := fmt.Sprintf("go%d", namespaces.Add(1))
	update(t, connection, "CREATE NAMESPACE "+name)
	return name
}

func statement(t *testing.T, connection adbc.Connection, sql string) adbc.Statement {
	t.Helper()
	statement, err := connection.NewStatement()
	must(t, err)
	t.Cleanup(func() { _ = statement.Close() })
	must(t, statement.SetSqlQuery(sql))
	return statement
}

func update(t *testing.T, connection adbc.Connection, sql string) int64 {
	t.Helper()
	count, err := statement(t, connection, sql).ExecuteUpdate(within(t))
	must(t, err)
	return count
}

// rows are those of a query, each as its values' texts joined by "|".
func rows(t *testing.T, connection adbc.Connection, sql string) []string {
	t.Helper()
	reader, _, err := statement(t, connection, sql).ExecuteQuery(within(t))
	must(t, err)
	return read(t, reader)
}

func read(t *testing.T, reader array.RecordReader) []string {
	t.Helper()
	defer reader.Release()
	var all []string
	for reader.Next() {
		batch := reader.RecordBatch()
		for i := range int(batch.NumRows()) {
			var row []string
			for _, column := range batch.Columns() {
				row = append(row, column.ValueStr(i))
			}
			all = append(all, strings.Join(row, "|"))
		}
	}
	must(t, reader.Err())
	return all
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	same(t, strings.Join(got, "\n"), strings.Join(want, "\n"))
}

// code is the ADBC status of an error.
func code(t *testing.T, err error) adbc.Status {
	t.Helper()
	var refused adbc.Error
	if e, ok := err.(adbc.Error); ok {
		refused = e
	} else {
		t.Fatalf("not refused by ADBC: %v", err)
	}
	return refused.Code
}

// numbered is a batch of the ids 0 … n-1 with a text each.
func numbered(n int) arrow.RecordBatch {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	for i := range n {
		builder.Field(0).(*array.Int64Builder).Append(int64(i))
		builder.Field(1).(*array.StringBuilder).Append(fmt.Sprint("name ", i))
	}
	return builder.NewRecordBatch()
}
