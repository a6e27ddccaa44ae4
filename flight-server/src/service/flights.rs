//! ListFlights: the caller's tables, each as the query that reads it.

use arrow::{array::StringArray, compute::kernels::comparison::like};
use arrow_flight::{
    Criteria, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket,
    sql::{CommandStatementQuery, ProstMessageExt},
};
use insula_engine::TableInfo;
use prost::Message;
use tonic::Status;

use super::{Service, query::info};
use crate::{
    encode::{schema_message, wire_schema},
    format::Types,
    identity::Caller,
};

impl Service {
    /// The criteria's expression is a pattern as of LIKE: of `namespace.table`, or without a point of the table's name.
    pub(super) fn flights(&self, caller: &Caller, criteria: &Criteria) -> Result<Vec<FlightInfo>, Status> {
        let pattern = std::str::from_utf8(&criteria.expression)
            .map_err(|_| Status::invalid_argument("the criteria's expression is a LIKE pattern in UTF-8"))?;
        let mut tables = self.engine.tables(&caller.identity);
        if !pattern.is_empty() {
            let whole = pattern.contains('.');
            let named = |table: &TableInfo| match whole {
                true => format!("{}.{}", table.namespace, table.name),
                false => table.name.clone(),
            };
            let names: StringArray = tables.iter().map(|table| Some(named(table))).collect();
            let matching = like(&names, &StringArray::new_scalar(pattern))
                .map_err(|e| Status::invalid_argument(format!("the criteria's expression is no LIKE pattern: {e}")))?;
            let mut matching = matching.iter();
            tables.retain(|_| matching.next().flatten().unwrap_or(false));
        }
        tables.iter().map(flight).collect()
    }
}

/// Descriptor and ticket are the query itself, so that either is answered with the rows as they are then.
fn flight(table: &TableInfo) -> Result<FlightInfo, Status> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let query = format!("SELECT * FROM {}.{}", quoted(&table.namespace), quoted(&table.name));
    let command = CommandStatementQuery { query, transaction_id: None }.as_any().encode_to_vec();
    let ticket = Some(Ticket { ticket: command.clone().into() });
    let schema = wire_schema(&table.schema, Types::default());
    let endpoint = FlightEndpoint { ticket, ..FlightEndpoint::default() };
    Ok(info(FlightDescriptor::new_cmd(command), schema_message(&schema)?, endpoint))
}
