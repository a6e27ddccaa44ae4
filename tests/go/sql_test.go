package tests

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	_ "github.com/apache/arrow-adbc/go/adbc/sqldriver/flightsql"
)

func contains(text, word string) bool {
	return strings.Contains(text, word)
}

// Go's own database interface.
func TestDatabaseSQL(t *testing.T) {
	database, err := sql.Open("flightsql", fmt.Sprintf("uri=%s; username=admin; password=%s", url, password))
	must(t, err)
	defer database.Close()
	must(t, database.PingContext(within(t)))
	table := namespace(t, connect(t)) + ".things"
	_, err = database.ExecContext(within(t), "CREATE TABLE "+table+
		" (id BIGINT PRIMARY KEY, name VARCHAR, ratio DOUBLE, yes BOOLEAN, at TIMESTAMP WITH TIME ZONE)")
	must(t, err)
	// A moment is written in the text: the driver cannot bind one here (it checks for its own type, and refuses that too).
	result, err := database.ExecContext(within(t), "INSERT INTO "+table+
		" VALUES (?, ?, ?, ?, TIMESTAMP WITH TIME ZONE '2024-02-29 12:30:59')", int64(1), "one", 1.5, true)
	must(t, err)
	count, err := result.RowsAffected()
	must(t, err)
	same(t, count, 1)

	var name string
	var ratio float64
	var yes bool
	var at time.Time
	// Parameters belong to a prepared statement, and the driver closes that with the rows of its first query.
	find := func(id int64, values ...any) error {
		statement, err := database.PrepareContext(within(t), "SELECT name, ratio, yes, at FROM "+table+" WHERE id = ?")
		must(t, err)
		defer statement.Close()
		return statement.QueryRowContext(within(t), id).Scan(values...)
	}
	must(t, find(1, &name, &ratio, &yes, &at))
	moment := time.Date(2024, 2, 29, 12, 30, 59, 0, time.UTC)
	same(t, fmt.Sprintln(name, ratio, yes, at.Equal(moment)), "one 1.5 true true\n")
	same(t, find(2, &name, &ratio, &yes, &at), sql.ErrNoRows)
}
