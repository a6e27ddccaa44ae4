//! The SQL functions: one registry for all statements, because cloning DataFusion's maps of built-in functions into
//! every session costs ten times what the rest of the session does. Functions that say who asks are made per statement.

mod age;
mod calendar;
mod distance;
mod mode;
mod now;
mod numbers;
mod patterns;
mod percentile;
mod plain;
mod round;
mod sum;
mod texts;
mod typed;
mod typed_cast;

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Int64Array, StringArray},
    datatypes::DataType,
};
use datafusion::{
    catalog::TableFunction,
    common::ScalarValue,
    error::Result,
    execution::SessionStateDefaults,
    logical_expr::{
        AggregateUDF, ColumnarValue, HigherOrderUDF, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
        Volatility, WindowUDF, planner::ExprPlanner,
    },
};
use insula_storage::Store;

use crate::{
    bounded::{Bounded, Room},
    engine::FunctionNames,
    session::Settings,
};
pub(crate) use now::Now;
pub(crate) use typed_cast::TypedCast;

#[cfg(test)]
mod tests;

pub(crate) struct Functions {
    pub scalar: HashMap<String, Arc<ScalarUDF>>,
    pub higher_order: HashMap<String, Arc<HigherOrderUDF>>,
    pub aggregate: HashMap<String, Arc<AggregateUDF>>,
    pub window: HashMap<String, Arc<WindowUDF>>,
    pub table: HashMap<String, Arc<TableFunction>>,
    pub planners: Vec<Arc<dyn ExprPlanner>>,
}

/// Names that answer "who am I"; `CURRENT_USER` and its like are parsed as functions without arguments.
pub(crate) const WHO: [&str; 4] = ["current_user", "current_role", "session_user", "user"];
/// Names that answer "where am I".
pub(crate) const WHERE: [&str; 3] = ["current_schema", "current_catalog", "current_database"];
/// Names of PostgreSQL for functions that are here by another one.
const ALIASES: [(&str, &str); 3] = [("sign", "signum"), ("ceiling", "ceil"), ("gen_random_uuid", "uuid")];
/// What `version()` says. DataFusion's own would name another product, by a version that says nothing of this one.
const VERSION: &str = concat!("Insula ", env!("CARGO_PKG_VERSION"));

