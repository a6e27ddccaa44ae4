use proptest::prelude::*;

use super::*;

fn rows(keys: &[Vec<u8>]) -> KeyRows {
    let mut rows = KeyRows::default();
    keys.iter().for_each(|key| rows.push(key));
    rows
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![0u8..3, 254..=255u8], 0..4)
}

proptest! {
    #[test]
    fn a_range_of_prefixes_holds_what_begins_with_them_and_what_lies_between(
        first in bytes(), last in bytes(), key in bytes(),
    ) {
        let range = KeyRange::of_prefixes(first.clone(), &last);
        let expected = key >= first && (key <= last || key.starts_with(&last));
        prop_assert_eq!(range.contains(&key), expected);
        prop_assert!(!(range.is_empty() && expected));
    }

    #[test]
    fn bounds_touch_whatever_holds_a_wanted_key(
        wanted in prop::collection::vec(bytes(), 0..5), first in bytes(), last in bytes(), file in (bytes(), bytes()),
        key in bytes(),
    ) {
        let file = (file.0.clone().min(file.1.clone()), file.0.max(file.1));
        let inside = file.0 <= key && key <= file.1;
        let keys = KeyBounds::keys(&rows(&wanted));
        prop_assert_eq!(keys.touches(&file), wanted.iter().any(|key| file.0 <= *key && *key <= file.1));
        prop_assert!(wanted.iter().all(|key| keys.range().contains(key)));
        let range = KeyBounds::Range(KeyRange::of_prefixes(first, &last));
        prop_assert!(!inside || !range.range().contains(&key) || range.touches(&file));
        prop_assert!(KeyBounds::All.touches(&file) && KeyBounds::All.range().contains(&key));
    }
}
