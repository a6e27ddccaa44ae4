//! GetSqlInfo: what the server and its SQL can do, for drivers that ask before they dare.
//!
//! JDBC casts each value by its union type, so the types are as exact as the values: flags are booleans, limits and the
//! default isolation level 64-bit, bit masks and ordinals 32-bit. Only codes of the protocol; drivers choke on others.

use std::{collections::BTreeMap, time::Duration};

use arrow_flight::{
    error::Result,
    sql::{
        SqlInfo, SqlNullOrdering, SqlOuterJoinsSupportLevel, SqlSupportedCaseSensitivity, SqlSupportedGroupBy,
        SqlSupportedResultSetConcurrency, SqlSupportedResultSetType, SqlSupportedSubqueries, SqlSupportedTransaction,
        SqlSupportedUnions, SqlSupportsConvert, SqlTransactionIsolationLevel, SupportedSqlGrammar,
        metadata::{SqlInfoData, SqlInfoDataBuilder},
    },
};
use insula_engine::{FunctionNames, substrait_version};

use crate::statements::{HANDLE_LIFETIME, PREPARED_PER_USER};

#[cfg(test)]
mod tests;

/// Words with a meaning of their own beyond SQL:2003's keywords.
const KEYWORDS: [&str; 19] = [
    "ANALYZE",
    "COMPACT",
    "CONFLICT",
    "DESCRIBE",
    "ERASE",
    "EXCLUDE",
    "EXPLAIN",
    "FLUSH",
    "IF",
    "ILIKE",
    "LIMIT",
    "NAMESPACE",
    "OFFSET",
    "QUALIFY",
    "REPLACE",
    "SHARED",
    "SHOW",
    "TABLES",
    "TRUNCATE",
];

/// `transaction_timeout`: after which an idle one ends.
pub fn sql_info(functions: FunctionNames, transaction_timeout: Duration) -> Result<SqlInfoData> {
    let mut info = SqlInfoDataBuilder::new();
    server(&mut info, transaction_timeout);
    names(&mut info, functions);
    grammar(&mut info);
    limits(&mut info);
    transactions(&mut info);
    results(&mut info);
    info.build()
}

fn server(info: &mut SqlInfoDataBuilder, transaction_timeout: Duration) {
    info.append(SqlInfo::FlightSqlServerName, "Insula");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    info.append(SqlInfo::FlightSqlServerReadOnly, false);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, true);
    // Plans of other versions are tried too, as the specification changes slowly; this is the one they are read by.
    info.append(SqlInfo::FlightSqlServerSubstraitMinVersion, substrait_version().as_str());
    info.append(SqlInfo::FlightSqlServerSubstraitMaxVersion, substrait_version().as_str());
    info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::Savepoint as i32);
    info.append(SqlInfo::FlightSqlServerCancel, true);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, true);
    info.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, true);
    let millis = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    info.append(SqlInfo::FlightSqlServerStatementTimeout, millis(HANDLE_LIFETIME));
    info.append(SqlInfo::FlightSqlServerTransactionTimeout, millis(transaction_timeout));
}

