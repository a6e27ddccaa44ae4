use super::*;

#[test]
fn ours_comes_before_that_of_tonic() {
    let ours = |timeout| parse(timeout).map(early);
    assert_eq!(ours("1S"), Some(Duration::from_millis(980)));
    assert_eq!(ours("100m"), Some(Duration::from_millis(90)));
    assert_eq!(ours("0n"), Some(Duration::ZERO));
    assert_eq!(ours("123456789S"), None, "as gRPC has it: eight digits");
}

#[tokio::test]
async fn the_setting_is_kept_to_whole() {
    let headers = HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), "1H".parse().unwrap())]);
    let (before, limit) = (Instant::now(), Duration::from_secs(5));
    assert!(Deadline::new(&headers, Some(limit)).0.unwrap() >= before + limit);
}
