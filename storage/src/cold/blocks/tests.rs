use object_store::{ObjectStoreExt, memory::InMemory};
use proptest::prelude::*;

use super::*;

fn blocks_of(body: &[u8], pieces: usize) -> Blocks {
    let mut builder = Builder::default();
    body.chunks(pieces.max(1)).for_each(|piece| builder.push(piece));
    Blocks::new(builder.finish().into(), body.len() as u64).unwrap()
}

fn body(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

async fn stored(bytes: Vec<u8>) -> (Arc<dyn ObjectStore>, Path) {
    let (store, path) = (InMemory::new(), Path::from("t1/x.parquet"));
    store.put(&path, bytes.into()).await.unwrap();
    (Arc::new(store), path)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any ranges of any body come back as they are, however the body was cut into pieces when it was written; and
    /// with one byte flipped, exactly the reads that touch its block fail.
    #[test]
    fn reads_are_exact_and_damage_is_local(
        len in 1usize..400_000,
        pieces in 1usize..200_000,
        cuts in prop::collection::vec((0.0f64..1.0, 0.0f64..1.0), 1..6),
        flip in 0.0f64..1.0,
    ) {
        let whole = body(len);
        let blocks = blocks_of(&whole, pieces);
        let at = |part: f64| (part * len as f64) as u64;
        let ranges: Vec<_> = cuts.iter().map(|(a, b)| at(a.min(*b))..at(a.max(*b))).collect();
        let flipped = at(flip);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (store, path) = stored(whole.clone()).await;
            let read = blocks.read(&store, &path, &ranges).await.unwrap();
            for (range, bytes) in ranges.iter().zip(read) {
                assert_eq!(&bytes[..], &whole[range.start as usize..range.end as usize]);
            }
            let mut damaged = whole.clone();
            damaged[flipped as usize] ^= 1;
            let (store, path) = stored(damaged).await;
            for range in &ranges {
                let hit = !range.is_empty() && blocks.cover(range).contains(&flipped);
                let read = blocks.read(&store, &path, std::slice::from_ref(range)).await;
                assert_eq!(read.is_err(), hit, "{range:?} of {len}, flipped {flipped}");
                if let Err(error) = read {
                    let message = format!("{error}");
                    assert!(message.contains(&format!("byte {}", flipped / BLOCK * BLOCK)), "{message}");
                }
            }
        });
    }
}

#[test]
fn checksums_that_do_not_fit_the_body_are_refused() {
    assert!(Blocks::new(Bytes::from_static(&[0; 4]), BLOCK + 1).is_none());
    assert!(Blocks::new(Bytes::new(), 0).is_some());
}

#[tokio::test]
async fn a_range_past_the_body_is_an_error() {
    let (store, path) = stored(body(10)).await;
    let blocks = blocks_of(&body(10), 10);
    for range in [5..11, 11..12] {
        assert!(blocks.read(&store, &path, &[range]).await.is_err());
    }
}
