//! When a table whose background work failed is tried again: later each time.

use std::{collections::HashMap, time::Duration};

use insula_proto::TableId;
use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(crate) struct Pauses(HashMap<TableId, Pause>);

struct Pause {
    until: Instant,
    length: Duration,
}

impl Pauses {
    pub(crate) fn holds(&self, table: TableId) -> bool {
        self.0.get(&table).is_some_and(|pause| pause.until > Instant::now())
    }

    /// After work that succeeded, or is needed no longer.
    pub(crate) fn end(&mut self, table: TableId) {
        self.0.remove(&table);
    }

    /// After work that failed. Returns when it is tried again.
    pub(crate) fn begin(&mut self, table: TableId) -> Duration {
        let length = self.0.get(&table).map_or(FIRST, |pause| (pause.length * 2).min(LONGEST));
        self.0.insert(table, Pause { until: Instant::now() + length, length });
        length
    }
}
