//! Definitions and opaque records: tables that come with their rows and go, records of the layers above.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use insula_proto::UserNo;
use insula_storage::{Filling, MetaBatch, NewTable, Store, TableOptions};

use super::{World, statement};
use crate::{
    model::{Key, Values},
    read,
};

/// Tables beside the main one, and records.
#[derive(Default)]
pub(super) struct Others {
    tables: BTreeSet<String>,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The change that nobody was told the end of: the table that was to come, to go, or to be made anew.
    uncertain: Option<String>,
    uncertain_record: Option<(Vec<u8>, Vec<u8>)>,
}

impl World {
    pub(super) fn other(&mut self) {
        let name = format!("other{}", self.rng.below(2));
        match self.rng.below(3) {
            0 => self.record(),
            1 if self.others.tables.contains(&name) => {
                self.tell(|| format!("drop {name}"));
                let store = Arc::clone(self.life.store());
                let table = store.tables().into_iter().find(|t| t.name == name).expect("a table that was made");
                let done = self.life.run(&mut self.rng, async move { store.drop_table(table.id).await.map(drop) });
                self.changed(done, name, false);
            }
            _ => {
                self.tell(|| format!("create or replace {name}"));
                let store = Arc::clone(self.life.store());
                let table = statement::new_table(&name, TableOptions::default());
                let flush = self.rng.below(2) == 0;
                let done = self.life.run(&mut self.rng, async move { create(&store, table, flush).await });
                self.changed(done, name, true);
            }
        }
    }

    fn changed(&mut self, done: Option<insula_storage::Result<()>>, name: String, there: bool) {
        match done {
            Some(Ok(())) if there => _ = self.others.tables.insert(name),
            Some(Ok(())) => _ = self.others.tables.remove(&name),
            Some(Err(error)) => {
                self.expect_fault(&error);
                self.others.uncertain = Some(name);
                self.crash("after a definition that failed");
            }
            None => {
                self.others.uncertain = Some(name);
                self.crash("in a definition");
            }
        }
    }

    fn record(&mut self) {
        let (key, value) = (vec![self.rng.below(3) as u8], self.rng.next_u64().to_le_bytes().to_vec());
        self.tell(|| format!("record {key:?}"));
        let mut batch = MetaBatch::default();
        batch.put(key.clone(), value.clone());
        let store = Arc::clone(self.life.store());
        match self.life.run(&mut self.rng, async move { store.meta().write(batch).await }) {
            Some(Ok(())) => _ = self.others.records.insert(key, value),
            done => {
                done.map(|failed| self.expect_fault(&failed.unwrap_err())).unwrap_or_default();
                self.others.uncertain_record = Some((key, value));
                self.crash("in a record");
            }
        }
    }

    /// After a start: everything whose end is known is as it should be, and what is not is there wholly or not at all.
    pub(super) fn settle_others(&mut self) {
        let store = Arc::clone(self.life.store());
        let tables = store.tables().into_iter().filter(|t| t.id != self.table.id);
        let mut found = BTreeSet::new();
        for table in tables {
            let (view, initial) = (store.view(), read::Initial::new());
            let rows = self.life.block_on(read::rows(&store, &view, &table, 1, &initial)).unwrap();
            let keys: Vec<&Key> = rows.keys().collect();
            assert_eq!(keys, first_rows().iter().map(|(key, _)| key).collect::<Vec<_>>(), "{}", table.name);
            assert!(found.insert(table.name.clone()), "two tables of one name");
        }
        if let Some(name) = self.others.uncertain.take() {
            self.others.tables.remove(&name);
            self.others.tables.extend(found.get(&name).cloned());
        }
        assert_eq!(found, self.others.tables);
        if let Some((key, value)) = self.others.uncertain_record.take()
            && store.meta().get(&key).unwrap().as_ref() == Some(&value)
        {
            self.others.records.insert(key, value);
        }
        let records = store.meta().scan(&[]).unwrap();
        assert_eq!(records, self.others.records.clone().into_iter().collect::<Vec<_>>());
    }
}

fn first_rows() -> Vec<(Key, Values)> {
    (0..3).map(|n| (("x".to_owned(), n), Values::new())).collect()
}

/// Makes a table with rows, in the place of the one of that name if there is one.
async fn create(store: &Arc<Store>, table: NewTable, flush: bool) -> insula_storage::Result<()> {
    let replaced = store.tables().into_iter().find(|t| t.name == table.name).map(|t| t.id);
    let def = store.declare_table(table)?;
    let mut rows = store.write_set(&def, UserNo(1));
    rows.insert(&statement::batch(&def, &first_rows()))?;
    store.create_filled(&def, None, Filling::Set(rows), replaced, MetaBatch::default()).await?;
    if flush {
        store.flush(def.id).await?;
    }
    Ok(())
}
