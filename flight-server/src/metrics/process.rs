//! The process as Linux tells of it, under the names that Prometheus' own clients use. Elsewhere there is nothing.

use std::{fs, sync::LazyLock, time::SystemTime};

use metrics::gauge;

/// Of the times in `/proc/PID/stat`: the kernel's `USER_HZ`, which is 100 on all that Linux runs on but Alpha.
const TICKS_PER_SECOND: f64 = 100.0;

static STARTED: LazyLock<f64> = LazyLock::new(|| {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64()
});

pub(super) fn note() {
    gauge!("process_start_time_seconds").set(*STARTED);
    gauge!("insula_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat)) {
        gauge!("process_cpu_seconds_total").set(seconds);
    }
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        let bytes = |key: &str| number(&status, key).map(|n| n as f64 * 1024.0);
        for (name, key) in
            [("process_resident_memory_bytes", "VmRSS:"), ("process_resident_memory_max_bytes", "VmHWM:")]
        {
            if let Some(bytes) = bytes(key) {
                gauge!(name).set(bytes);
            }
        }
        if let Some(threads) = number(&status, "Threads:") {
            gauge!("process_threads").set(threads as f64);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        gauge!("process_open_fds").set(open.count() as f64);
    }
}

/// Fields 14 and 15; the second one, the program's name, may have blanks, and ends with the last parenthesis.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn number(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_may_be_anything() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 8 0 1 2 3";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("nonsense"), None);
        assert_eq!(number("VmRSS:\t  12 kB\nThreads:\t8\n", "VmRSS:"), Some(12));
    }
}
