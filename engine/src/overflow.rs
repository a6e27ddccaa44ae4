//! Arithmetic that fails where it has no result, as SQL users expect. DataFusion plans `+`, `-` and `*` of integers so
//! that they wrap around, and `/` and `%` of floats so that zero divides them, which would store wrong numbers in
//! silence; this rule puts checked functions in their place. On the same way through a plan it puts one that is bounded
//! in the place of `||`, see [`crate::bounded`].

mod zero;

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Datum},
    compute::kernels::numeric,
    datatypes::DataType,
    error::ArrowError,
};
use datafusion::{
    common::{DFSchema, config::ConfigOptions, tree_node::Transformed, tree_node::TreeNode},
    error::Result,
    logical_expr::{
        BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
        ScalarUDFImpl, Signature, Volatility, expr_rewriter::NamePreserver, utils::merge_schema,
    },
    optimizer::AnalyzerRule,
};

use crate::{
    Error,
    bounded::{Joined, Room},
};

/// To be run after type coercion, when both sides have one type.
#[derive(Debug)]
pub(crate) struct CheckedArithmetic {
    functions: [Arc<ScalarUDF>; 5],
    /// `||`.
    joined: Arc<ScalarUDF>,
}

impl CheckedArithmetic {
    pub fn new(room: &Room) -> Self {
        use Operator::{Divide, Minus, Modulo, Multiply, Plus};
        let functions = [Plus, Minus, Multiply, Divide, Modulo].map(Checked::function);
        Self { functions, joined: Joined::function(room) }
    }
}

impl AnalyzerRule for CheckedArithmetic {
    fn name(&self) -> &str {
        "checked_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(|plan| self.rewrite(plan))?.data)
    }
}

impl CheckedArithmetic {
    fn rewrite(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let mut schema = merge_schema(&plan.inputs());
        // The filters of a scan name the columns of its own output.
        schema.merge(plan.schema());
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let rewritten = expr.transform_up(|expr| Ok(self.checked(expr, &schema)))?;
            Ok(rewritten.update_data(|expr| name.restore(expr)))
        })
    }

    fn checked(&self, expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else { return Transformed::no(expr) };
        let (function, integers) = match op {
            Operator::Plus => (&self.functions[0], true),
            Operator::Minus => (&self.functions[1], true),
            Operator::Multiply => (&self.functions[2], true),
            // Arrow refuses integers and decimals that zero divides.
            Operator::Divide => (&self.functions[3], false),
            Operator::Modulo => (&self.functions[4], false),
            Operator::StringConcat => {
                return Transformed::yes(self.joined.call(vec![left.as_ref().clone(), right.as_ref().clone()]));
            }
            _ => return Transformed::no(expr),
        };
        match (left.get_type(schema), right.get_type(schema)) {
            (Ok(a), Ok(b)) if a == b && (if integers { a.is_integer() } else { a.is_floating() }) => {
                Transformed::yes(function.call(vec![left.as_ref().clone(), right.as_ref().clone()]))
            }
            _ => Transformed::no(expr),
        }
    }
}

/// One of the operators over two numbers of one type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Operator,
    name: &'static str,
    signature: Signature,
}

impl Checked {
    fn function(op: Operator) -> Arc<ScalarUDF> {
        let name = match op {
            Operator::Plus => "checked_add",
            Operator::Minus => "checked_sub",
            Operator::Divide => "checked_div",
            Operator::Modulo => "checked_rem",
            _ => "checked_mul",
        };
        Arc::new(ScalarUDF::from(Self { op, name, signature: Signature::any(2, Volatility::Immutable) }))
    }

    fn compute(&self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
        match self.op {
            Operator::Plus => numeric::add(left, right),
            Operator::Minus => numeric::sub(left, right),
            Operator::Divide | Operator::Modulo if zero::divides(left, right) => Err(ArrowError::DivideByZero),
            Operator::Divide => numeric::div(left, right),
            Operator::Modulo => numeric::rem(left, right),
            _ => numeric::mul(left, right),
        }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    /// The name that the operator had, by which results and groups are called.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [left, right] => Ok(format!("{} {} {}", left.schema_name(), self.op, right.schema_name())),
            _ => Ok(self.name.to_owned()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return Err(Error::internal("arithmetic takes two sides").into());
        };
        let overflow = |error: ArrowError| {
            if matches!(error, ArrowError::DivideByZero) {
                return Error::from(error);
            }
            let verb = self.op.to_string();
            Error::invalid(format!(
                "integer overflow: the result of {verb} does not fit {}",
                args.return_field.data_type()
            ))
        };
        Ok(match (left, right) {
            (ColumnarValue::Array(a), ColumnarValue::Array(b)) => {
                ColumnarValue::Array(self.compute(a, b).map_err(overflow)?)
            }
            (ColumnarValue::Array(a), ColumnarValue::Scalar(b)) => {
                ColumnarValue::Array(self.compute(a, &b.to_scalar()?).map_err(overflow)?)
            }
            (ColumnarValue::Scalar(a), ColumnarValue::Array(b)) => {
                ColumnarValue::Array(self.compute(&a.to_scalar()?, b).map_err(overflow)?)
            }
            (ColumnarValue::Scalar(a), ColumnarValue::Scalar(b)) => {
                let one = self.compute(&a.to_scalar()?, &b.to_scalar()?).map_err(overflow)?;
                ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&one, 0)?)
            }
        })
    }
}

#[cfg(test)]
mod tests;
