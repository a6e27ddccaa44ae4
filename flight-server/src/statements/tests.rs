use arrow::datatypes::Schema;
use insula_engine::{Identity, Role};
use tonic::Code;

use super::*;

const ALICE: UserNo = UserNo(7);
const BOB: UserNo = UserNo(8);

fn statement() -> Statement {
    let user = Identity { name: "alice".into(), no: ALICE, role: Role::User };
    let nothing = Arc::new(Schema::empty());
    let description =
        Description { schema: nothing.clone(), parameters: nothing, is_update: true, has_effect: true, at_once: false };
    Statement::new("DELETE FROM t", Arc::new(Session::new(&user)), description)
}

fn bound() -> Bound {
    Bound::new(Arc::new(statement()), None)
}

#[test]
fn a_closed_handle_is_unknown() {
    let statements = Statements::default();
    let id = statements.prepare(ALICE, statement()).unwrap();
    assert!(statements.prepared(id).is_ok());
    statements.close(id).unwrap();
    assert_eq!(statements.prepared(id).err().unwrap().code(), Code::NotFound);
    assert_eq!(statements.close(id).unwrap_err().code(), Code::NotFound);
}

#[test]
fn one_user_cannot_fill_the_registry_for_another() {
    let statements = Statements::default();
    let ids: Vec<_> = (0..PREPARED_PER_USER).map(|_| statements.prepare(ALICE, statement()).unwrap()).collect();
    assert_eq!(statements.prepare(ALICE, statement()).unwrap_err().code(), Code::ResourceExhausted);
    statements.prepare(BOB, statement()).unwrap();
    statements.close(ids[0]).unwrap();
    statements.prepare(ALICE, statement()).unwrap();
}

#[test]
fn tickets_beyond_the_limit_push_out_the_users_own_oldest() {
    let statements = Statements::default();
    let shared = bound();
    let other = statements.issue(BOB, shared.clone());
    let first = statements.issue(ALICE, shared.clone());
    for _ in 0..TICKETS_PER_USER {
        statements.issue(ALICE, shared.clone());
    }
    assert_eq!(statements.execution(first).err().unwrap().code(), Code::NotFound);
    assert!(statements.execution(other).is_ok());
}

#[test]
fn sweeping_forgets_what_is_old() {
    let statements = Statements::default();
    let ticket = statements.issue(ALICE, bound());
    let handle = statements.prepare(ALICE, statement()).unwrap();
    statements.sweep(Instant::now() + TICKET_LIFETIME);
    assert!(statements.execution(ticket).is_err());
    assert!(statements.prepared(handle).is_ok());
    statements.sweep(Instant::now() + HANDLE_LIFETIME);
    assert!(statements.prepared(handle).is_err());
}
