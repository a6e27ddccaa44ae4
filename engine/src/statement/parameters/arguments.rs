//! Types of parameters that are arguments of functions, where the function says them: `sqrt(?)`, `substr(name, ?)`.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    common::{
        DFSchema,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{
        Expr, ExprSchemable, LogicalPlan,
        expr::{Placeholder, ScalarFunction},
        type_coercion::functions::fields_with_udf,
        utils::merge_schema,
    },
};

use crate::types::plain_type;

/// What a function says of one of its arguments.
#[derive(Default)]
pub(super) struct Passed {
    /// It takes nothing else.
    pub only: Option<DataType>,
    /// What it takes for an argument of which nothing is known.
    pub likely: Option<DataType>,
}

/// By the names of the parameters; of those that several functions take, the first one decides.
pub(super) fn passed(plan: &LogicalPlan) -> Result<HashMap<String, Passed>> {
    let mut all = HashMap::new();
    plan.apply_with_subqueries(|node| {
        let mut schema = None;
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr
                    && call.args.iter().any(|arg| untyped(arg).is_some())
                {
                    of_call(call, schema.get_or_insert_with(|| merge_schema(&node.inputs())), &mut all);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(all)
}

fn untyped(arg: &Expr) -> Option<&String> {
    match arg {
        Expr::Placeholder(Placeholder { id, field: None }) => Some(id),
        _ => None,
    }
}

fn of_call(call: &ScalarFunction, schema: &DFSchema, all: &mut HashMap<String, Passed>) {
    let given: Result<Vec<FieldRef>> = call.args.iter().map(|arg| Ok(arg.to_field(schema)?.1)).collect();
    // What cannot be told here is told when the types are there.
    let Ok(given) = given else { return };
    let Some(likely) = coerced(call, &given) else { return };
    for (place, id) in call.args.iter().enumerate().filter_map(|(place, arg)| Some((place, untyped(arg)?))) {
        if all.contains_key(id) {
            continue;
        }
        let as_if = |data_type: DataType| {
            let mut given = given.clone();
            given[place] = Arc::new(Field::new("", data_type, true));
            coerced(call, &given).map(|types| types[place].clone())
        };
        if likely[place] == DataType::Null {
            // It takes many things: text, as anywhere else, or numbers.
            let number = as_if(DataType::Float64).filter(|_| as_if(DataType::Utf8).is_none());
            all.insert(id.clone(), Passed { only: None, likely: number });
            continue;
        }
        let kinds = [DataType::Int64, DataType::Float64, DataType::Utf8, DataType::Boolean];
        let is_only = kinds.into_iter().all(|kind| as_if(kind).is_none_or(|taken| taken == likely[place]));
        let likely = plain_type(&likely[place]);
        all.insert(id.clone(), Passed { only: is_only.then(|| likely.clone()), likely: Some(likely) });
    }
}

/// The types that a call brings its arguments to.
fn coerced(call: &ScalarFunction, given: &[FieldRef]) -> Option<Vec<DataType>> {
    let fields = fields_with_udf(given, call.func.as_ref()).ok()?;
    Some(fields.iter().map(|field| field.data_type().clone()).collect())
}
