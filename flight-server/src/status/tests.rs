use super::*;

#[test]
fn messages_of_refusals_reach_the_client() {
    let status = of(Error::new(ErrorKind::NotFound, "table \"x\" does not exist"));
    assert_eq!((status.code(), status.message()), (Code::NotFound, "table \"x\" does not exist"));
}

#[test]
fn details_of_bugs_do_not() {
    let status = of(Error::new(ErrorKind::Internal, "index 7 out of bounds"));
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("bounds"));
    assert!(status.message().contains("internal error "));
}

#[test]
fn long_messages_are_cut_between_characters() {
    let status = of(Error::new(ErrorKind::InvalidArgument, "ä".repeat(MESSAGE_LIMIT + 1)));
    assert_eq!(status.message().chars().count(), MESSAGE_LIMIT + 1);
    assert!(status.message().ends_with('…'));
}