impl Functions {
    pub fn new(store: &Arc<Store>, room: &Room) -> Self {
        let mut scalar = HashMap::new();
        for function in SessionStateDefaults::default_scalar_functions() {
            let function = Bounded::function(function, room);
            for name in std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str)) {
                scalar.insert(name.to_owned(), Arc::clone(&function));
            }
        }
        // Where on the host a row's file lies, and how many rows, whoever's, lie before it there.
        for told in ["input_file_name", "file_row_index"] {
            scalar.remove(told);
        }
        for function in numbers::all().into_iter().chain(texts::all()).chain([age::function()]) {
            let function = Bounded::function(function, room);
            scalar.insert(function.name().to_owned(), function);
        }
        if let Some(original) = scalar.remove("round") {
            scalar.insert("round".to_owned(), round::Round::function(original));
        }
        for name in patterns::NAMES {
            if let Some(original) = scalar.remove(name) {
                scalar.insert(name.to_owned(), patterns::Patterned::function(original));
            }
        }
        if let Some(original) = scalar.remove(distance::NAME) {
            scalar.insert(distance::NAME.to_owned(), distance::Distance::function(original));
        }
        for name in typed::NAMES {
            if let Some(original) = scalar.remove(name) {
                scalar.insert(name.to_owned(), typed::Typed::function(original));
            }
        }
        for (alias, name) in ALIASES {
            if let Some(function) = scalar.get(name).cloned() {
                scalar.insert(alias.to_owned(), function);
            }
        }
        scalar.insert("version".to_owned(), Constant::function("version", VERSION));
        for name in Now::NAMES {
            scalar.insert(name.to_owned(), Now::function(Settings::DEFAULT_TIME_ZONE));
        }
        for function in [Id::Snowflake(Arc::clone(store)), Id::Ulid] {
            let function = ScalarUDF::from(IdFunction::new(function));
            scalar.insert(function.name().to_owned(), Arc::new(function));
        }
        let mut aggregate = HashMap::new();
        for function in SessionStateDefaults::default_aggregate_functions() {
            for name in std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str)) {
                aggregate.insert(name.to_owned(), Arc::clone(&function));
            }
        }
        aggregate.insert("mode".to_owned(), mode::Mode::function());
        aggregate.insert("percentile_disc".to_owned(), percentile::PercentileDisc::function());
        if let Some(wrapping) = aggregate.remove("sum") {
            aggregate.insert("sum".to_owned(), sum::Sum::function(wrapping));
        }
        for (alias, name) in [("every", "bool_and"), ("variance", "var")] {
            if let Some(function) = aggregate.get(name).cloned() {
                aggregate.insert(alias.to_owned(), function);
            }
        }
        let mut window = HashMap::new();
        for function in SessionStateDefaults::default_window_functions() {
            for name in std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str)) {
                window.insert(name.to_owned(), Arc::clone(&function));
            }
        }
        let higher_order = SessionStateDefaults::default_higher_order_functions();
        let table = SessionStateDefaults::default_table_functions();
        Self {
            scalar,
            aggregate,
            window,
            higher_order: higher_order.into_iter().map(|f| (f.name().to_owned(), f)).collect(),
            table: table.into_iter().map(|f| (f.name().to_owned(), f)).collect(),
            planners: SessionStateDefaults::default_expr_planners(),
        }
    }

    /// Scalar functions by the families that GetSqlInfo asks for.
    pub fn names(&self) -> FunctionNames {
        let mut names = FunctionNames::default();
        for (name, function) in &self.scalar {
            let family = function.documentation().map_or("", |doc| doc.doc_section.label);
            match family {
                "Math Functions" => names.numeric.push(name.clone()),
                "String Functions" | "Regular Expression Functions" | "Binary String Functions" => {
                    names.string.push(name.clone());
                }
                "Time and Date Functions" => names.datetime.push(name.clone()),
                _ => {}
            }
        }
        names.system = WHO.iter().chain(&WHERE).map(|name| (*name).to_owned()).collect();
        names.system.extend(["snowflake_id".into(), "ulid".into(), "uuid".into()]);
        for list in [&mut names.numeric, &mut names.string, &mut names.datetime] {
            list.sort_unstable();
        }
        names
    }
}

/// A function without arguments whose value is fixed for the statement, such as `current_user`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Constant {
    name: &'static str,
    value: String,
    signature: Signature,
}

impl Constant {
    pub fn function(name: &'static str, value: &str) -> Arc<ScalarUDF> {
        let signature = Signature::nullary(Volatility::Stable);
        Arc::new(ScalarUDF::from(Self { name, value: value.to_owned(), signature }))
    }
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(self.value.clone()))))
    }
}

/// A new identifier per row.
enum Id {
    /// `SNOWFLAKE_ID()`: increasing 64-bit integers, time first.
    Snowflake(Arc<Store>),
    /// `ULID()`: see the ULID specification; 26 characters, time first.
    Ulid,
}

struct IdFunction {
    id: Id,
    signature: Signature,
}

impl IdFunction {
    fn new(id: Id) -> Self {
        Self { id, signature: Signature::nullary(Volatility::Volatile) }
    }
}

impl std::fmt::Debug for IdFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for IdFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for IdFunction {}

impl std::hash::Hash for IdFunction {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl ScalarUDFImpl for IdFunction {
    fn name(&self) -> &str {
        match self.id {
            Id::Snowflake(_) => "snowflake_id",
            Id::Ulid => "ulid",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.id {
            Id::Snowflake(_) => DataType::Int64,
            Id::Ulid => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        Ok(ColumnarValue::Array(match &self.id {
            // The highest bit is free until the year 2109.
            Id::Snowflake(store) => {
                Arc::new(store.next_ids(rows).into_iter().map(u64::cast_signed).collect::<Int64Array>())
            }
            Id::Ulid => Arc::new((0..rows).map(|_| Some(ulid::Ulid::generate().to_string())).collect::<StringArray>()),
        }))
    }
}
