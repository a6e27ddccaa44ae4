//! How much a statement may ask of the server, as far as that can be told before it runs. It decides where a statement
//! runs and whether it waits for others, and nothing else: whoever is taken for light is still bounded by memory and time.

use std::ops::ControlFlow;

use datafusion::{
    common::{
        ScalarValue,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{Expr as Expression, LogicalPlan},
    sql::sqlparser::ast::{BinaryOperator, Expr, Insert, SetExpr, Visit, Visitor},
};
use insula_storage::TableDef;

use super::direct;
use crate::system;

/// Bytes of a text, or of a plan that a client has made, beyond which it is data rather than a question: to read and plan
/// it takes milliseconds and memory, without a pause.
pub(crate) const LONGEST_LIGHT: usize = 64 << 10;
/// Bytes that a word of a text takes, measured with an insert of many short values.
const WORD_BYTES: usize = 512;
/// Bytes that a byte of a Substrait plan takes.
const MESSAGE_FACTOR: usize = 16;
/// What the names of functions begin with that take long by what they are given, or make much of little for others to take
/// long by. Where that is constant they are worked out while the statement is planned, without a pause.
const COSTLY: [&str; 13] = [
    "array_",
    "format",
    "generate_series",
    "levenshtein",
    "list_",
    "lpad",
    "range",
    "regexp_",
    "repeat",
    "replace",
    "rpad",
    "string_to_",
    "translate",
];
/// Rows of an insert beyond which it is no small one.
pub(super) const FEW_ROWS: usize = 1_000;
/// Keys of one column that an update or delete may name.
const FEW_KEYS: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weight {
    /// Reads or writes single keys, or nothing that is stored. It never waits for a slot.
    Light,
    /// All else.
    Heavy,
}

impl Weight {
    /// Of planning a text.
    pub fn of_text(sql: &str) -> Self {
        Self::light_if(sql.len() <= LONGEST_LIGHT && !calls_costly(sql))
    }

    /// Of planning a Substrait plan.
    pub fn of_message(message: &[u8]) -> Self {
        let names_costly = || {
            let names = String::from_utf8_lossy(message).to_ascii_lowercase();
            COSTLY.iter().any(|name| names.contains(name))
        };
        Self::light_if(message.len() <= LONGEST_LIGHT && !names_costly())
    }

    pub(super) fn light_if(light: bool) -> Self {
        if light { Self::Light } else { Self::Heavy }
    }
}

fn is_costly(function: &str) -> bool {
    COSTLY.iter().any(|begin| function.starts_with(begin))
}

/// Whether such a name stands in the text, and no other word behind it: that of `REPLACE INTO` is no function. What it says of
/// texts within the text does no harm.
fn calls_costly(sql: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = sql;
    while let Some(start) = rest.find(is_part) {
        let word = &rest[start..];
        let end = word.find(|c| !is_part(c)).unwrap_or(word.len());
        let (word, behind) = word.split_at(end);
        let stands_alone = !behind.trim_start().starts_with(is_part);
        if stands_alone && is_costly(&word.to_ascii_lowercase()) {
            return true;
        }
        rest = behind;
    }
    false
}

/// Bytes of memory that reading a text takes, about: words are kept as tokens, then as syntax, then as a plan. What
/// stands in quotes is one word.
pub(crate) fn text_memory(sql: &str) -> usize {
    let (mut words, mut quoted, mut within) = (0_usize, false, false);
    for byte in sql.bytes() {
        quoted ^= byte == b'\'';
        let is_part = quoted || byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'\'') || !byte.is_ascii();
        words += usize::from(!is_part && !byte.is_ascii_whitespace()) + usize::from(is_part && !within);
        within = is_part;
    }
    words.saturating_mul(WORD_BYTES).saturating_add(3 * sql.len())
}

/// The same of a Substrait plan, whose fields are decoded one by one.
pub(crate) fn message_memory(message: &[u8]) -> usize {
    message.len().saturating_mul(MESSAGE_FACTOR)
}

