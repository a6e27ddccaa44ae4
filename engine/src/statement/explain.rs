//! `EXPLAIN`, also of statements that write: those show the query by which they find their rows, and are never run.

use datafusion::{logical_expr::LogicalPlan, sql::sqlparser::ast::Statement as Ast};

use crate::{Error, Result, context::Context, write::Write};

/// The plan of a query or of an `EXPLAIN`.
pub(super) fn plan(context: &Context, ast: Ast) -> Result<LogicalPlan> {
    let Ast::Explain { analyze, statement, .. } = &ast else { return context.plan(ast) };
    match statement.as_ref() {
        Ast::Query(_) => context.plan(ast),
        Ast::Insert(_) | Ast::Update(_) | Ast::Delete(_) if *analyze => {
            Err(Error::invalid("EXPLAIN ANALYZE would run a statement that writes; use EXPLAIN"))
        }
        Ast::Insert(_) | Ast::Update(_) | Ast::Delete(_) => {
            let query = Write::new(statement.as_ref().clone())?.plan(context)?.query().clone();
            explain(query, &ast)
        }
        _ => Err(Error::invalid("EXPLAIN takes SELECT, INSERT, UPDATE or DELETE")),
    }
}

fn explain(query: LogicalPlan, ast: &Ast) -> Result<LogicalPlan> {
    let verbose = matches!(ast, Ast::Explain { verbose: true, .. });
    Ok(datafusion::logical_expr::LogicalPlanBuilder::from(query).explain(verbose, false)?.build()?)
}
