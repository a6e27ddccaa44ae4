use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, Int32Array, ListArray, StringArray},
    datatypes::{Int32Type, Schema},
};

use super::*;

fn rows() -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("one"), Some(""), None]));
    let lists = vec![Some(vec![Some(1), None]), None, Some(vec![])];
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists));
    RecordBatch::try_from_iter([("n", numbers), ("t", texts), ("l", lists)]).unwrap()
}

fn schema() -> SchemaRef {
    let rows = rows();
    let field = |column: &ArrayRef| Field::new("", column.data_type().clone(), true);
    Arc::new(Schema::new(rows.columns().iter().map(field).collect::<Vec<_>>()))
}

#[test]
fn any_columns_are_read_in_any_order() {
    let value = encode(&rows()).unwrap();
    for projection in [&[0, 1, 2][..], &[2], &[1, 0], &[0, 0], &[2, 1, 0]] {
        let back = decode(&value, &schema(), projection).unwrap();
        let expected: Vec<_> = projection.iter().map(|i| Arc::clone(rows().column(*i))).collect();
        assert_eq!(back.columns(), expected);
    }
}

#[test]
fn keys_say_whose_a_chunk_is() {
    let at = At { generation: Generation(3), user: UserNo(5), chunk: u64::MAX - 1 };
    let stored = at.key(TableId(9));
    assert_eq!(stored, *b"\0\0\0\x09\0\0\0\0\0\x03\0\0\0\0\0\0\0\x05\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFE");
    assert_eq!(At::read(&stored).unwrap(), at);
    assert!(At::read(&stored[1..]).is_err());
    assert!(At::read(&[&stored[..], b"x"].concat()).is_err());
}

#[test]
fn every_flipped_bit_is_noticed() {
    let good = encode(&rows()).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let error = decode(&bad, &schema(), &[0, 1, 2]).expect_err("a flipped bit");
        assert_eq!(error.kind(), ErrorKind::DataLoss);
    }
    for end in 0..good.len() {
        assert!(decode(&good[..end], &schema(), &[0]).is_err());
    }
}

/// Nonsense under a right checksum must end in an error, or in other values, but not in a panic.
#[test]
fn nonsense_does_not_panic() {
    let good = encode(&rows()).unwrap();
    let mut refused = 0;
    for at in 0..good.len() - CRC {
        for byte in [0, 1, 0x7F, 0x80, 0xFF] {
            let mut bad = good.clone();
            bad[at] = byte;
            seal(&mut bad);
            refused += u64::from(decode(&bad, &schema(), &[0, 1, 2]).is_err());
        }
    }
    assert!(refused > 100, "{refused} were refused");
}

#[test]
fn what_comes_with_another_definition_is_an_error() {
    let value = encode(&rows()).unwrap();
    let fewer = encode(&rows().project(&[0]).unwrap()).unwrap();
    assert_eq!(decode(&fewer, &schema(), &[0]).unwrap_err().kind(), ErrorKind::DataLoss);
    let texts = Arc::new(Schema::new(vec![Field::new("", DataType::Utf8, true); 3]));
    assert_eq!(decode(&value, &texts, &[0, 1, 2]).unwrap_err().kind(), ErrorKind::DataLoss);
}
