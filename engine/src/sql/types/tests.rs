use datafusion::sql::sqlparser::{dialect::GenericDialect, parser::Parser};

use super::*;

fn planned(name: &str) -> Result<Option<DataType>> {
    let name = Parser::new(&GenericDialect {}).try_with_sql(name).unwrap().parse_data_type().unwrap();
    let types = Types { zone: "Europe/Rome".into() };
    Ok(types.plan_type_field(&name)?.map(|field| field.data_type().clone()))
}

#[test]
fn precision_chooses_the_unit() {
    let naive = |unit| DataType::Timestamp(unit, None);
    for (name, expected) in [
        ("TIMESTAMP", naive(TimeUnit::Microsecond)),
        ("TIMESTAMP(0)", naive(TimeUnit::Second)),
        ("TIMESTAMP(1)", naive(TimeUnit::Millisecond)),
        ("TIMESTAMP(3)", naive(TimeUnit::Millisecond)),
        ("TIMESTAMP(4)", naive(TimeUnit::Microsecond)),
        ("TIMESTAMP(9)", naive(TimeUnit::Nanosecond)),
        ("TIMESTAMP(7) WITH TIME ZONE", DataType::Timestamp(TimeUnit::Nanosecond, Some("Europe/Rome".into()))),
        ("TIMESTAMPTZ", DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Rome".into()))),
        ("TIME", DataType::Time64(TimeUnit::Microsecond)),
        ("TIME(0)", DataType::Time32(TimeUnit::Second)),
        ("TIME(3)", DataType::Time32(TimeUnit::Millisecond)),
        ("TIME(9)", DataType::Time64(TimeUnit::Nanosecond)),
    ] {
        assert_eq!(planned(name).unwrap(), Some(expected), "{name}");
    }
    assert!(planned("TIMESTAMP(10)").unwrap_err().to_string().contains("9 is the most"));
}

#[test]
fn bytes_and_characters_have_their_names() {
    for (name, expected) in [
        ("VARBINARY(1000)", DataType::Binary),
        ("BLOB", DataType::Binary),
        ("BINARY", DataType::Binary),
        ("BINARY(16)", DataType::FixedSizeBinary(16)),
        ("CHARACTER VARYING(20)", DataType::Utf8),
        ("CLOB", DataType::Utf8),
    ] {
        assert_eq!(planned(name).unwrap(), Some(expected), "{name}");
    }
    assert!(planned("BINARY(3000000000)").is_err());
    // What is left to DataFusion, times with a zone among it: it refuses them.
    for name in ["BIGINT", "VARCHAR(10)", "DECIMAL(10, 2)", "TIME WITH TIME ZONE"] {
        assert_eq!(planned(name).unwrap(), None, "{name}");
    }
}

#[test]
fn a_literal_keeps_the_digits_that_are_written() {
    let kept = |sql: &str| {
        let mut statement = Parser::parse_sql(&GenericDialect {}, sql).unwrap().remove(0);
        keep_digits(&mut statement);
        statement.to_string()
    };
    let nine = "SELECT TIMESTAMP(9) '2024-01-01 00:00:00.1234567'";
    assert_eq!(kept("SELECT TIMESTAMP '2024-01-01 00:00:00.1234567'"), nine);
    assert_eq!(kept(nine), nine);
    for same in
        ["SELECT TIMESTAMP '2024-01-01 00:00:00.123456+01:00'", "SELECT TIMESTAMP(3) '2024-01-01 00:00:00.1234567'"]
    {
        assert_eq!(kept(same), same);
    }
}
