//! Calls with arguments that PostgreSQL adds by itself.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::{
    ast::{Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Statement, visit_expressions_mut},
    dialect::GenericDialect,
    parser::Parser,
};

use super::normalize;
use crate::{Error, Result};

/// `age(x)` counts to the beginning of this day.
pub(super) fn complete(statement: &mut Statement) -> Result<()> {
    let flow = visit_expressions_mut(statement, |expr| {
        if let Expr::Function(function) = expr
            && let [name] = function.name.0.as_slice()
            && name.as_ident().is_some_and(|name| normalize(name) == "age")
            && let FunctionArguments::List(list) = &mut function.args
            && list.args.len() == 1
        {
            let today = Parser::new(&GenericDialect {})
                .try_with_sql("CAST(current_date AS TIMESTAMP)")
                .and_then(|mut parser| parser.parse_expr());
            match today {
                Ok(today) => list.args.insert(0, FunctionArg::Unnamed(FunctionArgExpr::Expr(today))),
                Err(_) => return ControlFlow::Break(Error::internal("the parser does not know a cast")),
            }
        }
        ControlFlow::Continue(())
    });
    match flow {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}
