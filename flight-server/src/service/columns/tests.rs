use std::sync::Arc;

use super::*;

#[test]
fn fields_carry_what_drivers_ask_for() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("price", DataType::Decimal128(12, 2), false),
        Field::new("name", DataType::Utf8View, true),
    ]));
    let table = TableInfo { namespace: "shop".into(), name: "items".into(), table_type: "TABLE", schema, key: vec![] };
    let described = described(&table);
    let of =
        |column: usize, key: &str| described.field(column).metadata().get(&format!("ARROW:FLIGHT:SQL:{key}")).cloned();
    assert_eq!(of(0, "TYPE_NAME").as_deref(), Some("DECIMAL"));
    assert_eq!((of(0, "PRECISION").as_deref(), of(0, "SCALE").as_deref()), (Some("12"), Some("2")));
    assert_eq!(of(0, "TABLE_NAME").as_deref(), Some("items"));
    assert_eq!(of(0, "IS_CASE_SENSITIVE").as_deref(), Some("0"));
    assert_eq!(of(1, "TYPE_NAME").as_deref(), Some("VARCHAR"));
    assert_eq!((of(1, "IS_CASE_SENSITIVE").as_deref(), of(1, "SCALE")), (Some("1"), None));
    assert_eq!(described.field(1).data_type(), &DataType::Utf8);
    assert!(!described.field(0).is_nullable());
}
