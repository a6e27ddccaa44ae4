//! What a statement's filters say of a table's key: single keys, a range of them, or nothing.
//!
//! The answer may hold more keys than the filters let through, never fewer: DataFusion applies the filters again. So a
//! filter that is not understood here is passed over, and an open end of a range is taken for a closed one.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef},
    compute::cast,
    datatypes::DataType,
};
use datafusion::{
    common::ScalarValue,
    error::Result,
    logical_expr::{Between, BinaryExpr, Expr, Operator, expr::InList, utils::split_conjunction},
};
use insula_storage::{KeyBounds, KeyCodec, KeyRange, TableDef};

use super::provider::Column;
use crate::Error;

/// Single keys beyond which they are a range.
const MOST_KEYS: usize = 1024;

/// What is known of one column of the key.
#[derive(Default)]
struct Known {
    /// It has one of these values.
    values: Option<Vec<ScalarValue>>,
    low: Option<ScalarValue>,
    high: Option<ScalarValue>,
}

/// `columns`: all that the statement sees of the table; its filters name them.
pub(super) fn wanted(table: &TableDef, columns: &[Column], filters: &[Expr]) -> Result<KeyBounds> {
    let filters: Vec<&Expr> = filters.iter().flat_map(split_conjunction).collect();
    let (schema, mut known) = (table.stored_schema(), Vec::new());
    for stored in table.stored_key() {
        let Some(column) = columns.iter().find(|column| column.stored == stored) else { break };
        // The order of floats is Arrow's here and ours there; they differ on NaN and on zeros.
        if column.field.data_type().is_floating() {
            break;
        }
        known.push(of_column(column.field.name(), schema.field(stored).data_type(), &filters));
    }
    bounds(table, &known)
}

fn bounds(table: &TableDef, known: &[Known]) -> Result<KeyBounds> {
    let codec = KeyCodec::new(table).map_err(Error::from)?;
    // All combinations of the values of the first columns.
    let mut firsts: Vec<Vec<ScalarValue>> = vec![Vec::new()];
    let mut bound = 0;
    for values in known.iter().map_while(|column| column.values.as_ref()) {
        if firsts.len() * values.len() > MOST_KEYS {
            break;
        }
        let longer = |first: &Vec<ScalarValue>| -> Vec<Vec<ScalarValue>> {
            values.iter().map(|value| first.iter().chain([value]).cloned().collect()).collect()
        };
        firsts = firsts.iter().flat_map(longer).collect();
        bound += 1;
    }
    if firsts.is_empty() || bound == table.stored_key().len() {
        let columns: Vec<ArrayRef> = (0..table.stored_key().len())
            .map(|i| match firsts.is_empty() {
                true => {
                    Ok(arrow::array::new_empty_array(table.stored_schema().field(table.stored_key()[i]).data_type()))
                }
                false => ScalarValue::iter_to_array(firsts.iter().map(|first| first[i].clone())),
            })
            .collect::<Result<_>>()?;
        return Ok(KeyBounds::keys(&codec.encode(&columns).map_err(Error::from)?));
    }
    let (low, high) = match known.get(bound) {
        Some(Known { values: Some(values), .. }) => (values.iter().min_by(order), values.iter().max_by(order)),
        Some(Known { low, high, .. }) => (low.as_ref(), high.as_ref()),
        None => (None, None),
    };
    if bound == 0 && low.is_none() && high.is_none() {
        return Ok(KeyBounds::All);
    }
    let prefix = |first: &Vec<ScalarValue>, end: Option<&ScalarValue>| -> Result<Vec<u8>> {
        let values = first.iter().chain(end).map(ScalarValue::to_array).collect::<Result<Vec<_>>>()?;
        Ok(codec.prefix(&values).map_err(Error::from)?)
    };
    let lows = firsts.iter().map(|first| prefix(first, low)).collect::<Result<Vec<_>>>()?;
    let highs = firsts.iter().map(|first| prefix(first, high)).collect::<Result<Vec<_>>>()?;
    let (low, high) = (lows.into_iter().min().unwrap_or_default(), highs.into_iter().max().unwrap_or_default());
    Ok(KeyBounds::Range(KeyRange::of_prefixes(low, &high)))
}

/// Values of one type always compare.
fn order(a: &&ScalarValue, b: &&ScalarValue) -> std::cmp::Ordering {
    a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal)
}

fn of_column(name: &str, data_type: &DataType, filters: &[&Expr]) -> Known {
    let mut known = Known::default();
    for filter in filters {
        if let Some(values) = values(filter, name, data_type) {
            // Both hold; the smaller set is the better one.
            if known.values.as_ref().is_none_or(|known| known.len() > values.len()) {
                known.values = Some(values);
            }
            continue;
        }
        let (low, high) = ends(filter, name, data_type);
        known.low = [known.low, low].into_iter().flatten().max_by(|a, b| order(&a, &b));
        known.high = [known.high, high].into_iter().flatten().min_by(|a, b| order(&a, &b));
    }
    known
}

/// The values of which the filter lets the column have one.
fn values(filter: &Expr, name: &str, data_type: &DataType) -> Option<Vec<ScalarValue>> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let literal = if is_column(left, name) { right } else { Some(left).filter(|_| is_column(right, name))? };
            Some(vec![value(literal, data_type)?])
        }
        // Short lists come as this.
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let mut either = values(left, name, data_type)?;
            either.extend(values(right, name, data_type)?);
            (either.len() <= MOST_KEYS).then_some(either)
        }
        Expr::InList(InList { expr, list, negated: false }) if is_column(expr, name) => {
            list.iter().map(|literal| value(literal, data_type)).collect()
        }
        _ => None,
    }
}

/// The least and the greatest value that the filter lets the column have.
fn ends(filter: &Expr, name: &str, data_type: &DataType) -> (Option<ScalarValue>, Option<ScalarValue>) {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (op, literal) = if is_column(left, name) {
                (Some(*op), right)
            } else if is_column(right, name) {
                (op.swap(), left)
            } else {
                return (None, None);
            };
            match op {
                Some(Operator::Lt | Operator::LtEq) => (None, value(literal, data_type)),
                Some(Operator::Gt | Operator::GtEq) => (value(literal, data_type), None),
                _ => (None, None),
            }
        }
        Expr::Between(Between { expr, negated: false, low, high }) if is_column(expr, name) => {
            (value(low, data_type), value(high, data_type))
        }
        _ => (None, None),
    }
}

fn is_column(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Column(column) if column.name == name)
}

/// A literal of the column's type, or one that is the same in it.
fn value(expr: &Expr, data_type: &DataType) -> Option<ScalarValue> {
    let Expr::Literal(value, _) = expr else { return None };
    value_of(value, data_type)
}

/// The value as one of the column's type, where it is the same in it; NULL never is.
pub(super) fn value_of(value: &ScalarValue, data_type: &DataType) -> Option<ScalarValue> {
    if value.is_null() {
        None
    } else if value.data_type() == *data_type {
        Some(value.clone())
    } else if is_text(&value.data_type()) && is_text(data_type) {
        value.cast_to(data_type).ok()
    } else {
        None
    }
}

/// The same of values in a column.
pub(super) fn column_of(values: &ArrayRef, data_type: &DataType) -> Option<ArrayRef> {
    if values.logical_null_count() > 0 {
        None
    } else if values.data_type() == data_type {
        Some(Arc::clone(values))
    } else if is_text(values.data_type()) && is_text(data_type) {
        cast(values, data_type).ok()
    } else {
        None
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

#[cfg(test)]
mod tests;
