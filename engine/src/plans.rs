//! Plans of the statements that came lately, each user's own: drivers send the same text over and over.

use std::{sync::Arc, time::Duration};

use insula_proto::UserNo;
use moka::sync::Cache;

use crate::{Identity, Result, statement::plan::Plan};

/// What all of them may take, by a guess at what a plan takes beside its text.
const CAPACITY: u64 = 16 << 20;
const PLAN_BYTES: usize = 16 << 10;
/// A plan is several times larger than its text; statements beyond this are data rather than questions.
const LONGEST_TEXT: usize = 4 << 10;
/// A user who has gone leaves nothing behind.
const IDLE: Duration = Duration::from_secs(300);

/// The user is part of the key: a plan never changes hands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    user: UserNo,
    text: Arc<str>,
}

pub(crate) struct Plans {
    recent: Cache<Key, Arc<Plan>>,
}

impl Plans {
    pub fn new() -> Self {
        let weight = |key: &Key, _: &Arc<Plan>| u32::try_from(PLAN_BYTES + 16 * key.text.len()).unwrap_or(u32::MAX);
        Self { recent: Cache::builder().max_capacity(CAPACITY).weigher(weight).time_to_idle(IDLE).build() }
    }

    /// A plan that is kept.
    pub fn known(&self, user: &Identity, sql: &str) -> Option<Arc<Plan>> {
        if sql.len() > LONGEST_TEXT { None } else { self.recent.get(&Key { user: user.no, text: sql.into() }) }
    }

    pub fn of_sql(&self, user: &Identity, sql: &str) -> Result<Arc<Plan>> {
        if sql.len() > LONGEST_TEXT {
            return Plan::of_sql(user, sql).map(Arc::new);
        }
        if let Some(plan) = self.known(user, sql) {
            return Ok(plan);
        }
        let plan = Arc::new(Plan::of_sql(user, sql)?);
        if plan.is_worth_keeping() {
            self.recent.insert(Key { user: user.no, text: Arc::clone(plan.shown_text()) }, Arc::clone(&plan));
        }
        Ok(plan)
    }
}