/// Of an optimized query. `parameters`: a value for each, of its type; what value does not matter.
pub(super) fn of_query(plan: &LogicalPlan, parameters: Option<Vec<ScalarValue>>) -> Result<Weight> {
    if reads_nothing_stored(plan)? {
        return Ok(Weight::Light);
    }
    let Some(values) = parameters.filter(|values| !values.is_empty()) else {
        return direct::reads_keys(plan).map(Weight::light_if);
    };
    let plan = plan.clone().with_param_values(super::parameters::as_values(values))?;
    direct::reads_keys(&plan).map(Weight::light_if)
}

/// Neither tables of users, nor anything that makes many rows of few, or takes long for one.
pub(super) fn reads_nothing_stored(plan: &LogicalPlan) -> Result<bool> {
    // What it would do is planned, and not done.
    if matches!(plan, LogicalPlan::Explain(_)) {
        return Ok(true);
    }
    let mut nothing = true;
    plan.apply_with_subqueries(|node| {
        nothing &= match node {
            LogicalPlan::TableScan(scan) => system::is_system(scan),
            LogicalPlan::Join(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::RecursiveQuery(_)
            | LogicalPlan::Extension(_)
            | LogicalPlan::Analyze(_) => false,
            _ => true,
        };
        node.apply_expressions(|expr| {
            nothing &= !expr
                .exists(|expr| Ok(matches!(expr, Expression::ScalarFunction(call) if is_costly(call.func.name()))))?;
            Ok(if nothing { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        })?;
        Ok(if nothing { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(nothing)
}

/// Of an INSERT or REPLACE with so many rows of parameters.
pub(crate) fn of_insert(insert: &Insert, parameters: usize) -> Weight {
    let few = match insert.source.as_ref().map(|source| source.body.as_ref()) {
        Some(SetExpr::Values(values)) => values.rows.len().saturating_mul(parameters.max(1)) <= FEW_ROWS,
        Some(_) => false,
        None => true,
    };
    Weight::light_if(few && !holds_query_beside_values(insert))
}

/// Of an UPDATE or DELETE of one table: light where its condition names the table's whole key.
pub(crate) fn of_change(table: &TableDef, selection: Option<&Expr>, parameters: usize) -> Weight {
    let Some(selection) = selection else { return Weight::Heavy };
    let mut named = Vec::new();
    named_columns(selection, &mut named);
    let key = table.key.iter().map(|column| table.columns[*column].field.name());
    let whole = !table.key.is_empty() && key.into_iter().all(|column| named.contains(column));
    Weight::light_if(whole && parameters <= FEW_ROWS && !holds_query(selection))
}

/// The columns that every row of the result has one of few given values in.
fn named_columns(condition: &Expr, named: &mut Vec<String>) {
    match condition {
        Expr::Nested(inner) => named_columns(inner, named),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            named_columns(left, named);
            named_columns(right, named);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            named.extend(if is_given(right) { column(left) } else { None });
            named.extend(if is_given(left) { column(right) } else { None });
        }
        Expr::InList { expr, list, negated: false } if list.len() <= FEW_KEYS && list.iter().all(is_given) => {
            named.extend(column(expr));
        }
        _ => {}
    }
}

fn column(expr: &Expr) -> Option<String> {
    let ident = match expr {
        Expr::Identifier(ident) => ident,
        Expr::CompoundIdentifier(idents) => idents.last()?,
        _ => return None,
    };
    Some(crate::sql::normalize(ident))
}

fn is_given(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) | Expr::TypedString(_) => true,
        Expr::UnaryOp { expr, .. } | Expr::Cast { expr, .. } | Expr::Nested(expr) => is_given(expr),
        _ => false,
    }
}

/// Counts queries within what it visits.
#[derive(Default)]
struct Queries(usize);

impl Visitor for Queries {
    type Break = ();

    fn pre_visit_query(&mut self, _: &datafusion::sql::sqlparser::ast::Query) -> ControlFlow<()> {
        self.0 += 1;
        ControlFlow::Continue(())
    }
}

fn queries_in(what: &impl Visit) -> usize {
    let mut queries = Queries::default();
    let _ = what.visit(&mut queries);
    queries.0
}

pub(crate) fn holds_query(what: &impl Visit) -> bool {
    queries_in(what) > 0
}

/// The VALUES of an insert are one query themselves.
fn holds_query_beside_values(insert: &Insert) -> bool {
    queries_in(insert) > usize::from(insert.source.is_some())
}

#[cfg(test)]
mod tests;
