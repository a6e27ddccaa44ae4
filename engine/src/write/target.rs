//! The target of a statement that changes rows, inside its own query: the table under the name that the statement gave it, with
//! the hidden row id, live rows only.

use std::{ops::ControlFlow, sync::Arc};

use datafusion::common::TableReference;
use datafusion::sql::sqlparser::{
    ast::{
        Delete, Expr, FromTable, Ident, ObjectName, Query, Select, SelectItem, SetExpr, Statement as Ast, TableAlias,
        TableFactor, TableWithJoins, Truncate, visit_expressions, visit_relations,
    },
    dialect::GenericDialect,
    parser::Parser,
};
use insula_storage::TableDef;

use super::plan::ROW_ID;
use crate::{
    Error, Result,
    catalog::Snapshot,
    context::Context,
    grants::Privilege,
    sql::{is_default_keyword, normalize, parts, quoted},
    table::{is_target_name, target_name},
};

pub(super) struct TargetTable {
    pub table: Arc<TableDef>,
    /// The relation to read, and the name by which the statement's expressions mean it.
    relation: TableFactor,
    alias: Ident,
}

impl TargetTable {
    /// `needed`: what changing it takes.
    pub fn new(context: &Context, target: &TableWithJoins, needed: Privilege) -> Result<Self> {
        let TableFactor::Table { name, alias, args: None, .. } = &target.relation else {
            return Err(Error::invalid("a statement changes the rows of a table, not those of a query"));
        };
        if !target.joins.is_empty() {
            return Err(Error::invalid("a statement changes one table; name further tables in FROM or USING"));
        }
        let table = Arc::clone(context.tables.definition(&parts(name)?)?);
        context.tables.require(&table, needed)?;
        let alias = alias.as_ref().map_or_else(|| quoted(&table.name), |alias| alias.name.clone());
        Ok(Self::read_from(context, table, target.relation.clone(), alias))
    }

    /// A table that its user may change, under this name.
    pub fn of(context: &Context, table: &Arc<TableDef>, alias: Ident) -> Result<Self> {
        let mut query = query("SELECT * FROM t")?;
        let relation = select_of(&mut query)?.from.pop().map(|table| table.relation);
        let relation = relation.ok_or_else(|| Error::internal("FROM has no table"))?;
        Ok(Self::read_from(context, Arc::clone(table), relation, alias))
    }

    fn read_from(context: &Context, table: Arc<TableDef>, mut relation: TableFactor, alias: Ident) -> Self {
        context.tables.set_changed(&table);
        if let TableFactor::Table { name, alias: given, .. } = &mut relation {
            *name = ObjectName::from(target_name(&table).map(quoted).to_vec());
            *given = Some(TableAlias { explicit: true, name: alias.clone(), columns: Vec::new(), at: None });
        }
        Self { table, relation, alias }
    }

    /// By which expressions mean it.
    pub fn name(&self) -> TableReference {
        TableReference::bare(normalize(&self.alias))
    }

    /// All its rows, with all columns that the statement may name.
    pub fn all(&self) -> Result<Query> {
        select_all(self.relation.clone())
    }

    /// The declared columns with their values before the statement.
    pub fn old_columns(&self) -> Vec<SelectItem> {
        let names = self.table.columns.iter().map(|column| column.field.name());
        names.enumerate().map(|(i, name)| self.column(name, &format!("old {i}"))).collect()
    }

    pub fn row_id(&self) -> Option<SelectItem> {
        self.table.has_row_id().then(|| self.column(ROW_ID, ROW_ID))
    }

    fn column(&self, name: &str, alias: &str) -> SelectItem {
        let expr = Expr::CompoundIdentifier(vec![self.alias.clone(), quoted(name)]);
        SelectItem::ExprWithAlias { expr, alias: quoted(alias) }
    }
}

/// The target's own name is the server's: by it a statement would read rows that its user may only change.
pub(super) fn refuse_target_names(ast: &Ast) -> Result<()> {
    let found = visit_relations(ast, |name| match parts(name) {
        Ok(parts) if is_target_name(&parts) => ControlFlow::Break(parts.join(".")),
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(name) => Err(Error::not_found(format!("table \"{name}\" does not exist"))),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// As in PostgreSQL, a value that is computed from columns, or a condition, reads.
pub(super) fn reads_columns(value: &Expr) -> bool {
    let found = visit_expressions(value, |expr| match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) if !is_default_keyword(expr) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// The table that a DELETE names, if it names one.
pub(super) fn of_delete(delete: &Delete) -> Option<&TableWithJoins> {
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
    match from.as_slice() {
        [one] => Some(one),
        _ => None,
    }
}

/// What the name of a target leads to, as far as that can be told without planning; `None`: planning will tell.
pub(super) fn definition<'a>(
    target: &TableWithJoins,
    catalog: &'a Snapshot,
    namespace: &dyn Fn() -> Result<String>,
) -> Option<&'a Arc<TableDef>> {
    let TableFactor::Table { name, .. } = &target.relation else { return None };
    match parts(name).ok()?.as_slice() {
        [table] => catalog.get(&namespace().ok()?, table),
        [namespace, table] | [_, namespace, table] => catalog.get(namespace, table),
        _ => None,
    }
}

/// `SELECT projection FROM target, from… WHERE selection`.
pub(super) fn select(
    target: &TargetTable,
    from: Vec<TableWithJoins>,
    selection: Option<Expr>,
    projection: Vec<SelectItem>,
) -> Result<Query> {
    let mut query = query("SELECT 1")?;
    let select = select_of(&mut query)?;
    select.projection = projection;
    select.from = vec![TableWithJoins { relation: target.relation.clone(), joins: Vec::new() }];
    select.from.extend(from);
    select.selection = selection;
    Ok(query)
}

/// `SELECT * FROM relation`.
pub(super) fn select_all(relation: TableFactor) -> Result<Query> {
    let mut query = query("SELECT *")?;
    select_of(&mut query)?.from = vec![TableWithJoins { relation, joins: Vec::new() }];
    Ok(query)
}

/// The syntax tree has dozens of fields; the parser knows what they are when nothing is said.
fn query(sql: &str) -> Result<Query> {
    let statement = Parser::new(&GenericDialect {}).try_with_sql(sql).and_then(|mut p| p.parse_statement());
    match statement {
        Ok(Ast::Query(query)) => Ok(*query),
        _ => Err(Error::internal("the parser does not know SELECT")),
    }
}

fn select_of(query: &mut Query) -> Result<&mut Select> {
    match query.body.as_mut() {
        SetExpr::Select(select) => Ok(select),
        _ => Err(Error::internal("SELECT is no SELECT")),
    }
}

/// `TRUNCATE t` deletes all rows that the caller sees.
pub(super) fn delete_of(truncate: Truncate) -> Result<Delete> {
    let [target] = truncate.table_names.as_slice() else {
        return Err(Error::invalid("TRUNCATE takes one table"));
    };
    let statement = Parser::new(&GenericDialect {}).try_with_sql("DELETE FROM t").and_then(|mut p| p.parse_statement());
    let Ok(Ast::Delete(mut delete)) = statement else { return Err(Error::internal("the parser does not know DELETE")) };
    if let FromTable::WithFromKeyword(from) = &mut delete.from
        && let Some(TableWithJoins { relation: TableFactor::Table { name, .. }, .. }) = from.first_mut()
    {
        *name = target.name.clone();
    }
    Ok(delete)
}
