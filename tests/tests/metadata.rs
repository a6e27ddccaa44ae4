//! What drivers and tools ask about a database before they show anything of it.

use std::collections::BTreeMap;

use arrow::{
    array::{AsArray, RecordBatch, UInt32Array},
    datatypes::{DataType, Schema, UInt32Type},
};
use arrow_flight::{
    IpcMessage,
    sql::{
        CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys,
        CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
        CommandGetXdbcTypeInfo, ProstMessageExt, SqlInfo,
    },
};
use futures::TryStreamExt;
use insula_client::Client;
use insula_tests::{Server, execute, rows};

async fn ask(client: &Client, command: &impl ProstMessageExt) -> Vec<RecordBatch> {
    let answer = async { client.command(command).await?.try_collect().await }.await;
    answer.unwrap_or_else(|error: insula_client::Error| panic!("{}: {error}", std::any::type_name_of_val(command)))
}

async fn with_tables() -> (Server, Client) {
    let server = Server::dev();
    let admin = server.client("admin").await;
    for sql in [
        "CREATE NAMESPACE app",
        "CREATE NAMESPACE app_two",
        "CREATE TABLE app.keyed (name VARCHAR NOT NULL, b INT, a BIGINT, price DECIMAL(10, 2), PRIMARY KEY (a, b))",
        "CREATE TABLE app.plain (v DOUBLE)",
        "CREATE SHARED TABLE app_two.\"per%cent\" (id INT PRIMARY KEY)",
        "CREATE SHARED TABLE app_two.percent (id INT PRIMARY KEY)",
    ] {
        execute(&admin, sql).await;
    }
    let alice = server.client("alice").await;
    (server, alice)
}

#[tokio::test]
async fn catalogs_and_schemas() {
    let (_server, alice) = with_tables().await;
    assert_eq!(rows(&ask(&alice, &CommandGetCatalogs {}).await), ["insula"]);
    let schemas = |catalog: Option<&str>, pattern: Option<&str>| CommandGetDbSchemas {
        catalog: catalog.map(str::to_owned),
        db_schema_filter_pattern: pattern.map(str::to_owned),
    };
    let all = rows(&ask(&alice, &schemas(None, None)).await);
    for name in ["app", "app_two", "public"] {
        assert!(all.contains(&format!("insula|{name}")), "{name} in {all:?}");
    }
    assert!(all.is_sorted());
    assert_eq!(rows(&ask(&alice, &schemas(Some("insula"), Some("app"))).await), ["insula|app"]);
    assert_eq!(rows(&ask(&alice, &schemas(None, Some("app_t%"))).await), ["insula|app_two"]);
    assert_eq!(rows(&ask(&alice, &schemas(None, Some("app\\_two"))).await), ["insula|app_two"]);
    assert_eq!(rows(&ask(&alice, &schemas(None, Some("app\\%"))).await), [""; 0]);
    assert_eq!(rows(&ask(&alice, &schemas(Some("other"), None)).await), [""; 0]);
}

#[tokio::test]
async fn tables_by_pattern_with_their_schemas() {
    let (_server, alice) = with_tables().await;
    let tables = |schema: &str, table: &str| CommandGetTables {
        db_schema_filter_pattern: Some(schema.to_owned()),
        table_name_filter_pattern: Some(table.to_owned()),
        ..Default::default()
    };
    let batches = ask(&alice, &tables("app", "%")).await;
    assert_eq!(rows(&batches), ["insula|app|keyed|TABLE", "insula|app|plain|TABLE"]);
    assert_eq!(rows(&ask(&alice, &tables("app%", "per\\%cent")).await), ["insula|app_two|per%cent|TABLE"]);
    assert_eq!(rows(&ask(&alice, &tables("app%", "per%cent")).await).len(), 2);
    assert_eq!(rows(&ask(&alice, &tables("app", "_lain")).await), ["insula|app|plain|TABLE"]);
    let typed = CommandGetTables { table_types: vec!["VIEW".to_owned()], ..Default::default() };
    assert_eq!(rows(&ask(&alice, &typed).await), [""; 0]);
    assert!(rows(&ask(&alice, &CommandGetTableTypes {}).await).contains(&"TABLE".to_owned()));

    let with_schema = CommandGetTables { include_schema: true, ..tables("app", "keyed") };
    let batches = ask(&alice, &with_schema).await;
    let message = batches[0].column_by_name("table_schema").expect("the fifth column").as_binary::<i32>().value(0);
    let schema = Schema::try_from(IpcMessage(message.to_vec().into())).expect("an IPC message");
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["name", "b", "a", "price"], "system columns are not listed");
    let nullable: Vec<_> = schema.fields().iter().map(|field| field.is_nullable()).collect();
    assert_eq!(nullable, [false, false, false, true]);
    let price = schema.field_with_name("price").expect("price").metadata();
    for (key, value) in [("TABLE_NAME", "keyed"), ("SCHEMA_NAME", "app"), ("PRECISION", "10"), ("SCALE", "2")] {
        assert_eq!(price.get(&format!("ARROW:FLIGHT:SQL:{key}")).map(String::as_str), Some(value), "{key}");
    }
}

