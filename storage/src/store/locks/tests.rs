use std::time::Duration;

use tokio::time::timeout;

use super::*;

const SHORT: Duration = Duration::from_millis(20);

#[tokio::test]
async fn one_user_waits_for_themself_and_no_one_else() {
    let locks = Locks::default();
    let held = locks.take(TableId(1), UserNo(1)).await;
    assert!(held.covers(TableId(1), UserNo(1)) && !held.covers(TableId(1), UserNo(2)));
    for user in 2..2000 {
        timeout(SHORT, locks.take(TableId(1), UserNo(user))).await.unwrap();
    }
    assert!(timeout(SHORT, locks.take(TableId(1), UserNo(1))).await.is_err());
    drop(held);
    timeout(SHORT, locks.take(TableId(1), UserNo(1))).await.unwrap();
}

#[tokio::test]
async fn idle_locks_vanish() {
    let locks = Locks::default();
    let held = locks.take(TableId(1), UserNo(1)).await;
    assert_eq!(locks.len(), 2);
    // One who gives up while the lock is held, and one who gives up last.
    assert!(timeout(SHORT, locks.take(TableId(1), UserNo(1))).await.is_err());
    assert_eq!(locks.len(), 2);
    let shared = Arc::clone(&held);
    drop(held);
    assert_eq!(locks.len(), 2);
    drop(shared);
    assert_eq!(locks.len(), 0);
}

#[tokio::test]
async fn a_load_of_many_users_waits_for_all_and_all_wait_for_it() {
    let locks = Locks::default();
    let held = locks.take(TableId(1), UserNo(1)).await;
    assert!(timeout(SHORT, locks.take_all(TableId(1))).await.is_err());
    timeout(SHORT, locks.take_all(TableId(2))).await.unwrap();
    drop(held);
    let whole = timeout(SHORT, locks.take_all(TableId(1))).await.unwrap();
    assert!(whole.covers(TableId(1), UserNo(7)) && !whole.covers(TableId(2), UserNo(7)));
    assert!(timeout(SHORT, locks.take(TableId(1), UserNo(2))).await.is_err());
    timeout(SHORT, locks.take(TableId(2), UserNo(2))).await.unwrap();
    drop(whole);
    timeout(SHORT, locks.take(TableId(1), UserNo(2))).await.unwrap();
    assert_eq!(locks.len(), 0);
}
