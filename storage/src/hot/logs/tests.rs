use super::*;

/// A record as RocksDB writes it, but for its checksum.
fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_le_bytes();
    [&[0; 4][..], &length, &[kind], content].concat()
}

/// A log of three blocks: whole records, one in fragments, the padding at a block's end.
fn log() -> Vec<u8> {
    let mut log = record(1, b"first");
    log.extend(record(2, &vec![7; BLOCK - log.len() - HEADER]));
    log.extend(record(3, &vec![7; BLOCK - HEADER]));
    log.extend(record(4, b"end"));
    log.extend(record(1, b""));
    log
}

#[test]
fn what_is_written_is_read() {
    assert_eq!(damage(&log()[..]).unwrap(), None);
    assert_eq!(damage(&b""[..]).unwrap(), None);
    // Whatever a crash leaves of it, with and without the zeros of a file that was made longer.
    for end in (0..log().len()).step_by(997) {
        let torn = [&log()[..end], &[0; 100]].concat();
        assert_eq!(damage(&torn[..end]).unwrap(), None, "{end}");
        assert_eq!(damage(&torn[..]).unwrap(), None, "{end}");
    }
}

#[test]
fn a_record_of_another_kind_of_log_is_found_wherever_it_is() {
    let places = [0, HEADER + 5, BLOCK, 2 * BLOCK, 2 * BLOCK + HEADER + 3];
    for place in places {
        for kind in [5, 6, 7, 8, 11, 131] {
            let mut log = log();
            log[place + 6] = kind;
            assert_eq!(damage(&log[..]).unwrap(), Some(place as u64), "{kind}");
        }
    }
}
