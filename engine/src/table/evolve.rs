//! Parquet files of older versions of a table, in DataFusion's terms: where a file lacks a column that was added after
//! it, the column's initial value stands in expressions over the file, in filters and pruning too; columns that were
//! widened are cast. Storage's `conform` says the same of batches.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef},
    datatypes::SchemaRef,
};
use datafusion::{
    common::ScalarValue,
    error::Result,
    physical_expr_adapter::{
        DefaultPhysicalExprAdapter, PhysicalExprAdapter, PhysicalExprAdapterFactory, replace_columns_with_literals,
    },
    physical_plan::PhysicalExpr,
};
use insula_storage::TableDef;

use crate::{Error, types::seen_type};

/// Adapts expressions over a table to each of its files.
#[derive(Debug)]
pub(super) struct Evolution {
    /// Initial values by stored name. A column without one is NULL where it is missing.
    initial: HashMap<String, ScalarValue>,
}

impl Evolution {
    pub fn of(table: &TableDef) -> Result<Arc<Self>> {
        let values = table.initial_values().map_err(Error::from)?.into_iter();
        let seen = |value: ArrayRef| ScalarValue::try_from_array(&value, 0)?.cast_to(&seen_type(value.data_type()));
        let values = values.map(|(name, value)| Ok((name, seen(value)?)));
        Ok(Arc::new(Self { initial: values.collect::<Result<_>>()? }))
    }
}

impl PhysicalExprAdapterFactory for Evolution {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let missing = self.initial.iter().filter(|(name, _)| file.index_of(name).is_err());
        let missing = missing.map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(Arc::new(FileAdapter { missing, rest: DefaultPhysicalExprAdapter::new(table, file) }))
    }
}

#[derive(Debug)]
struct FileAdapter {
    missing: HashMap<String, ScalarValue>,
    rest: DefaultPhysicalExprAdapter,
}

impl PhysicalExprAdapter for FileAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let expr = if self.missing.is_empty() { expr } else { replace_columns_with_literals(expr, &self.missing)? };
        self.rest.rewrite(expr)
    }
}
