use super::*;

fn of(headers: &[(&'static str, &str)]) -> Result<Format, Status> {
    let parsed = headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap()));
    Format::of(&parsed.collect::<HeaderMap>())
}

#[test]
fn plain_and_uncompressed_unless_asked_otherwise() {
    assert_eq!(of(&[]).unwrap(), Format::default());
    let asked = of(&[(TYPES, " views , dictionaries"), (COMPRESSION, "zstd")]).unwrap();
    assert_eq!(asked.types, Types { views: true, dictionaries: true });
    assert_eq!(asked.compression, Some(CompressionType::ZSTD));
    assert!(of(&[(PARTITIONS, "on")]).unwrap().partitions);
    assert_eq!(of(&[(COMPRESSION, "lz4")]).unwrap().compression, Some(CompressionType::LZ4_FRAME));
    assert_eq!(of(&[(COMPRESSION, "none"), (TYPES, "")]).unwrap(), Format::default());
}

#[test]
fn unknown_wishes_are_refused_by_name() {
    for (name, value) in [(TYPES, "view"), (COMPRESSION, "gzip"), (PARTITIONS, "4")] {
        let status = of(&[(name, value)]).unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(status.message().contains(name) && status.message().contains(value), "{}", status.message());
    }
}
