//! Divides a user's rows of several files among partitions, so that each has about as many rows and, where the keys
//! allow it, reads them in the order of the key.

use std::ops::Range;

use insula_storage::ColdSlice;
use parquet::file::metadata::ParquetMetaData;

/// Rows below which another partition costs more than it gains.
const PARTITION_ROWS: u64 = 64 << 10;
/// Files up to which each is a partition of its own where their keys overlap: an ordered merge of few streams is cheaper
/// than a sort.
const STREAMS: usize = 16;

/// Rows of one file.
pub(super) struct Piece {
    /// Index into the files.
    pub file: usize,
    /// Ascending, disjoint, not empty.
    pub ranges: Vec<Range<u64>>,
}

/// The pieces of each partition: no more than one piece of a file in each, no row in two. `files` are put in the order
/// of their keys where those are disjoint; then the pieces of a partition follow that order, and so do partitions.
pub(super) fn split(files: &mut [ColdSlice], partitions: usize) -> Vec<Vec<Piece>> {
    let total: u64 = files.iter().map(ColdSlice::rows).sum();
    let wanted = (total / PARTITION_ROWS).clamp(1, partitions.max(1) as u64);
    files.sort_by(|a, b| a.key_bounds.cmp(&b.key_bounds));
    let quota = total.div_ceil(wanted).max(1);
    if files.windows(2).all(|pair| pair[0].key_bounds.1 < pair[1].key_bounds.0) {
        return in_order(files, quota);
    }
    if files.len() <= STREAMS {
        let alone = |(number, file): (usize, &ColdSlice)| {
            let pieces = in_order(std::slice::from_ref(file), quota).into_iter().flatten();
            pieces.map(move |piece| vec![Piece { file: number, ..piece }]).collect::<Vec<_>>()
        };
        return files.iter().enumerate().flat_map(alone).collect();
    }
    balanced(files, wanted as usize)
}

/// Fills one partition after the other.
fn in_order(files: &[ColdSlice], quota: u64) -> Vec<Vec<Piece>> {
    let mut partitions = vec![Vec::new()];
    let mut left = quota;
    for (number, file) in files.iter().enumerate() {
        let mut rest = file.ranges.clone();
        let mut rows = file.rows();
        while rows > 0 {
            // A last bit that would make a tiny partition goes to the one before.
            let fits = rows <= left + quota / 8;
            let (piece, after) = if fits { (rest, Vec::new()) } else { cut(file, rest, left) };
            let taken = count(&piece);
            rows -= taken;
            left = left.saturating_sub(taken);
            rest = after;
            if taken > 0
                && let Some(last) = partitions.last_mut()
            {
                last.push(Piece { file: number, ranges: piece });
            }
            if left <= quota / 8 || rows > 0 {
                partitions.push(Vec::new());
                left = quota;
            }
        }
    }
    partitions.retain(|pieces| !pieces.is_empty());
    partitions
}

/// Whole files, the largest first, each to the partition that has least.
fn balanced(files: &[ColdSlice], partitions: usize) -> Vec<Vec<Piece>> {
    let mut all: Vec<(u64, Vec<Piece>)> = (0..partitions).map(|_| (0, Vec::new())).collect();
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by_key(|number| std::cmp::Reverse(files[*number].rows()));
    for number in order {
        if let Some((rows, pieces)) = all.iter_mut().min_by_key(|(rows, _)| *rows) {
            *rows += files[number].rows();
            pieces.push(Piece { file: number, ranges: files[number].ranges.clone() });
        }
    }
    all.into_iter().map(|(_, pieces)| pieces).filter(|pieces| !pieces.is_empty()).collect()
}

/// Cuts off about `rows` rows, where a row group or a page begins if one does nearby: a page that is cut is decoded
/// twice.
fn cut(file: &ColdSlice, ranges: Vec<Range<u64>>, rows: u64) -> (Vec<Range<u64>>, Vec<Range<u64>>) {
    let at = row_at(&ranges, rows);
    let (first, last) = (ranges[0].start, ranges[ranges.len() - 1].end);
    let near = rows / 6;
    let at = boundary(file.footer.metadata(), at, near).filter(|at| first < *at && *at < last).unwrap_or(at);
    let before = ranges.iter().filter(|r| r.start < at).map(|r| r.start..r.end.min(at)).collect();
    let after = ranges.iter().filter(|r| r.end > at).map(|r| r.start.max(at)..r.end).collect();
    (before, after)
}

/// The row of the file before which `rows` rows of the ranges lie.
fn row_at(ranges: &[Range<u64>], mut rows: u64) -> u64 {
    for range in ranges {
        let here = range.end - range.start;
        if rows < here {
            return range.start + rows;
        }
        rows -= here;
    }
    ranges.last().map_or(0, |range| range.end)
}

/// The beginning of a row group, else of a page of the first column, closest to row `at` and within `near` rows of it.
fn boundary(footer: &ParquetMetaData, at: u64, near: u64) -> Option<u64> {
    let groups = footer.row_groups().iter().scan(0, |start, group| {
        let rows = *start..*start + group.num_rows().unsigned_abs();
        *start = rows.end;
        Some(rows)
    });
    let groups: Vec<Range<u64>> = groups.collect();
    let closest = |rows: &mut dyn Iterator<Item = u64>| {
        rows.filter(|row| row.abs_diff(at) <= near).min_by_key(|row| row.abs_diff(at))
    };
    closest(&mut groups.iter().map(|group| group.start)).or_else(|| {
        let number = groups.iter().position(|group| group.contains(&at))?;
        let pages = footer.offset_index()?.get(number)?.first()?.page_locations();
        closest(&mut pages.iter().map(|page| groups[number].start + page.first_row_index.unsigned_abs()))
    })
}

fn count(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

#[cfg(test)]
mod tests;
