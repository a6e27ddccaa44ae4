use insula_engine::Role;

use super::*;

fn identity(no: u64) -> Identity {
    Identity { name: format!("user {no}").into(), no: UserNo(no), role: Role::User, actor: None }
}

fn key(user: u64, n: u8) -> Key {
    Key { user: UserNo(user), origin: Origin::Token([n; 32]) }
}

#[test]
fn a_user_with_too_many_sessions_loses_their_own() {
    let sessions = Sessions::new(Duration::from_secs(60), 2);
    let (theirs, _) = sessions.resolve(key(3, 0), &identity(3), None);
    let (first, is_new) = sessions.resolve(key(2, 1), &identity(2), None);
    assert!(is_new);
    sessions.resolve(key(2, 2), &identity(2), None);
    // The first is the one that is used.
    let (again, is_new) = sessions.resolve(key(2, 1), &identity(2), None);
    assert!(Arc::ptr_eq(&first, &again) && !is_new);
    sessions.resolve(key(2, 3), &identity(2), None);
    assert_eq!(sessions.list(Some(UserNo(2))).len(), 2);
    let (again, _) = sessions.resolve(key(2, 1), &identity(2), None);
    assert!(Arc::ptr_eq(&first, &again));
    let (again, _) = sessions.resolve(key(3, 0), &identity(3), None);
    assert!(Arc::ptr_eq(&theirs, &again), "another user's stays");
    assert!(sessions.resolve(key(2, 2), &identity(2), None).1, "the idle one is gone");
}

#[test]
fn what_is_closed_is_not_counted() {
    let sessions = Sessions::new(Duration::ZERO, 2);
    for n in 0..9 {
        sessions.resolve(key(2, n), &identity(2), None);
        sessions.close(&key(2, n));
    }
    sessions.resolve(key(2, 1), &identity(2), None);
    sessions.sweep();
    let open = sessions.open.lock();
    assert!(open.sessions.is_empty() && open.counts.is_empty());
}

#[test]
fn with_a_token_go_all_sessions_under_it_and_no_others() {
    let sessions = Sessions::new(Duration::from_secs(60), 9);
    for (user, token) in [(2, 1), (3, 1), (2, 2)] {
        sessions.resolve(key(user, token), &identity(user), None);
    }
    let ids: HashSet<_> = sessions.list(None).iter().map(|session| session.id).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| sessions.find(*id).is_some()));
    assert_eq!(sessions.close_of(&HashSet::from([[1; 32]])).len(), 2);
    assert!(!sessions.knows(&key(2, 1)) && !sessions.knows(&key(3, 1)) && sessions.knows(&key(2, 2)));
    assert_eq!(sessions.close_of(&HashSet::from([[1; 32]])).len(), 0);
}
