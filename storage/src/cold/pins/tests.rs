use super::*;

fn path(name: &str) -> Vec<Path> {
    vec![Path::from(name)]
}

#[test]
fn retired_objects_wait_for_older_pins_only() {
    let pins = Arc::new(Pins::default());
    let old = Pins::pin(&pins);
    pins.retire(path("a"));
    let new = Pins::pin(&pins);
    assert!(pins.take_free().is_empty(), "a view from before the commit may read it");
    drop(old);
    assert_eq!(pins.take_free(), path("a"), "a view from after the commit cannot");
    pins.retire(path("b"));
    assert!(pins.take_free().is_empty());
    drop(new);
    assert_eq!(pins.take_free(), path("b"));
}

#[test]
fn without_pins_retired_objects_are_free_at_once() {
    let pins = Pins::default();
    pins.retire(path("a"));
    pins.retire(path("b"));
    assert_eq!(pins.take_free().len(), 2);
    assert!(pins.take_free().is_empty());
}
