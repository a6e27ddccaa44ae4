//! Any of the decoders: `INSULA_FUZZ_TARGET` names it. One program for all of them, since each would hold the server.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static BODY: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(init: { prepare(); }, |data: &[u8]| BODY.get_or_init(named)(data));

fn prepare() {
    BODY.get_or_init(named);
    // libFuzzer's hook ends the process at every panic. Some of Arrow's are caught by us and are no fault; one that comes
    // through still ends it, behind this.
    std::panic::set_hook(Box::new(|_| {}));
}

fn named() -> fn(&[u8]) {
    let name = std::env::var("INSULA_FUZZ_TARGET").unwrap_or_default();
    let target = insula_server::fuzz::targets().find(|(target, _)| *target == name);
    let names = || insula_server::fuzz::targets().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
    target.unwrap_or_else(|| panic!("INSULA_FUZZ_TARGET is one of {}", names())).1
}
