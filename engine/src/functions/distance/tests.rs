use super::*;

#[test]
fn what_would_take_long_is_refused() {
    check(1024, 1024).unwrap();
    check(0, usize::MAX).unwrap();
    check(3, 300_000).unwrap();
    let error = check(1024, 1025).unwrap_err();
    assert!(error.to_string().contains("1024 and 1025 characters"), "{error}");
    check(usize::MAX, usize::MAX).unwrap_err();
}
