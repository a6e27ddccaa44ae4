use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;

#[tokio::test]
async fn no_password_is_right_where_there_is_none() {
    let passwords = Passwords::new("never".into()).await.unwrap();
    let stored = passwords.hash("secret".into()).await.unwrap();
    assert!(passwords.is_right(Some(stored.clone()), "secret".into()).await.unwrap());
    assert!(!passwords.is_right(Some(stored), "other".into()).await.unwrap());
    assert!(!passwords.is_right(None, "never".into()).await.unwrap());
}

#[tokio::test]
async fn no_more_are_at_work_than_there_are_processors() {
    let passwords = Passwords::new("never".into()).await.unwrap();
    let turns = passwords.turns.available_permits();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let work = || {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        move || {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            let right = verify("", "");
            std::thread::yield_now();
            now.fetch_sub(1, SeqCst);
            right
        }
    };
    let all = futures::future::join_all((0..100 * turns).map(|_| passwords.in_turn(work()))).await;
    assert!(all.into_iter().all(|done| !done.unwrap()) && most.load(SeqCst) <= turns);
    assert_eq!(passwords.turns.available_permits(), turns);
}

#[tokio::test]
async fn who_gets_no_turn_is_told_the_same_whoever_it_is() {
    let mut passwords = Passwords::new("never".into()).await.unwrap();
    let stored = passwords.hash("secret".into()).await.unwrap();
    passwords.patience = Duration::ZERO;
    let all = Arc::clone(&passwords.turns).acquire_many_owned(passwords.turns.available_permits() as u32).await;
    let known = passwords.is_right(Some(stored), "secret".into()).await.unwrap_err();
    let unknown = passwords.is_right(None, "secret".into()).await.unwrap_err();
    drop(all);
    assert_eq!((known.kind(), known.to_string()), (ErrorKind::ResourceExhausted, unknown.to_string()));
}
