//! Decimals as they are written. DataFusion reads a literal with a point, or with more digits than an integer has, as
//! DOUBLE, which keeps some sixteen digits; where a decimal is asked for, all of them count. So such a literal becomes a
//! text there, of which every digit is read. Elsewhere it stays DOUBLE, as clients of Arrow expect of 0.5.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    DataType as Name, Expr, Statement, UnaryOperator, Value, ValueWithSpan, visit_expressions_mut,
};

/// In `CAST(… AS DECIMAL)` and `…::DECIMAL`.
pub(super) fn in_casts(statement: &mut Statement) {
    let _: ControlFlow<()> = visit_expressions_mut(statement, |expr| {
        if let Expr::Cast { expr, data_type: Name::Decimal(_) | Name::Numeric(_) | Name::Dec(_), .. } = expr {
            digits(expr);
        }
        ControlFlow::Continue(())
    });
}

/// As the value of a column of this type.
pub(crate) fn for_column(value: &mut Expr, of: &DataType) {
    if of.is_decimal() {
        digits(value);
    }
}

fn digits(expr: &mut Expr) {
    if let Some(value) = number(expr) {
        *value = Value::SingleQuotedString(value.to_string());
        return;
    }
    if let Expr::UnaryOp { op: UnaryOperator::Minus, expr: positive } = expr
        && let Some(value) = number(positive)
    {
        *expr = Expr::Value(Value::SingleQuotedString(format!("-{value}")).into());
    }
}

/// A literal of digits and a point, without an exponent.
fn number(expr: &mut Expr) -> Option<&mut Value> {
    match expr {
        Expr::Nested(inner) => number(inner),
        Expr::Value(ValueWithSpan { value, .. }) => match value {
            Value::Number(text, _) if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => Some(value),
            _ => None,
        },
        _ => None,
    }
}
