//! What the audit is told of a statement: its verb, and the names of the tables that it touches.

use std::{collections::BTreeSet, sync::Arc};

use datafusion::{
    common::tree_node::TreeNodeRecursion, datasource::source_as_provider, logical_expr::LogicalPlan,
    sql::sqlparser::ast::Statement as Ast,
};

use super::{Definition, Utility, Work};
use crate::{Result, audit::Verb, system::SystemTable, table::UserTable, write::Write};

/// Names of tables, each once.
pub(crate) type Names = Arc<[Arc<str>]>;

impl Work {
    pub fn verb(&self) -> Verb {
        match self {
            Self::Query(ast) if matches!(**ast, Ast::Explain { .. }) => Verb::Explain,
            Self::Query(_) => Verb::Select,
            Self::Write(write) => match **write {
                Write::Insert(_) | Write::Upsert(_) => Verb::Insert,
                Write::Merge(_) => Verb::Merge,
                Write::Update(_) => Verb::Update,
                Write::Delete(_) => Verb::Delete,
            },
            Self::Define(definition) => definition.verb(),
            Self::Utility(utility) => utility.verb(),
            Self::Control(control) => control.verb(),
            Self::Outside(_) => Verb::External,
        }
    }
}

impl Definition {
    fn verb(&self) -> Verb {
        match self {
            Self::CreateNamespace { .. } | Self::CreateTable { .. } => Verb::Create,
            Self::AlterTable(_) => Verb::Alter,
            Self::DropNamespace { .. } | Self::DropTables { .. } => Verb::Drop,
            Self::CreateUser { .. } | Self::AlterUser { .. } | Self::DropUser { .. } => Verb::User,
            Self::Grant(grant) if grant.revoke => Verb::Revoke,
            Self::Grant(_) => Verb::Grant,
            Self::Set { .. } | Self::Reset { .. } => Verb::Set,
        }
    }

    /// As the statement writes them.
    pub fn names(&self) -> Names {
        match self {
            Self::CreateTable { ast, .. } => match &**ast {
                Ast::CreateTable(table) => [table.name.to_string().into()].into(),
                _ => Arc::default(),
            },
            Self::AlterTable(alter) => [alter.name.to_string().into()].into(),
            Self::DropTables { names, .. } => names.iter().map(|name| name.join(".").into()).collect(),
            Self::CreateNamespace { name, .. } => [name.as_str().into()].into(),
            Self::DropNamespace { names, .. } => names.iter().map(|name| name.as_str().into()).collect(),
            Self::CreateUser { .. } | Self::AlterUser { .. } | Self::DropUser { .. } => Arc::default(),
            Self::Grant(grant) => grant.objects.names().iter().map(|name| name.join(".").into()).collect(),
            Self::Set { .. } | Self::Reset { .. } => Arc::default(),
        }
    }
}

impl Utility {
    fn verb(&self) -> Verb {
        match self {
            Self::FlushTable(_) | Self::FlushAll => Verb::Flush,
            Self::CompactTable(_) => Verb::Compact,
            Self::EraseUser { .. } => Verb::User,
            Self::Backup(_) => Verb::Backup,
            Self::Restore(_) => Verb::Restore,
            Self::KillQuery(_) => Verb::Kill,
            Self::ShowNamespaces(_) | Self::ShowJobs | Self::ShowTables { .. } | Self::ShowColumns(..) => Verb::Show,
            Self::TableHistory(_) | Self::ShowSetting(_) | Self::ShowCreate(_) => Verb::Show,
        }
    }
}

impl Utility {
    /// As the statement writes them.
    pub fn names(&self) -> Names {
        match self {
            Self::FlushTable(name)
            | Self::CompactTable(name)
            | Self::ShowColumns(name, _)
            | Self::ShowCreate(name)
            | Self::TableHistory(name) => [name.join(".").into()].into(),
            _ => Arc::default(),
        }
    }
}

/// The tables that a query reads.
pub(super) fn names_of(plan: &LogicalPlan) -> Result<Names> {
    let mut names = BTreeSet::new();
    each_table(plan, |table| match table {
        Table::User(table) => {
            names.insert(format!("{}.{}", table.def.namespace, table.def.name));
        }
        Table::System(table) => {
            names.insert(table.name());
        }
    })?;
    Ok(names.into_iter().map(Arc::from).collect())
}

/// Whether a table is among them whose rows are made for one reader at one moment.
pub(super) fn reads_system(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    each_table(plan, |table| found |= matches!(table, Table::System(_)))?;
    Ok(found)
}

enum Table<'a> {
    User(&'a UserTable),
    System(&'a SystemTable),
}

fn each_table(plan: &LogicalPlan, mut visit: impl FnMut(Table<'_>)) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let provider = source_as_provider(&scan.source)?;
            if let Some(table) = provider.downcast_ref::<UserTable>() {
                visit(Table::User(table));
            } else if let Some(table) = provider.downcast_ref::<SystemTable>() {
                visit(Table::System(table));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// The table that a statement writes, and those that its query reads.
pub(crate) fn names_of_write(namespace: &str, table: &str, query: &LogicalPlan) -> Result<Names> {
    let target: Arc<str> = format!("{namespace}.{table}").into();
    let read = names_of(query)?;
    let others = read.iter().filter(|name| **name != target).cloned();
    Ok(std::iter::once(Arc::clone(&target)).chain(others).collect())
}
