//! What becomes of a ticket that was issued: CancelFlightInfo, CancelQuery and RenewFlightEndpoint.

use std::sync::Arc;

use arrow_flight::{
    CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo, RenewFlightEndpointRequest, Ticket,
    sql::{ActionCancelQueryRequest, ActionCancelQueryResult, Command, ProstMessageExt},
};
use bytes::Bytes;
use prost::Message;
use tonic::Status;

use super::{Service, command};
use crate::{identity::Caller, seal::Kind, statements::Execution};

impl Service {
    pub(super) fn cancel_flight_info(
        &self,
        caller: &Caller,
        request: CancelFlightInfoRequest,
    ) -> Result<Bytes, Status> {
        let info = request.info.ok_or_else(|| Status::invalid_argument("CancelFlightInfo without its FlightInfo"))?;
        let status = self.cancel(caller, &info)?.into();
        Ok(CancelFlightInfoResult { status }.encode_to_vec().into())
    }

    pub(super) fn cancel_query(&self, caller: &Caller, request: ActionCancelQueryRequest) -> Result<Bytes, Status> {
        let malformed = |e| Status::invalid_argument(format!("CancelQuery: its info is no FlightInfo: {e}"));
        let info = FlightInfo::decode(request.info).map_err(malformed)?;
        // The older action numbers its results as the newer one does.
        let result = self.cancel(caller, &info)?.into();
        Ok(ActionCancelQueryResult { result }.as_any().encode_to_vec().into())
    }

    /// The same endpoint, for a while longer. Metadata commands are their own tickets and never expire.
    pub(super) fn renew(&self, caller: &Caller, request: RenewFlightEndpointRequest) -> Result<Bytes, Status> {
        let missing = || Status::invalid_argument("RenewFlightEndpoint without an endpoint that has a ticket");
        let endpoint = request.endpoint.ok_or_else(missing)?;
        let ticket = endpoint.ticket.as_ref().ok_or_else(missing)?;
        let Some((id, execution)) = self.execution_of(caller, ticket)? else {
            return Ok(endpoint.encode_to_vec().into());
        };
        execution.renew();
        let renewed = self.endpoint(caller, id)?;
        let renewed = arrow_flight::FlightEndpoint { app_metadata: endpoint.app_metadata, ..renewed };
        Ok(renewed.encode_to_vec().into())
    }

    /// Cancelled: nothing of it runs any more, and its tickets run nothing.
    fn cancel(&self, caller: &Caller, info: &FlightInfo) -> Result<CancelStatus, Status> {
        let mut cancelled = !info.endpoint.is_empty();
        for endpoint in &info.endpoint {
            let ticket =
                endpoint.ticket.as_ref().ok_or_else(|| Status::invalid_argument("an endpoint has no ticket"))?;
            cancelled &= match self.execution_of(caller, ticket)? {
                Some((_, execution)) => execution.cancel(),
                None => false,
            };
        }
        Ok(if cancelled { CancelStatus::Cancelled } else { CancelStatus::NotCancellable })
    }

    /// `None`: the ticket stands for no statement.
    fn execution_of(&self, caller: &Caller, ticket: &Ticket) -> Result<Option<(u64, Arc<Execution>)>, Status> {
        let Command::TicketStatementQuery(ticket) = command(&ticket.ticket, "ticket")? else { return Ok(None) };
        let id = self.seal.open(Kind::Ticket, &ticket.statement_handle, caller.identity.no)?;
        Ok(Some((id, self.statements.execution(id)?)))
    }
}
