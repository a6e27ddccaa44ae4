use arrow::array::RecordBatch;
use insula_proto::UserNo;

use super::*;

fn user(no: u64, role: Role) -> (Identity, Arc<Session>) {
    let identity = Identity { name: format!("user-{no}").into(), no: UserNo(no), role, actor: None };
    let session = Arc::new(Session::new(&identity));
    (identity, session)
}

fn begin(queries: &Arc<Queries>, (user, session): &(Identity, Arc<Session>)) -> Running {
    let base = datafusion::execution::runtime_env::RuntimeEnvBuilder::new().build_arc().unwrap();
    let pool = Arc::new(crate::memory_pool::StatementPool::new(1 << 20));
    let share = crate::share::Shares::new(base, pool, crate::Limits::default()).of(user.no);
    queries.begin(user, session, &"SELECT 'secret'".into(), share)
}

#[test]
fn a_user_sees_their_own_and_an_admin_sees_no_text() {
    let queries = Queries::new(Trail::in_memory());
    let (alice, bob, admin) = (user(2, Role::User), user(3, Role::Service), user(1, Role::Admin));
    let running = begin(&queries, &alice);
    assert!(queries.visible_to(&bob.0).is_empty());
    let own = queries.visible_to(&alice.0).remove(0);
    assert_eq!(own.text.as_deref(), Some("SELECT 'secret'"));
    let told = queries.visible_to(&admin.0).remove(0);
    assert_eq!((told.text, told.text_hash == own.text_hash, &*told.user), (None, true, "user-2"));
    assert!(!own.text_hash.contains("secret"));
    drop(running);
    assert!(queries.visible_to(&alice.0).is_empty(), "an ended statement leaves no trace");
}

#[tokio::test]
async fn only_the_owner_and_admins_kill_and_only_before_the_commit() {
    let queries = Queries::new(Trail::in_memory());
    let (alice, bob, admin) = (user(2, Role::User), user(3, Role::User), user(1, Role::Admin));
    let running = begin(&queries, &alice);
    let id = queries.visible_to(&alice.0).remove(0).id;
    assert_eq!(queries.kill(&bob.0, &id).map_err(|e| e.kind()), Err(ErrorKind::PermissionDenied));
    assert_eq!(queries.kill(&alice.0, "x").map_err(|e| e.kind()), Err(ErrorKind::NotFound));
    running.commits().unwrap();
    assert_eq!(queries.kill(&alice.0, &id).map_err(|e| e.kind()), Err(ErrorKind::FailedPrecondition));
    assert!(!running.handle().cancel(), "a commit is never told to be cancelled");

    let second = begin(&queries, &alice);
    let id = second.query.id.to_string();
    queries.kill(&admin.0, &id).unwrap();
    second.cancelled().await;
    assert_eq!(second.commits().map_err(|e| e.kind()), Err(ErrorKind::Cancelled), "and a cancelled one never commits");
    let never = second.guard(std::future::pending::<Result<()>>()).await;
    assert_eq!(never.map_err(|e| e.kind()), Err(ErrorKind::Cancelled));
    drop(second);
    assert_eq!(queries.kill(&admin.0, &id).map_err(|e| e.kind()), Err(ErrorKind::NotFound));
}

#[tokio::test]
async fn rows_are_counted_and_end_with_the_cancellation() {
    let queries = Queries::new(Trail::in_memory());
    let alice = user(2, Role::User);
    let running = begin(&queries, &alice);
    let handle = running.handle();
    let empty = arrow::datatypes::Schema::empty();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(7));
    let batch = RecordBatch::try_new_with_options(Arc::new(empty), vec![], &options).unwrap();
    let mut rows = running.watch(stream::repeat(batch).map(Ok).boxed());
    rows.next().await.unwrap().unwrap();
    assert_eq!(queries.visible_to(&alice.0)[0].rows, 7);
    assert!(handle.cancel());
    assert_eq!(rows.next().await.unwrap().map_err(|e| e.kind()).err(), Some(ErrorKind::Cancelled));
    assert!(rows.next().await.is_none());
    assert!(queries.visible_to(&alice.0).is_empty(), "its place is free though the stream is still held");
    assert!(!handle.cancel());
}

#[test]
fn the_end_of_a_session_ends_its_statements_and_no_others() {
    let queries = Queries::new(Trail::in_memory());
    let (mine, other) = (user(2, Role::User), user(2, Role::User));
    let (first, second) = (begin(&queries, &mine), begin(&queries, &other));
    queries.cancel_session(&mine.1);
    assert!(first.commits().is_err());
    assert!(second.commits().is_ok());
}
