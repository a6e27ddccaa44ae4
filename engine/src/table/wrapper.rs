//! What every plan node of ours has to say and says the same way.

use std::sync::Arc;

use datafusion::{
    common::internal_err,
    error::Result,
    physical_expr::{
        conjunction,
        expressions::Column,
        utils::{collect_columns, reassign_expr_columns},
    },
    physical_plan::{
        ExecutionPlan, PhysicalExpr, SortOrderPushdownResult,
        filter::{FilterExec, FilterExecBuilder},
        filter_pushdown::{ChildFilterDescription, ChildPushdownResult, FilterDescription, PushedDown},
        projection::{ProjectionExec, ProjectionExpr},
    },
};

use super::prefilter::Prefilter;

/// The boilerplate of a leaf: no children, no expressions.
macro_rules! leaf_plan {
    ($name:literal) => {
        fn name(&self) -> &str {
            $name
        }

        fn children(&self) -> Vec<&std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
            Vec::new()
        }

        fn apply_expressions(
            &self,
            _: &mut dyn FnMut(
                &std::sync::Arc<dyn datafusion::physical_plan::PhysicalExpr>,
            ) -> datafusion::error::Result<datafusion::common::tree_node::TreeNodeRecursion>,
        ) -> datafusion::error::Result<datafusion::common::tree_node::TreeNodeRecursion> {
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        }

        fn replace_children(
            self: std::sync::Arc<Self>,
            _: Vec<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>,
            _: datafusion::physical_plan::ReplaceChildrenOptions,
        ) -> datafusion::error::Result<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
            Ok(self)
        }

        fn with_new_children(
            self: std::sync::Arc<Self>,
            _: Vec<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>,
        ) -> datafusion::error::Result<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
            Ok(self)
        }
    };
}

/// The boilerplate of a node that checks, drops or relabels rows of its one input, `self.input`, and keeps their order,
/// partitions and columns, or all but the last. `self.over(input)` is the same node over another input; `self.passes(filter)` says whether a
/// filter of the nodes above may be evaluated below this one. `keeps_all` says that no row is dropped: then limits and
/// statistics pass too.
macro_rules! row_plan {
    ($name:literal, keeps_all = $keeps_all:literal) => {
        fn name(&self) -> &str {
            $name
        }

        fn children(&self) -> Vec<&std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
            vec![&self.input]
        }

        fn maintains_input_order(&self) -> Vec<bool> {
            vec![true]
        }

        /// Nothing comes between a scan and what checks its rows.
        fn benefits_from_input_partitioning(&self) -> Vec<bool> {
            vec![false]
        }

        fn apply_expressions(
            &self,
            _: &mut dyn FnMut(
                &std::sync::Arc<dyn datafusion::physical_plan::PhysicalExpr>,
            ) -> datafusion::error::Result<datafusion::common::tree_node::TreeNodeRecursion>,
        ) -> datafusion::error::Result<datafusion::common::tree_node::TreeNodeRecursion> {
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        }

        fn replace_children(
            self: std::sync::Arc<Self>,
            children: Vec<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>,
            _: datafusion::physical_plan::ReplaceChildrenOptions,
        ) -> datafusion::error::Result<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
            Ok(std::sync::Arc::new(self.over(crate::table::wrapper::only($name, children)?)))
        }

        fn with_new_children(
            self: std::sync::Arc<Self>,
            children: Vec<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>,
        ) -> datafusion::error::Result<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
            Ok(std::sync::Arc::new(self.over(crate::table::wrapper::only($name, children)?)))
        }

        fn supports_limit_pushdown(&self) -> bool {
            $keeps_all
        }

        fn cardinality_effect(&self) -> datafusion::physical_plan::execution_plan::CardinalityEffect {
            use datafusion::physical_plan::execution_plan::CardinalityEffect;
            if $keeps_all { CardinalityEffect::Equal } else { CardinalityEffect::LowerEqual }
        }

        fn child_stats_requests(
            &self,
            partition: Option<usize>,
        ) -> Vec<datafusion::physical_plan::statistics::ChildStats> {
            vec![datafusion::physical_plan::statistics::ChildStats::At(partition)]
        }

        fn statistics_from_inputs(
            &self,
            inputs: &[std::sync::Arc<datafusion::common::Statistics>],
            _: &datafusion::physical_plan::statistics::StatisticsArgs,
        ) -> datafusion::error::Result<std::sync::Arc<datafusion::common::Statistics>> {
            let [input] = inputs else { return datafusion::common::internal_err!("{} has one input", $name) };
            if $keeps_all {
                return Ok(std::sync::Arc::clone(input));
            }
            let mut fewer = input.as_ref().clone().to_inexact();
            fewer.column_statistics.truncate(self.schema().fields().len());
            Ok(std::sync::Arc::new(fewer))
        }

        fn gather_filters_for_pushdown(
            &self,
            _: datafusion::physical_plan::filter_pushdown::FilterPushdownPhase,
            filters: Vec<std::sync::Arc<dyn datafusion::physical_plan::PhysicalExpr>>,
            _: &datafusion::common::config::ConfigOptions,
        ) -> datafusion::error::Result<datafusion::physical_plan::filter_pushdown::FilterDescription> {
            crate::table::wrapper::filters_below(filters, &self.input, |filter| self.passes(filter))
        }

        fn handle_child_pushdown_result(
            &self,
            phase: datafusion::physical_plan::filter_pushdown::FilterPushdownPhase,
            below: datafusion::physical_plan::filter_pushdown::ChildPushdownResult,
            _: &datafusion::common::config::ConfigOptions,
        ) -> datafusion::error::Result<
            datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation<
                std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>,
            >,
        > {
            use datafusion::physical_plan::filter_pushdown::FilterPushdownPhase;
            let first = !$keeps_all && matches!(phase, FilterPushdownPhase::Pre);
            let (filters, input) =
                crate::table::wrapper::filters_first(below, &self.input, |filter| first && self.passes(filter))?;
            let updated_node = input.map(|input| std::sync::Arc::new(self.over(input)) as _);
            Ok(datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation { filters, updated_node })
        }

        fn try_pushdown_sort(
            &self,
            order: &[datafusion::physical_expr::PhysicalSortExpr],
        ) -> datafusion::error::Result<
            datafusion::physical_plan::SortOrderPushdownResult<
                std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>,
            >,
        > {
            let below = self.input.try_pushdown_sort(order)?;
            Ok(crate::table::wrapper::over_sorted(below, |input| std::sync::Arc::new(self.over(input))))
        }

        fn with_preserve_order(
            &self,
            preserve: bool,
        ) -> Option<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
            let input = self.input.with_preserve_order(preserve)?;
            Some(std::sync::Arc::new(self.over(input)))
        }
    };
}

