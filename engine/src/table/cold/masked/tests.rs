use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array},
    datatypes::Int64Type,
};
use datafusion::{
    error::DataFusionError,
    execution::{TaskContext, runtime_env::RuntimeEnvBuilder},
    physical_plan::{ExecutionPlan, empty::EmptyExec},
};
use insula_storage::Bits;

use super::{Masked, seen};

/// A value that tells the row's number, and its place.
fn batch(places: &[(u32, i64)]) -> RecordBatch {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(places.iter().map(|place| place.1)));
    let files: ArrayRef = Arc::new(UInt32Array::from_iter_values(places.iter().map(|place| place.0)));
    let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(places.iter().map(|place| place.1)));
    RecordBatch::try_from_iter([("value", values), ("file", files), ("row", rows)]).unwrap()
}

fn bits(first: u64, last: u64, set: &[u64]) -> Arc<Bits> {
    let mut bits = Bits::between(first, last);
    set.iter().for_each(|row| bits.insert(*row));
    Arc::new(bits)
}

#[test]
fn rows_are_dropped_by_their_own_files_places() {
    let hidden = [bits(100, 199, &[100, 163, 164, 199]), bits(0, 9, &[5])];
    let rows = [(0, 5), (0, 99), (0, 100), (0, 163), (0, 165), (1, 5), (1, 100), (1, 4), (0, 199), (0, 200)];
    let left = seen(&batch(&rows), &hidden).unwrap();
    assert_eq!(left.num_columns(), 1);
    assert_eq!(&left.column(0).as_primitive::<Int64Type>().values()[..], [5, 99, 165, 100, 4, 200]);
    assert_eq!(seen(&batch(&[(0, 101), (1, 6)]), &hidden).unwrap().num_rows(), 2);
}

#[test]
fn a_place_in_no_file_stops_the_statement() {
    let hidden = [bits(0, 9, &[])];
    assert!(seen(&batch(&[(1, 5)]), &hidden).is_err());
    assert!(seen(&batch(&[(0, 5)]).project(&[0, 2, 1]).unwrap(), &hidden).is_err(), "columns of other types");
    assert!(seen(&batch(&[(0, 5)]).project(&[0]).unwrap(), &hidden).is_err(), "no place");
}

#[test]
fn what_hides_rows_is_accounted_for() {
    let input = Arc::new(EmptyExec::new(batch(&[]).schema()));
    let masked = Masked::new(input, Arc::new([bits(0, 1 << 20, &[])])).unwrap();
    let within = |bytes| {
        let runtime = RuntimeEnvBuilder::new().with_memory_limit(bytes, 1.0).build_arc().unwrap();
        let context = Arc::new(TaskContext::default().with_runtime(runtime));
        let rows = masked.execute(0, Arc::clone(&context)).map(drop);
        assert_eq!(context.memory_pool().reserved(), 0, "given back with the rows");
        rows
    };
    assert!(within((1 << 17) + 64).is_ok());
    assert!(matches!(within(1 << 16), Err(DataFusionError::ResourcesExhausted(_))));
}