fn names(info: &mut SqlInfoDataBuilder, functions: FunctionNames) {
    info.append(SqlInfo::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    // Quoted names are kept as they are; of the protocol's values only "unknown" does not deny that.
    info.append(SqlInfo::SqlQuotedIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityUnknown as i32);
    info.append(SqlInfo::SqlKeywords, &KEYWORDS[..]);
    info.append(SqlInfo::SqlNumericFunctions, functions.numeric);
    info.append(SqlInfo::SqlStringFunctions, functions.string);
    info.append(SqlInfo::SqlSystemFunctions, functions.system);
    info.append(SqlInfo::SqlDatetimeFunctions, functions.datetime);
    info.append(SqlInfo::SqlSearchStringEscape, "\\");
    info.append(SqlInfo::SqlExtraNameCharacters, "$");
    info.append(SqlInfo::SqlSchemaTerm, "namespace");
    info.append(SqlInfo::SqlProcedureTerm, "procedure");
    info.append(SqlInfo::SqlCatalogTerm, "catalog");
    info.append(SqlInfo::SqlCatalogAtStart, true);
}

fn grammar(info: &mut SqlInfoDataBuilder) {
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, true);
    info.append(SqlInfo::SqlDdlTable, true);
    info.append(SqlInfo::SqlAllTablesAreSelectable, false);
    info.append(SqlInfo::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedHigh as i32);
    info.append(SqlInfo::SqlSupportsColumnAliasing, true);
    info.append(SqlInfo::SqlNullPlusNullIsNull, true);
    info.append(SqlInfo::SqlSupportsConvert, conversions());
    info.append(SqlInfo::SqlSupportsTableCorrelationNames, true);
    info.append(SqlInfo::SqlSupportsDifferentTableCorrelationNames, false);
    info.append(SqlInfo::SqlSupportsExpressionsInOrderBy, true);
    info.append(SqlInfo::SqlSupportsOrderByUnrelated, true);
    let group_by =
        [SqlSupportedGroupBy::SqlGroupByUnrelated as i32, SqlSupportedGroupBy::SqlGroupByBeyondSelect as i32];
    info.append(SqlInfo::SqlSupportedGroupBy, mask(&group_by));
    // Only the backslash, which needs no clause.
    info.append(SqlInfo::SqlSupportsLikeEscapeClause, false);
    info.append(SqlInfo::SqlSupportsNonNullableColumns, true);
    let grammar = [SupportedSqlGrammar::SqlMinimumGrammar as i32, SupportedSqlGrammar::SqlCoreGrammar as i32];
    info.append(SqlInfo::SqlSupportedGrammar, mask(&grammar));
    // Bit 0 is ANSI92_ENTRY_SQL.
    info.append(SqlInfo::SqlAnsi92SupportedLevel, mask(&[0]));
    info.append(SqlInfo::SqlSupportsIntegrityEnhancementFacility, false);
    info.append(SqlInfo::SqlOuterJoinsSupportLevel, SqlOuterJoinsSupportLevel::SqlFullOuterJoins as i32);
    info.append(SqlInfo::SqlSchemasSupportedActions, mask(&[]));
    info.append(SqlInfo::SqlCatalogsSupportedActions, mask(&[]));
    info.append(SqlInfo::SqlSupportedPositionedCommands, mask(&[]));
    info.append(SqlInfo::SqlSelectForUpdateSupported, false);
    info.append(SqlInfo::SqlStoredProceduresSupported, false);
    let subqueries = [
        SqlSupportedSubqueries::SqlSubqueriesInComparisons as i32,
        SqlSupportedSubqueries::SqlSubqueriesInExists as i32,
        SqlSupportedSubqueries::SqlSubqueriesInIns as i32,
    ];
    info.append(SqlInfo::SqlSupportedSubqueries, mask(&subqueries));
    info.append(SqlInfo::SqlCorrelatedSubqueriesSupported, true);
    let unions = [SqlSupportedUnions::SqlUnion as i32, SqlSupportedUnions::SqlUnionAll as i32];
    info.append(SqlInfo::SqlSupportedUnions, mask(&unions));
    info.append(SqlInfo::SqlStoredFunctionsUsingCallSyntaxSupported, false);
}

/// 0 stands for "no limit, or none known".
fn limits(info: &mut SqlInfoDataBuilder) {
    for unlimited in [
        SqlInfo::SqlMaxBinaryLiteralLength,
        SqlInfo::SqlMaxCharLiteralLength,
        SqlInfo::SqlMaxColumnNameLength,
        SqlInfo::SqlMaxColumnsInGroupBy,
        SqlInfo::SqlMaxColumnsInIndex,
        SqlInfo::SqlMaxColumnsInOrderBy,
        SqlInfo::SqlMaxColumnsInSelect,
        SqlInfo::SqlMaxColumnsInTable,
        SqlInfo::SqlMaxConnections,
        SqlInfo::SqlMaxCursorNameLength,
        SqlInfo::SqlMaxIndexLength,
        SqlInfo::SqlDbSchemaNameLength,
        SqlInfo::SqlMaxProcedureNameLength,
        SqlInfo::SqlMaxCatalogNameLength,
        SqlInfo::SqlMaxRowSize,
        SqlInfo::SqlMaxStatementLength,
        SqlInfo::SqlMaxTableNameLength,
        SqlInfo::SqlMaxTablesInSelect,
    ] {
        info.append(unlimited, 0_i64);
    }
    info.append(SqlInfo::SqlMaxRowSizeIncludesBlobs, true);
    info.append(SqlInfo::SqlMaxStatements, i64::try_from(PREPARED_PER_USER).unwrap_or(0));
    info.append(SqlInfo::SqlMaxUsernameLength, 256_i64);
}

