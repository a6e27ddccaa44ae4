//! DoAction: prepared statements, session options, and what becomes of tickets; what cannot be served says why.

use std::sync::Arc;

use arrow_flight::{
    Action, ActionType,
    sql::{
        ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
        ActionCreatePreparedSubstraitPlanRequest, Any, ProstMessageExt,
    },
};
use bytes::Bytes;
use insula_engine::{Engine, Session};
use insula_proto::flight::{
    CloseSessionResult, GetSessionOptionsResult, SessionOptionValue, SetSessionOptionsRequest, SetSessionOptionsResult,
    close_session_result,
    session_option_value::OptionValue,
    set_session_options_result::{Error, ErrorValue},
    sql::ActionCreatePreparedStatementResult,
};
use prost::Message;
use tonic::Status;

use super::{Service, query::substrait, work::Source};
use crate::{
    encode::{schema_or_nothing, wire_schema},
    format::Types,
    identity::Caller,
    seal::Kind,
    statements::HANDLE_LIFETIME,
};

const TYPE_URL_PREFIX: &str = "type.googleapis.com/";

const SERVED: &[(&str, &str)] = &[
    ("CreatePreparedStatement", "ActionCreatePreparedStatementRequest -> ActionCreatePreparedStatementResult"),
    ("CreatePreparedSubstraitPlan", "ActionCreatePreparedSubstraitPlanRequest -> ActionCreatePreparedStatementResult"),
    ("ClosePreparedStatement", "ActionClosePreparedStatementRequest -> nothing"),
    ("BeginTransaction", "ActionBeginTransactionRequest -> ActionBeginTransactionResult"),
    ("EndTransaction", "ActionEndTransactionRequest -> nothing"),
    ("BeginSavepoint", "ActionBeginSavepointRequest -> ActionBeginSavepointResult"),
    ("EndSavepoint", "ActionEndSavepointRequest -> nothing"),
    ("CancelFlightInfo", "CancelFlightInfoRequest -> CancelFlightInfoResult"),
    ("CancelQuery", "ActionCancelQueryRequest -> ActionCancelQueryResult"),
    ("RenewFlightEndpoint", "RenewFlightEndpointRequest -> FlightEndpoint"),
    ("SetSessionOptions", "SetSessionOptionsRequest -> SetSessionOptionsResult"),
    ("GetSessionOptions", "GetSessionOptionsRequest -> GetSessionOptionsResult"),
    ("CloseSession", "CloseSessionRequest -> CloseSessionResult"),
];

pub(super) fn types() -> impl Iterator<Item = ActionType> + Send + 'static {
    SERVED.iter().map(|(name, messages)| ActionType { r#type: (*name).into(), description: (*messages).into() })
}

impl Service {
    /// The result's body, of actions that have one.
    pub(super) async fn act(&self, caller: &Caller, action: Action) -> Result<Option<Bytes>, Status> {
        match action.r#type.as_str() {
            "CreatePreparedStatement" => {
                let request: ActionCreatePreparedStatementRequest = unpack(&action)?;
                let transaction = request.transaction_id.as_ref();
                self.create_prepared(caller, Source::Sql(request.query), transaction).await.map(Some)
            }
            "CreatePreparedSubstraitPlan" => {
                let request: ActionCreatePreparedSubstraitPlanRequest = unpack(&action)?;
                let (source, transaction) = (substrait(request.plan.as_ref())?, request.transaction_id.as_ref());
                self.create_prepared(caller, source, transaction).await.map(Some)
            }
            "ClosePreparedStatement" => self.close_prepared(caller, unpack(&action)?).map(|()| None),
            "BeginTransaction" => self.begin_transaction(caller).map(Some),
            "EndTransaction" => self.end_transaction(caller, unpack(&action)?).await.map(|()| None),
            "BeginSavepoint" => self.begin_savepoint(caller, unpack(&action)?).await.map(Some),
            "EndSavepoint" => self.end_savepoint(caller, unpack(&action)?).await.map(|()| None),
            "CancelFlightInfo" => self.cancel_flight_info(caller, decode(&action)?).map(Some),
            "CancelQuery" => self.cancel_query(caller, unpack(&action)?).map(Some),
            "RenewFlightEndpoint" => self.renew(caller, decode(&action)?).map(Some),
            "SetSessionOptions" => Ok(Some(set_options(&self.engine, caller, decode(&action)?))),
            "GetSessionOptions" => Ok(Some(options(&caller.session))),
            "CloseSession" => {
                self.close_session(caller);
                let result = CloseSessionResult { status: close_session_result::Status::Closed.into() };
                Ok(Some(result.encode_to_vec().into()))
            }
            name => {
                let text = format!("unknown action \"{name}\"; ListActions names those there are");
                Err(Status::unimplemented(text))
            }
        }
    }

    async fn create_prepared(
        &self,
        caller: &Caller,
        source: Source,
        transaction: Option<&Bytes>,
    ) -> Result<Bytes, Status> {
        let session = self.session(caller, transaction)?;
        let statement = self.describe(caller, &session, source, None).await?;
        let parameter_schema = schema_or_nothing(&wire_schema(&statement.description.parameters, Types::default()))?;
        let dataset_schema = schema_or_nothing(&statement.wire)?;
        let is_update = Some(statement.description.is_update);
        let user = caller.identity.no;
        let id = self.statements.prepare(user, statement)?;
        // The registry ends it, by the time of its last use; the seal must not end it earlier.
        let handle = self.seal.close(Kind::Handle, id, user, HANDLE_LIFETIME * 3_650)?;
        let result = ActionCreatePreparedStatementResult {
            prepared_statement_handle: handle.to_vec(),
            dataset_schema: dataset_schema.to_vec(),
            parameter_schema: parameter_schema.to_vec(),
            is_update,
        };
        let type_url = arrow_flight::sql::ActionCreatePreparedStatementResult::type_url().to_owned();
        Ok(Any { type_url, value: result.encode_to_vec().into() }.encode_to_vec().into())
    }

    /// The token, and everything that was begun with it.
    fn close_session(&self, caller: &Caller) {
        self.authenticator.close_session(&caller.session_key);
        self.engine.cancel_session(&caller.session);
        self.statements.close_session(&caller.session);
    }

    fn close_prepared(&self, caller: &Caller, request: ActionClosePreparedStatementRequest) -> Result<(), Status> {
        self.statements.close(self.seal.open(Kind::Handle, &request.prepared_statement_handle, caller.identity.no)?)
    }
}

