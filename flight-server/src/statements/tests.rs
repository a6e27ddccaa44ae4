use arrow::datatypes::Schema;
use insula_engine::{Identity, Role};
use tonic::Code;

use super::*;

const ALICE: UserNo = UserNo(7);
const BOB: UserNo = UserNo(8);

fn statement() -> Statement {
    of_session(&session())
}

fn session() -> Arc<Session> {
    Arc::new(Session::new(&alice()))
}

fn alice() -> Identity {
    Identity { name: "alice".into(), no: ALICE, role: Role::User, actor: None }
}

fn of_session(session: &Arc<Session>) -> Statement {
    let plan = Arc::new(Plan::of_sql(&alice(), "DELETE FROM t").unwrap());
    let nothing = Arc::new(Schema::empty());
    let description = Description { schema: nothing.clone(), parameters: nothing, is_update: true, has_effect: true };
    Statement::new(plan, Arc::clone(session), None, description, Types::default())
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
    let almost = Instant::now() + TICKET_LIFETIME - Duration::from_secs(1);
    statements.sweep(almost);
    statements.execution(ticket).unwrap().renew();
    statements.sweep(almost);
    assert!(statements.execution(ticket).is_ok());
    statements.sweep(Instant::now() + TICKET_LIFETIME);
    assert!(statements.execution(ticket).is_err());
    assert!(statements.prepared(handle).is_ok());
    statements.sweep(Instant::now() + HANDLE_LIFETIME);
    assert!(statements.prepared(handle).is_err());
}

#[test]
fn the_end_of_a_session_takes_its_handles_and_tickets_alone() {
    let statements = Statements::default();
    let (ended, other) = (session(), session());
    let mut kept = Vec::new();
    for session in [&ended, &other] {
        let handle = statements.prepare(ALICE, of_session(session)).unwrap();
        let bound = Bound::new(Arc::new(of_session(session)), None);
        kept.push((handle, statements.issue(ALICE, bound)));
    }
    statements.close_session(&ended);
    let found = |(handle, ticket)| (statements.prepared(handle).is_ok(), statements.execution(ticket).is_ok());
    assert_eq!((found(kept[0]), found(kept[1])), ((false, false), (true, true)));
}

#[test]
fn what_was_cancelled_runs_no_more_and_what_took_effect_is_not_cancelled() {
    let execution = Execution::new(bound(), None);
    assert!(execution.cancel());
    assert!(execution.cancel(), "twice is as good as once");
    let queries = insula_engine::Cancel::default();
    assert_eq!(execution.enter(queries).unwrap_err().code(), Code::Cancelled);
    let done = Execution::new(bound(), None);
    *done.run.try_lock().unwrap() = Run::Done(Vec::new());
    assert!(!done.cancel());
}