fn transactions(info: &mut SqlInfoDataBuilder) {
    // Snapshot isolation keeps what REPEATABLE READ promises, and what the weaker levels do.
    let level = SqlTransactionIsolationLevel::SqlTransactionRepeatableRead as i32;
    let weaker = [
        SqlTransactionIsolationLevel::SqlTransactionReadUncommitted as i32,
        SqlTransactionIsolationLevel::SqlTransactionReadCommitted as i32,
    ];
    info.append(SqlInfo::SqlDefaultTransactionIsolation, i64::from(level));
    info.append(SqlInfo::SqlTransactionsSupported, true);
    info.append(SqlInfo::SqlSupportedTransactionsIsolationLevels, mask(&weaker) | mask(&[level]));
    // They stand beside the transaction, and are refused once it has changed rows.
    info.append(SqlInfo::SqlDataDefinitionCausesTransactionCommit, false);
    info.append(SqlInfo::SqlDataDefinitionsInTransactionsIgnored, false);
    info.append(SqlInfo::SqlSavepointsSupported, true);
}

fn results(info: &mut SqlInfoDataBuilder) {
    let forward = SqlSupportedResultSetType::SqlResultSetTypeForwardOnly as i32;
    let read_only = SqlSupportedResultSetConcurrency::SqlResultSetConcurrencyReadOnly as i32;
    info.append(SqlInfo::SqlSupportedResultSetTypes, mask(&[forward]));
    info.append(SqlInfo::SqlSupportedConcurrenciesForResultSetUnspecified, mask(&[]));
    info.append(SqlInfo::SqlSupportedConcurrenciesForResultSetForwardOnly, mask(&[read_only]));
    info.append(SqlInfo::SqlSupportedConcurrenciesForResultSetScrollSensitive, mask(&[]));
    info.append(SqlInfo::SqlSupportedConcurrenciesForResultSetScrollInsensitive, mask(&[]));
    info.append(SqlInfo::SqlBatchUpdatesSupported, true);
    info.append(SqlInfo::SqlNamedParametersSupported, false);
    info.append(SqlInfo::SqlLocatorsUpdateCopy, false);
}

fn mask(bits: &[i32]) -> i32 {
    bits.iter().fold(0, |mask, bit| mask | 1 << bit)
}

/// The casts that succeed for some value at least.
fn conversions() -> BTreeMap<i32, Vec<i32>> {
    use SqlSupportsConvert::*;
    let numbers = [
        SqlConvertTinyint,
        SqlConvertSmallint,
        SqlConvertInteger,
        SqlConvertBigint,
        SqlConvertReal,
        SqlConvertFloat,
        SqlConvertDecimal,
        SqlConvertNumeric,
    ];
    let texts = [SqlConvertChar, SqlConvertVarchar, SqlConvertLongvarchar];
    let bytes = [SqlConvertBinary, SqlConvertVarbinary, SqlConvertLongvarbinary];
    let times = [SqlConvertDate, SqlConvertTime, SqlConvertTimestamp];
    let spans = [SqlConvertIntervalDayTime, SqlConvertIntervalYearMonth];
    let mut casts = BTreeMap::new();
    let mut allow = |from: &[SqlSupportsConvert], to: &[&[SqlSupportsConvert]]| {
        for from in from {
            casts.insert(*from as i32, to.concat().into_iter().map(|to| to as i32).collect());
        }
    };
    allow(&numbers, &[&numbers, &texts, &[SqlConvertBit]]);
    allow(&[SqlConvertBit], &[&[SqlConvertBit], &numbers, &texts]);
    allow(&texts, &[&texts, &numbers, &bytes, &times, &spans, &[SqlConvertBit]]);
    allow(&bytes, &[&bytes, &texts]);
    allow(&[SqlConvertDate], &[&[SqlConvertDate, SqlConvertTimestamp], &texts]);
    allow(&[SqlConvertTime], &[&[SqlConvertTime], &texts]);
    allow(&[SqlConvertTimestamp], &[&times, &texts]);
    allow(&spans, &[&spans, &texts]);
    casts
}