/// Bodies of Flight SQL's actions are packed into an Any.
fn unpack<M: ProstMessageExt>(action: &Action) -> Result<M, Status> {
    let any = Any::decode(action.body.clone()).map_err(|e| malformed(action, &e))?;
    let message = any.unpack::<M>().map_err(|e| malformed(action, &e))?;
    message.ok_or_else(|| malformed(action, &format!("it is not a {}", M::type_url())))
}

/// Bodies of core Flight's actions are not; some clients pack them all the same.
fn decode<M: Message + Default>(action: &Action) -> Result<M, Status> {
    let packed = Any::decode(action.body.clone()).ok().filter(|any| any.type_url.starts_with(TYPE_URL_PREFIX));
    let body = packed.map_or_else(|| action.body.clone(), |any| any.value);
    M::decode(body).map_err(|e| malformed(action, &e))
}

fn malformed(action: &Action, reason: &dyn std::fmt::Display) -> Status {
    Status::invalid_argument(format!("malformed body of {}: {reason}", action.r#type))
}

/// Each option is set by itself, and the errors tell which were not.
fn set_options(engine: &Engine, caller: &Caller, request: SetSessionOptionsRequest) -> Bytes {
    let mut errors = std::collections::HashMap::new();
    for (name, value) in request.session_options {
        if let Err(error) = set_option(engine, caller, &name, value.option_value.as_ref()) {
            errors.insert(name, Error { value: error.into() });
        }
    }
    SetSessionOptionsResult { errors }.encode_to_vec().into()
}

fn set_option(engine: &Engine, caller: &Caller, name: &str, value: Option<&OptionValue>) -> Result<(), ErrorValue> {
    let session = &caller.session;
    if !session.knows(name) {
        return Err(ErrorValue::InvalidName);
    }
    let invalid = |_| ErrorValue::InvalidValue;
    let Some(value) = value else { return session.reset(name).map_err(invalid) };
    let text = text(value).ok_or(ErrorValue::InvalidValue)?;
    // A driver that sets a schema relies on it; SQL's SET takes any name, as in PostgreSQL.
    if session.names_schema(name) && !engine.namespaces(&caller.identity).contains(&text) {
        return Err(ErrorValue::InvalidValue);
    }
    session.set(name, &text).map_err(invalid)
}

/// As `SET` would have it. No option takes several values; a list of one is that one.
fn text(value: &OptionValue) -> Option<String> {
    match value {
        OptionValue::StringValue(text) => Some(text.clone()),
        OptionValue::BoolValue(value) => Some(value.to_string()),
        OptionValue::Int64Value(value) => Some(value.to_string()),
        OptionValue::DoubleValue(value) => Some(value.to_string()),
        OptionValue::StringListValue(list) => match list.values.as_slice() {
            [one] => Some(one.clone()),
            _ => None,
        },
    }
}

fn options(session: &Arc<Session>) -> Bytes {
    let value = |text| SessionOptionValue { option_value: Some(OptionValue::StringValue(text)) };
    let session_options = session.options().into_iter().map(|(name, text)| (name, value(text))).collect();
    GetSessionOptionsResult { session_options }.encode_to_vec().into()
}
