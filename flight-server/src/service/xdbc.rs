//! GetXdbcTypeInfo: the types of CREATE TABLE as ODBC and JDBC number them.

use arrow_flight::{
    error::Result,
    sql::{
        Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode,
        metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder},
    },
};

/// Longest text or blob: offsets are 32-bit.
const LONGEST: i32 = i32::MAX;

pub fn type_info() -> Result<XdbcTypeInfoData> {
    let mut types = XdbcTypeInfoDataBuilder::new();
    types.append(XdbcTypeInfo { column_size: Some(1), ..plain("BOOLEAN", XdbcDataType::XdbcBit) });
    for (name, data_type, digits) in [
        ("TINYINT", XdbcDataType::XdbcTinyint, 3),
        ("SMALLINT", XdbcDataType::XdbcSmallint, 5),
        ("INTEGER", XdbcDataType::XdbcInteger, 10),
        ("BIGINT", XdbcDataType::XdbcBigint, 19),
    ] {
        types.append(integer(name, data_type, digits, false));
        types.append(integer(&format!("{name} UNSIGNED"), data_type, digits + i32::from(digits == 19), true));
    }
    types.append(number("REAL", XdbcDataType::XdbcReal, 24, 2));
    types.append(number("DOUBLE", XdbcDataType::XdbcDouble, 53, 2));
    types.append(XdbcTypeInfo {
        create_params: Some(vec!["precision".into(), "scale".into()]),
        fixed_prec_scale: false,
        minimum_scale: Some(0),
        maximum_scale: Some(76),
        ..number("DECIMAL", XdbcDataType::XdbcDecimal, 76, 10)
    });
    types.append(XdbcTypeInfo { case_sensitive: true, ..quoted("VARCHAR", XdbcDataType::XdbcVarchar, "'", LONGEST) });
    types.append(XdbcTypeInfo { case_sensitive: true, ..quoted("TEXT", XdbcDataType::XdbcLongvarchar, "'", LONGEST) });
    types.append(quoted("VARBINARY", XdbcDataType::XdbcVarbinary, "X'", LONGEST));
    types.append(quoted("BYTEA", XdbcDataType::XdbcLongvarbinary, "X'", LONGEST));
    types.append(XdbcTypeInfo {
        create_params: Some(vec!["length".into()]),
        ..quoted("BINARY", XdbcDataType::XdbcBinary, "X'", LONGEST)
    });
    types.append(moment("DATE", XdbcDataType::XdbcDate, XdbcDatetimeSubcode::XdbcSubcodeYear, 10, None));
    types.append(moment("TIME", XdbcDataType::XdbcTime, XdbcDatetimeSubcode::XdbcSubcodeTime, 18, Some(9)));
    let timestamp = XdbcDataType::XdbcTimestamp;
    types.append(moment("TIMESTAMP", timestamp, XdbcDatetimeSubcode::XdbcSubcodeTimestamp, 29, Some(9)));
    let zoned = XdbcDatetimeSubcode::XdbcSubcodeTimestampWithTimezone;
    types.append(moment("TIMESTAMP WITH TIME ZONE", timestamp, zoned, 35, Some(9)));
    types.append(XdbcTypeInfo {
        datetime_subcode: Some(XdbcDatetimeSubcode::XdbcSubcodeIntervalDayToSecond),
        interval_precision: Some(9),
        ..quoted("INTERVAL", XdbcDataType::XdbcInterval, "INTERVAL '", 64)
    });
    types.build()
}

fn plain(name: &str, data_type: XdbcDataType) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_owned(),
        data_type,
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Full,
        local_type_name: Some(name.to_owned()),
        sql_data_type: data_type,
        ..XdbcTypeInfo::default()
    }
}

fn number(name: &str, data_type: XdbcDataType, digits: i32, radix: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        column_size: Some(digits),
        unsigned_attribute: Some(false),
        auto_increment: Some(false),
        num_prec_radix: Some(radix),
        ..plain(name, data_type)
    }
}

fn integer(name: &str, data_type: XdbcDataType, digits: i32, unsigned: bool) -> XdbcTypeInfo {
    XdbcTypeInfo {
        unsigned_attribute: Some(unsigned),
        fixed_prec_scale: true,
        minimum_scale: Some(0),
        maximum_scale: Some(0),
        ..number(name, data_type, digits, 10)
    }
}

fn quoted(name: &str, data_type: XdbcDataType, prefix: &str, size: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        column_size: Some(size),
        literal_prefix: Some(prefix.to_owned()),
        literal_suffix: Some("'".to_owned()),
        ..plain(name, data_type)
    }
}

/// `sql_data_type` is the general type of date and time, which the subcode makes precise.
fn moment(
    name: &str,
    data_type: XdbcDataType,
    subcode: XdbcDatetimeSubcode,
    size: i32,
    scale: Option<i32>,
) -> XdbcTypeInfo {
    let word = name.split(' ').next().unwrap_or(name);
    XdbcTypeInfo {
        sql_data_type: XdbcDataType::XdbcDatetime,
        datetime_subcode: Some(subcode),
        minimum_scale: scale.map(|_| 0),
        maximum_scale: scale,
        ..quoted(name, data_type, &format!("{word} '"), size)
    }
}
