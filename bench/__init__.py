"""The figures of docs/benchmarks.md: Insula beside PostgreSQL with row-level security, DuckDB and plain DataFusion."""
