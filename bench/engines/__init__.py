"""The systems that are measured. Each is a context manager with the same few methods:

`version()` and `settings()` of the class; `create(table)`, `drop(table)`; `load(source, tenant)`, durable when it
returns, where that is the system's business at all; `query(sql, tenant)` → rows as tuples.

Servers also have `client(tenant)`: a connection yet to be made, which can be sent to another process. Opened, it has
`change(sql, schema)` and `select(sql, schema)`, prepared statements as functions of a row of parameters."""
