use super::*;

#[test]
fn the_shares_are_the_limit_and_statements_get_most() {
    for mib in [64, 100, 512, 2048, 100_000] {
        let (limit, shares) = (ByteSize::mib(mib), Shares::of(ByteSize::mib(mib)));
        assert_eq!((shares.store.total() + shares.statements + shares.reserve) as u64, limit.as_u64());
        assert!(shares.statements as u64 >= limit.as_u64() / 3, "{shares}");
    }
}