pub(super) use leaf_plan;
pub(super) use row_plan;

pub(super) fn only<T>(name: &str, mut children: Vec<T>) -> Result<T> {
    match children.pop() {
        Some(input) if children.is_empty() => Ok(input),
        _ => internal_err!("{name} has one input"),
    }
}

/// Offers the filters that pass to the input, and keeps the others above; the scan itself gets them as [`Prefilter`]s. The
/// optimizer matches filters by position, so one that does not pass leaves a stand-in of which the input knows nothing.
pub(super) fn filters_below(
    filters: Vec<Arc<dyn PhysicalExpr>>,
    input: &Arc<dyn ExecutionPlan>,
    passes: impl Fn(&Arc<dyn PhysicalExpr>) -> bool,
) -> Result<FilterDescription> {
    let scan = is_scan(input);
    let offered = |filter: Arc<dyn PhysicalExpr>| match passes(&filter) {
        true if scan => Prefilter::over(filter),
        true => filter,
        false => Arc::new(Column::new("(kept above)", usize::MAX)),
    };
    let offered: Vec<_> = filters.into_iter().map(offered).collect();
    Ok(FilterDescription::new().with_child(ChildFilterDescription::from_child(&offered, input)?))
}

/// Of the filters that came back from the input, the ones to be evaluated `first`, right above it: a node that looks at
/// each row is then shown fewer. What the scan itself skips by a filter is less than the filter drops, so its word that
/// nothing is left to do does not count.
pub(super) fn filters_first(
    below: ChildPushdownResult,
    input: &Arc<dyn ExecutionPlan>,
    first: impl Fn(&Arc<dyn PhysicalExpr>) -> bool,
) -> Result<(Vec<PushedDown>, Option<Arc<dyn ExecutionPlan>>)> {
    let (mut results, mut taken) = (Vec::new(), Vec::new());
    let scan = is_scan(input);
    for filter in below.parent_filters {
        let done = !scan && matches!(filter.all(), PushedDown::Yes);
        let take = !done && first(&filter.filter);
        results.push(if done || take { PushedDown::Yes } else { PushedDown::No });
        taken.extend(take.then_some(filter.filter));
    }
    if taken.is_empty() {
        return Ok((results, None));
    }
    let filtered = FilterExec::try_new(conjunction(taken), Arc::clone(input))?;
    Ok((results, Some(Arc::new(filtered))))
}

/// What a node over `input` and a projection above it become, where `input` is a filter that yields more than the node's
/// own columns and those of the projection: what only the filter needs, and the column that the guard has checked, is not
/// copied along. `over` is the node over another input and the places of its own columns there.
pub(super) fn narrowed(
    input: &Arc<dyn ExecutionPlan>,
    own: &[usize],
    projection: &ProjectionExec,
    over: impl FnOnce(Arc<dyn ExecutionPlan>, &[usize]) -> Result<Arc<dyn ExecutionPlan>>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(filter) = input.downcast_ref::<FilterExec>() else { return Ok(None) };
    let mut kept: Vec<usize> = own.to_vec();
    kept.extend(projection.expr().iter().flat_map(|e| collect_columns(&e.expr)).map(|column| column.index()));
    kept.sort_unstable();
    kept.dedup();
    if kept.len() == input.schema().fields().len() {
        return Ok(None);
    }
    let own: Vec<usize> = own.iter().filter_map(|column| kept.binary_search(column).ok()).collect();
    let narrow = over(Arc::new(FilterExecBuilder::from(filter).apply_projection(Some(kept))?.build()?), &own)?;
    let schema = narrow.schema();
    let exprs = projection.expr().iter().map(|e| {
        let expr = reassign_expr_columns(Arc::clone(&e.expr), &schema)?;
        Ok(ProjectionExpr { expr, alias: e.alias.clone() })
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    Ok(Some(Arc::new(ProjectionExec::try_new(exprs, narrow)?)))
}

fn is_scan(input: &Arc<dyn ExecutionPlan>) -> bool {
    input.children().is_empty()
}

pub(super) fn over_sorted(
    below: SortOrderPushdownResult<Arc<dyn ExecutionPlan>>,
    over: impl FnOnce(Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan>,
) -> SortOrderPushdownResult<Arc<dyn ExecutionPlan>> {
    match below {
        SortOrderPushdownResult::Exact { inner } => SortOrderPushdownResult::Exact { inner: over(inner) },
        SortOrderPushdownResult::Inexact { inner } => SortOrderPushdownResult::Inexact { inner: over(inner) },
        SortOrderPushdownResult::Unsupported => SortOrderPushdownResult::Unsupported,
    }
}
