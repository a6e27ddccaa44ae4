use super::*;

#[test]
fn a_full_cache_stays_within_its_bytes() {
    let cache = Cache::new(100_000);
    for key in 0..1_000u32 {
        cache.insert(key, Arc::new(key), 1_000);
        assert!(cache.bytes() <= 100_000);
    }
    assert!(cache.bytes() > 50_000, "it holds something");
    cache.insert(5_000, Arc::new(0), 100_001);
    assert!(cache.bytes() <= 100_000);
    assert!(cache.get(&5_000).is_none(), "what is larger than all of it is not kept");
}
