//! `SIMILAR TO`. DataFusion takes its pattern for a regular expression, found anywhere in the text; in SQL it has `%` and
//! `_` of LIKE and matches the text as a whole. This rule makes the regular expression that says the same.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, StringArray},
    compute::cast,
    datatypes::DataType,
};
use datafusion::{
    common::{
        ScalarValue,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{
        BinaryExpr, ColumnarValue, Expr, Like, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
        Signature, Volatility, expr_rewriter::NamePreserver,
    },
    optimizer::AnalyzerRule,
};

use crate::Error;

mod pattern;

/// To be run before type coercion.
#[derive(Default, Debug)]
pub(crate) struct WholePatterns;

impl AnalyzerRule for WholePatterns {
    fn name(&self) -> &str {
        "whole_patterns"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(rewrite)?.data)
    }
}

fn rewrite(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut concerned = false;
    plan.apply_expressions(|expr| {
        concerned = concerned || expr.exists(|expr| Ok(matches!(expr, Expr::SimilarTo(_))))?;
        Ok(if concerned { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !concerned {
        return Ok(Transformed::no(plan));
    }
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let rewritten = expr.transform_up(|expr| match expr {
            Expr::SimilarTo(similar) => Ok(Transformed::yes(matched(similar)?)),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(rewritten.update_data(|expr| name.restore(expr)))
    })
}

fn matched(Like { negated, expr, pattern, escape_char, .. }: Like) -> Result<Expr> {
    let escape = escape_char.unwrap_or('\\');
    let regex = match pattern.as_ref() {
        Expr::Literal(
            ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)),
            metadata,
        ) => Expr::Literal(ScalarValue::Utf8(Some(pattern::regex(text, escape)?)), metadata.clone()),
        _ => Regex::function(escape).call(vec![*pattern]),
    };
    let op = if negated { Operator::RegexNotMatch } else { Operator::RegexMatch };
    Ok(Expr::BinaryExpr(BinaryExpr::new(expr, op, Box::new(regex))))
}

/// The regular expressions of patterns that are known only when rows are there. No statement knows its name.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Regex {
    escape: char,
    signature: Signature,
}

impl Regex {
    fn function(escape: char) -> ScalarUDF {
        ScalarUDF::from(Self { escape, signature: Signature::string(1, Volatility::Immutable) })
    }
}

impl ScalarUDFImpl for Regex {
    fn name(&self) -> &str {
        "similar_to_regex"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [patterns] = args.args.as_slice() else {
            return Err(Error::internal("one pattern has one regular expression").into());
        };
        let regexes = |patterns: &ArrayRef| -> Result<StringArray> {
            let patterns = cast(patterns, &DataType::Utf8)?;
            let each = patterns.as_string::<i32>().iter();
            Ok(each
                .map(|text| text.map(|text| pattern::regex(text, self.escape)).transpose())
                .collect::<Result<_, _>>()?)
        };
        Ok(match patterns {
            ColumnarValue::Array(array) => ColumnarValue::Array(Arc::new(regexes(array)?)),
            ColumnarValue::Scalar(one) => {
                ColumnarValue::Scalar(ScalarValue::try_from_array(&regexes(&one.to_array()?)?, 0)?)
            }
        })
    }
}

#[cfg(test)]
mod tests;
