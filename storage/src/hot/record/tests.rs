use super::*;

#[test]
fn golden_bytes() {
    assert_eq!(seal(b"ab"), [1, b'a', b'b', 0xb7, 0xe9, 0xd9, 0x21].as_slice());
}

#[test]
fn every_flipped_bit_and_cut_is_noticed() {
    let sealed = seal(b"payload");
    assert_eq!(open(&sealed, "the record").unwrap(), b"payload");
    for bit in 0..sealed.len() * 8 {
        let mut bad = sealed.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&bad, "the record").unwrap_err().kind(), ErrorKind::DataLoss);
    }
    for end in 0..sealed.len() {
        assert_eq!(open(&sealed[..end], "the record").unwrap_err().kind(), ErrorKind::DataLoss);
    }
}
