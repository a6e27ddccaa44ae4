//! Where the rows of a batch lie, in the order in which they came.

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    compute::{concat, interleave},
};

use super::damaged;
use crate::Result;

/// Rows are put together one by one where, on the average, fewer than so many that follow one another lie side by side.
const LONG: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Part(usize),
    Chunk(usize),
}

/// Rows that follow one another, and lie side by side in their place.
struct Run {
    place: Place,
    from: usize,
    len: usize,
}

#[derive(Default)]
pub(super) struct Runs {
    runs: Vec<Run>,
    rows: usize,
}

impl Runs {
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn memory(&self) -> usize {
        self.runs.capacity() * size_of::<Run>()
    }

    pub fn push(&mut self, place: Place, at: usize) {
        self.rows += 1;
        match self.runs.last_mut() {
            Some(run) if run.place == place && run.from + run.len == at => run.len += 1,
            _ => self.runs.push(Run { place, from: at, len: 1 }),
        }
    }

    /// Column `i` of all rows. `batches`: first so many `parts`, then the chunks.
    pub fn gather(&self, batches: &[RecordBatch], parts: usize, i: usize) -> Result<ArrayRef> {
        let batch = |place: Place| match place {
            Place::Part(at) => at,
            Place::Chunk(at) => parts + at,
        };
        let slice = |run: &Run| batches[batch(run.place)].column(i).slice(run.from, run.len);
        match self.runs.as_slice() {
            [] => Ok(batches[0].column(i).slice(0, 0)),
            // A slice of a chunk would keep all of it.
            [run @ Run { place: Place::Chunk(_), .. }] => {
                let column = slice(run);
                concat(&[column.as_ref(), column.slice(0, 0).as_ref()]).map_err(damaged)
            }
            [run] => Ok(slice(run)),
            runs if runs.len() * LONG <= self.rows => {
                let slices: Vec<ArrayRef> = runs.iter().map(slice).collect();
                let slices: Vec<&dyn Array> = slices.iter().map(AsRef::as_ref).collect();
                concat(&slices).map_err(damaged)
            }
            runs => {
                let columns: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(i).as_ref()).collect();
                let rows = |run: &Run| {
                    let at = batch(run.place);
                    (run.from..run.from + run.len).map(move |row| (at, row))
                };
                interleave(&columns, &runs.iter().flat_map(rows).collect::<Vec<_>>()).map_err(damaged)
            }
        }
    }
}