#[tokio::test]
async fn keys() {
    let (_server, alice) = with_tables().await;
    let keys = CommandGetPrimaryKeys { catalog: None, db_schema: Some("app".to_owned()), table: "keyed".to_owned() };
    let batches = ask(&alice, &keys).await;
    assert_eq!(rows(&batches), ["insula|app|keyed|a|NULL|1", "insula|app|keyed|b|NULL|2"]);
    let keys = CommandGetPrimaryKeys { table: "plain".to_owned(), ..keys };
    assert_eq!(rows(&ask(&alice, &keys).await), [""; 0]);
    let table = || "keyed".to_owned();
    let exported = CommandGetExportedKeys { catalog: None, db_schema: None, table: table() };
    let imported = CommandGetImportedKeys { catalog: None, db_schema: None, table: table() };
    let cross = CommandGetCrossReference { pk_table: table(), fk_table: table(), ..Default::default() };
    for info in [alice.info(&exported).await, alice.info(&imported).await, alice.info(&cross).await] {
        let info = info.expect("flight info");
        assert_eq!(Schema::try_from(info.clone()).expect("a schema").fields().len(), 13);
        let batches: Vec<_> = alice.fetch(&info).await.expect("rows").try_collect().await.expect("rows");
        assert_eq!(rows(&batches), [""; 0]);
    }
}

#[tokio::test]
async fn sql_info_and_types() {
    let (_server, alice) = with_tables().await;
    let all = ask(&alice, &CommandGetSqlInfo { info: vec![] }).await;
    let mut children = BTreeMap::new();
    for batch in &all {
        let (codes, values): (&UInt32Array, _) =
            (batch.column(0).as_primitive::<UInt32Type>(), batch.column(1).as_union());
        children.extend((0..batch.num_rows()).map(|row| (codes.value(row), values.type_id(row))));
    }
    // JDBC casts by the child of the union: text 0, boolean 1, bigint 2, int32 3, list of text 4, map 5.
    for (code, child) in [
        (SqlInfo::FlightSqlServerName, 0),
        (SqlInfo::FlightSqlServerReadOnly, 1),
        (SqlInfo::FlightSqlServerTransaction, 3),
        (SqlInfo::SqlIdentifierQuoteChar, 0),
        (SqlInfo::SqlKeywords, 4),
        (SqlInfo::SqlMaxColumnsInTable, 2),
        (SqlInfo::SqlSupportedGroupBy, 3),
        (SqlInfo::SqlDefaultTransactionIsolation, 2),
        (SqlInfo::SqlSupportsConvert, 5),
    ] {
        assert_eq!(children.get(&(code as u32)), Some(&child), "{code:?}");
    }
    assert!(children.len() > 60, "{} codes", children.len());
    let some = CommandGetSqlInfo { info: vec![SqlInfo::FlightSqlServerName as u32, 999_999] };
    assert_eq!(rows(&ask(&alice, &some).await).len(), 1, "an unknown code is left out");

    let types = ask(&alice, &CommandGetXdbcTypeInfo { data_type: None }).await;
    let names = rows(&types);
    assert!(names.len() >= 10, "{names:?}");
    assert_eq!(types[0].schema().field(0).data_type(), &DataType::Utf8);
}
