use super::*;

#[test]
fn a_snapshot_stands_for_its_writer_only_while_it_holds_their_newest_commit() {
    let writes = LastWrites::default();
    let (table, user) = (TableId(1), UserNo(2));
    assert_eq!(writes.at(table, user, Seq(5)), Some(Seq(0)));
    writes.begin(table, user, Seq(6), Generation(1));
    assert_eq!(writes.at(table, user, Seq(5)), None, "the commit is on its way");
    assert_eq!(writes.at(table, user, Seq(6)), Some(Seq(6)));
    assert_eq!(writes.at(table, user, Seq(9)), Some(Seq(6)), "commits of others change nothing");
    writes.begin_all(Seq(10));
    assert_eq!(writes.at(table, user, Seq(9)), None);
    assert_eq!(writes.at(TableId(7), UserNo(7), Seq(10)), Some(Seq(10)));
}

#[test]
fn users_who_share_a_place_never_get_a_number_too_small() {
    let writes = LastWrites::default();
    // More users than places, so that many share one.
    let users = 3 * PLACES as u64;
    for user in 1..=users {
        writes.begin(TableId(1), UserNo(user), Seq(user), Generation(1));
    }
    assert!((1..=users).all(|user| writes.at(TableId(1), UserNo(user), Seq(users)).unwrap().0 >= user));
}

#[test]
fn a_user_is_hot_from_their_first_row_until_its_generation_is_cold() {
    let writes = LastWrites::default();
    let (table, user) = (TableId(1), UserNo(2));
    assert!(!writes.may_be_hot(table, user, Generation(0)));
    writes.found(table, user, Generation(2));
    assert!(writes.may_be_hot(table, user, Generation(1)));
    assert!(!writes.may_be_hot(table, user, Generation(2)));
    writes.begin(table, user, Seq(6), Generation(3));
    assert!(writes.may_be_hot(table, user, Generation(2)));
    writes.begin(table, user, Seq(7), Generation(1));
    assert!(writes.may_be_hot(table, user, Generation(2)), "it never sinks");
    assert!(!writes.may_be_hot(table, user, Generation(3)));
    writes.found_unknown();
    assert!(writes.may_be_hot(table, user, Generation(3)));
}
