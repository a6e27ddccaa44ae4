//! ALTER TABLE: columns come, go, get other names and wider types, over rows of every age on both tiers.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int32Array, Int64Array},
    datatypes::{DataType, Field},
};
use insula_storage::{Alteration, NewColumn, TableDef};

use super::World;

/// Columns beside the key; more would only be the same again.
const MOST: usize = 5;

impl World {
    pub(super) fn alter(&mut self) {
        let Some(action) = self.alteration() else { return };
        self.tell(|| format!("{action:?}"));
        let (store, table) = (Arc::clone(self.life.store()), self.table.id);
        let done = self.life.run(&mut self.rng, async move { store.alter_table(table, &[action], None).await });
        match done {
            Some(Ok(def)) => {
                self.totals.alterations += 1;
                self.altered(&def);
            }
            Some(Err(error)) => {
                self.expect_fault(&error);
                self.crash("after an ALTER that failed");
            }
            None => self.crash("in an ALTER"),
        }
    }

    /// Brings the maps to a definition. After a crash that is how it is found out whether an ALTER came to pass.
    pub(super) fn altered(&mut self, def: &Arc<TableDef>) {
        for column in &def.columns {
            if self.table.columns.iter().any(|old| old.id == column.id) {
                continue;
            }
            // What the column began with, which its name tells.
            let initial = column.field.name().rsplit('_').next().and_then(|number| number.parse::<i64>().ok());
            self.initial.insert(column.id.0, initial);
            let rows = self.users.iter_mut().flat_map(|rows| rows.values_mut());
            rows.for_each(|row| _ = row.values.insert(column.id.0, initial));
        }
        for row in self.users.iter_mut().flat_map(|rows| rows.values_mut()) {
            row.values.retain(|id, _| def.columns.iter().any(|column| column.id.0 == *id));
        }
        self.table = Arc::clone(def);
    }

    fn alteration(&mut self) -> Option<Alteration> {
        let columns = self.table.columns.iter().enumerate().filter(|(i, _)| !self.table.key.contains(i));
        let columns: Vec<Arc<Field>> = columns.map(|(_, column)| Arc::clone(&column.field)).collect();
        let any = columns.get(self.rng.below(columns.len().max(1) as u64) as usize).cloned();
        // Names come back after their columns went: the new column must show none of the old one's values.
        let name = format!("{}_", ["x", "y", "z"][self.rng.below(3) as usize]);
        let taken = columns.iter().any(|field| field.name().starts_with(&name));
        match (self.rng.below(4), any) {
            (0 | 1, _) if columns.len() < MOST && !taken => Some(self.added(&name)),
            (1, Some(field)) => Some(Alteration::Drop { column: field.name().clone(), if_exists: false }),
            (2, Some(field)) => {
                let to = format!("renamed{}_{}", self.totals.steps, field.name());
                Some(Alteration::Rename { from: field.name().clone(), to, checks: Vec::new() })
            }
            (_, Some(field)) => Some(Alteration::Widen { column: field.name().clone(), to: DataType::Int64 }),
            _ => None,
        }
    }

    fn added(&mut self, name: &str) -> Alteration {
        let initial = (self.rng.below(3) > 0).then(|| self.rng.below(1000) as i32);
        let (data_type, array): (DataType, ArrayRef) = match self.rng.below(2) {
            0 => (DataType::Int32, Arc::new(Int32Array::from(vec![initial]))),
            _ => (DataType::Int64, Arc::new(Int64Array::from(vec![initial.map(i64::from)]))),
        };
        let name = format!("{name}{}", initial.map_or("null".into(), |number| number.to_string()));
        let field = Arc::new(Field::new(name, data_type, true));
        Alteration::Add { column: NewColumn { field, default: None }, initial: array, if_not_exists: false }
    }
}
