//! DoAction: prepared statements and session options; what cannot be served says why.

use std::sync::Arc;

use arrow_flight::{
    Action, ActionType,
    sql::{ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, Any, ProstMessageExt},
};
use bytes::Bytes;
use insula_engine::Session;
use insula_proto::flight::{
    CloseSessionResult, GetSessionOptionsResult, SessionOptionValue, SetSessionOptionsRequest, SetSessionOptionsResult,
    close_session_result,
    session_option_value::OptionValue,
    set_session_options_result::{Error, ErrorValue},
    sql::ActionCreatePreparedStatementResult,
};
use prost::Message;
use tonic::Status;

use super::Service;
use crate::{
    encode::{schema_or_nothing, wire_schema},
    identity::Caller,
    seal::Kind,
    statements::HANDLE_LIFETIME,
};

const TYPE_URL_PREFIX: &str = "type.googleapis.com/";

const SERVED: [(&str, &str); 9] = [
    ("CreatePreparedStatement", "ActionCreatePreparedStatementRequest -> ActionCreatePreparedStatementResult"),
    ("ClosePreparedStatement", "ActionClosePreparedStatementRequest -> nothing"),
    ("BeginTransaction", "ActionBeginTransactionRequest -> ActionBeginTransactionResult"),
    ("EndTransaction", "ActionEndTransactionRequest -> nothing"),
    ("BeginSavepoint", "ActionBeginSavepointRequest -> ActionBeginSavepointResult"),
    ("EndSavepoint", "ActionEndSavepointRequest -> nothing"),
    ("SetSessionOptions", "SetSessionOptionsRequest -> SetSessionOptionsResult"),
    ("GetSessionOptions", "GetSessionOptionsRequest -> GetSessionOptionsResult"),
    ("CloseSession", "CloseSessionRequest -> CloseSessionResult"),
];

/// Actions of the protocol that Insula does not serve, and the reason.
const UNSERVED: [(&str, &str); 4] = [
    ("CreatePreparedSubstraitPlan", "Substrait plans are not supported; prepare SQL"),
    ("CancelQuery", "cancel a statement by cancelling its DoGet or DoPut"),
    ("CancelFlightInfo", "cancel a statement by cancelling its DoGet"),
    ("RenewFlightEndpoint", "tickets are not renewed; ask for a new one by GetFlightInfo"),
];

pub(super) fn types() -> impl Iterator<Item = ActionType> + Send + 'static {
    SERVED.into_iter().map(|(name, messages)| ActionType { r#type: name.into(), description: messages.into() })
}

impl Service {
    /// The result's body, of actions that have one.
    pub(super) async fn act(&self, caller: &Caller, action: Action) -> Result<Option<Bytes>, Status> {
        match action.r#type.as_str() {
            "CreatePreparedStatement" => self.create_prepared(caller, unpack(&action)?).await.map(Some),
            "ClosePreparedStatement" => self.close_prepared(caller, unpack(&action)?).map(|()| None),
            "BeginTransaction" => self.begin_transaction(caller).map(Some),
            "EndTransaction" => self.end_transaction(caller, unpack(&action)?).await.map(|()| None),
            "BeginSavepoint" => self.begin_savepoint(caller, unpack(&action)?).await.map(Some),
            "EndSavepoint" => self.end_savepoint(caller, unpack(&action)?).await.map(|()| None),
            "SetSessionOptions" => Ok(Some(self.set_options(caller, decode(&action)?))),
            "GetSessionOptions" => Ok(Some(options(&caller.session))),
            "CloseSession" => {
                self.authenticator.close_session(&caller.session_key);
                let result = CloseSessionResult { status: close_session_result::Status::Closed.into() };
                Ok(Some(result.encode_to_vec().into()))
            }
            name => Err(match UNSERVED.iter().find(|(unserved, _)| *unserved == name) {
                Some((_, reason)) => Status::unimplemented(format!("{name}: {reason}")),
                None => Status::unimplemented(format!("unknown action \"{name}\"; ListActions names those there are")),
            }),
        }
    }

    async fn create_prepared(
        &self,
        caller: &Caller,
        request: ActionCreatePreparedStatementRequest,
    ) -> Result<Bytes, Status> {
        let session = self.session(caller, request.transaction_id.as_ref())?;
        let statement = self.describe(caller, &session, &request.query, None).await?;
        let parameter_schema = schema_or_nothing(&wire_schema(&statement.description.parameters))?;
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

    fn set_options(&self, caller: &Caller, request: SetSessionOptionsRequest) -> Bytes {
        let session = &caller.session;
        let known = session.options();
        let mut errors = std::collections::HashMap::new();
        for (name, value) in request.session_options {
            let set = match &value.option_value {
                Some(value) => {
                    text(value).filter(|text| self.may_be(caller, &name, text)).map(|text| session.set(&name, &text))
                }
                None => Some(session.reset(&name)),
            };
            let named = known.iter().any(|(known, _)| *known == name);
            let error = match set {
                Some(Ok(())) => continue,
                Some(Err(_)) if !named => ErrorValue::InvalidName,
                Some(Err(_)) | None => ErrorValue::InvalidValue,
            };
            errors.insert(name, Error { value: error.into() });
        }
        SetSessionOptionsResult { errors }.encode_to_vec().into()
    }

    /// A driver that names its namespace once wants to be told at once that it is not there; `SET schema` takes any.
    fn may_be(&self, caller: &Caller, name: &str, value: &str) -> bool {
        name != "schema" || self.engine.namespaces(&caller.identity).iter().any(|namespace| namespace == value)
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

/// As `SET` would have it; no option takes a list.
fn text(value: &OptionValue) -> Option<String> {
    match value {
        OptionValue::StringValue(text) => Some(text.clone()),
        OptionValue::BoolValue(value) => Some(value.to_string()),
        OptionValue::Int64Value(value) => Some(value.to_string()),
        OptionValue::DoubleValue(value) => Some(value.to_string()),
        OptionValue::StringListValue(_) => None,
    }
}

fn options(session: &Arc<Session>) -> Bytes {
    let value = |text| SessionOptionValue { option_value: Some(OptionValue::StringValue(text)) };
    let session_options = session.options().into_iter().map(|(name, text)| (name, value(text))).collect();
    GetSessionOptionsResult { session_options }.encode_to_vec().into()
}
