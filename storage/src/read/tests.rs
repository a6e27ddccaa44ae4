use proptest::prelude::*;

use super::*;

fn rows(keys: &[Vec<u8>]) -> KeyRows {
    let mut rows = KeyRows::default();
    keys.iter().for_each(|key| rows.push(key));
    rows
}

proptest! {
    #[test]
    fn masks_are_look_ups(
        hot in prop::collection::btree_set(prop::collection::vec(0u8..4, 1..4), 0..40),
        cold in prop::collection::vec(prop::collection::vec(0u8..4, 1..4), 0..60),
        sorted in any::<bool>(),
    ) {
        let keys = HotKeys { keys: rows(&hot.iter().cloned().collect::<Vec<_>>()) };
        let mut cold = cold;
        if sorted {
            cold.sort();
        }
        let mask = keys.mask(&rows(&cold));
        for (i, key) in cold.iter().enumerate() {
            prop_assert_eq!(mask.value(i), hot.contains(key));
            prop_assert_eq!(keys.contains(key), hot.contains(key));
        }
        prop_assert_eq!(keys.len(), hot.len());
        prop_assert_eq!(keys.is_empty(), hot.is_empty());
    }
}
