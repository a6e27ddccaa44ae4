use super::*;

const HOUR: Duration = Duration::from_secs(3_600);
const ALICE: UserNo = UserNo(7);

#[test]
fn a_token_is_its_users_until_it_was_idle_too_long() {
    let tokens = Tokens::new(HOUR, None);
    let start = Instant::now();
    let token = tokens.issue(ALICE, 0, start).unwrap();
    assert_eq!(tokens.resolve(&token, start + HOUR / 2).unwrap().1, ALICE);
    assert_eq!(tokens.resolve(&token, start + HOUR).unwrap().1, ALICE);
    assert!(tokens.resolve(&token, start + HOUR * 2).is_none());
    assert!(tokens.resolve(&token, start + HOUR * 2).is_none());
}

#[test]
fn only_issued_tokens_are_known() {
    let tokens = Tokens::new(HOUR, None);
    let token = tokens.issue(ALICE, 0, Instant::now()).unwrap();
    assert!(tokens.resolve("", Instant::now()).is_none());
    assert!(tokens.resolve(&token[1..], Instant::now()).is_none());
}

#[test]
fn tokens_in_use_outlive_those_nobody_presented() {
    let tokens = Tokens::new(HOUR, None);
    let start = Instant::now();
    let used = tokens.issue(ALICE, 0, start).unwrap();
    tokens.resolve(&used, start).unwrap();
    for _ in 0..PER_USER * 2 {
        tokens.issue(ALICE, 0, start).unwrap();
    }
    assert_eq!(tokens.live.lock().len(), PER_USER);
    assert!(tokens.resolve(&used, start).is_some());
}

#[test]
fn a_token_in_use_ends_at_its_age() {
    let tokens = Tokens::new(HOUR, Some(HOUR * 2));
    let start = Instant::now();
    let token = tokens.issue(ALICE, 0, start).unwrap();
    let later = tokens.issue(ALICE, 0, start + HOUR).unwrap();
    for tenth in 1..20 {
        assert!(tokens.resolve(&token, start + HOUR * tenth / 10).is_some(), "after {tenth} tenths of an hour");
    }
    assert!(tokens.resolve(&token, start + HOUR * 2).is_none());
    let ended = tokens.sweep(start + HOUR * 2);
    assert!(ended.contains(&token_id(&token)), "its session has to be told");
    assert!(tokens.resolve(&token, start).is_none(), "it does not come back");
    assert!(tokens.resolve(&later, start + HOUR * 2 - HOUR / 10).is_none(), "it was not used for an hour");
}

#[test]
fn a_token_is_revoked_for_its_own_user() {
    let tokens = Tokens::new(HOUR, None);
    let start = Instant::now();
    let token = tokens.issue(ALICE, 0, start).unwrap();
    assert!(!tokens.revoke_of(&token_id(&token), UserNo(8)));
    assert!(tokens.resolve(&token, start).is_some());
    assert!(tokens.revoke_of(&token_id(&token), ALICE));
    assert!(tokens.resolve(&token, start).is_none());
}
