// Insula from Go by ADBC, whose driver is pure Go:
//
//	INSULA_ADMIN_PASSWORD=secret insula serve &
//	go run .
//
// For database/sql there is github.com/apache/arrow-adbc/go/adbc/sqldriver/flightsql over the same driver.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	database, err := flightsql.NewDriver(memory.DefaultAllocator).NewDatabase(map[string]string{
		adbc.OptionKeyURI:      setting("INSULA_URL", "grpc://127.0.0.1:50051"),
		adbc.OptionKeyUsername: setting("INSULA_USER", "admin"),
		adbc.OptionKeyPassword: setting("INSULA_PASSWORD", "secret"),
	})
	if err != nil {
		return err
	}
	defer database.Close()
	connection, err := database.Open(ctx)
	if err != nil {
		return err
	}
	defer connection.Close()

	statement, err := connection.NewStatement()
	if err != nil {
		return err
	}
	defer statement.Close()
	const table = "CREATE TABLE IF NOT EXISTS people (id BIGINT PRIMARY KEY, name VARCHAR NOT NULL, age INTEGER)"
	if err := statement.SetSqlQuery(table); err != nil {
		return err
	}
	if _, err := statement.ExecuteUpdate(ctx); err != nil {
		return err
	}

	// Parameters belong to a prepared statement: prepare first, then bind. Each row of the batch runs it once.
	if err := statement.SetSqlQuery("REPLACE INTO people VALUES (?, ?, ?)"); err != nil {
		return err
	}
	if err := statement.Prepare(ctx); err != nil {
		return err
	}
	people := people()
	defer people.Release()
	if err := statement.Bind(ctx, people); err != nil {
		return err
	}
	written, err := statement.ExecuteUpdate(ctx)
	if err != nil {
		return err
	}
	fmt.Println(written, "rows written")

	if err := statement.SetSqlQuery("SELECT name, age FROM people WHERE age > 40 AND id < 3"); err != nil {
		return err
	}
	rows, _, err := statement.ExecuteQuery(ctx)
	if err != nil {
		return err
	}
	defer rows.Release()
	for rows.Next() {
		batch := rows.RecordBatch()
		names, ages := batch.Column(0).(*array.String), batch.Column(1).(*array.Int32)
		for i := range int(batch.NumRows()) {
			fmt.Println(names.Value(i), "is", ages.Value(i))
		}
	}
	return rows.Err()
}

func people() arrow.RecordBatch {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "name", Type: arrow.BinaryTypes.String},
		{Name: "age", Type: arrow.PrimitiveTypes.Int32},
	}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	builder.Field(0).(*array.Int64Builder).AppendValues([]int64{1, 2}, nil)
	builder.Field(1).(*array.StringBuilder).AppendValues([]string{"Ada", "Grace"}, nil)
	builder.Field(2).(*array.Int32Builder).AppendValues([]int32{36, 85}, nil)
	return builder.NewRecordBatch()
}

func setting(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}
