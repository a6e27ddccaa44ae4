use super::*;

fn parse(url: &str) -> Result<Place> {
    Place::parse(Some(url), FsPath::new("/data"))
}

#[test]
fn urls_name_directories_memory_and_buckets() {
    assert_eq!(Place::parse(None, FsPath::new("/data")).unwrap(), Place::Directory("/data/cold".into()));
    for (url, place) in [
        ("file:///a/b", "/a/b"),
        ("memory://", "memory"),
        ("memory:///", "memory"),
        ("s3://bucket", "s3://bucket/"),
        ("s3://bucket/", "s3://bucket/"),
        ("s3://a-b.c/x/y_1", "s3://a-b.c/x/y_1"),
        ("s3://bucket/x/", "s3://bucket/x"),
    ] {
        assert_eq!(parse(url).unwrap().to_string(), place);
    }
}

#[test]
fn other_urls_are_refused_and_not_repeated() {
    let urls = [
        "file://relative",
        "file:///a%20b",
        "nonsense",
        "s3://",
        "s3:///x",
        "s3://bucket//x",
        "s3://bucket/../x",
        "s3://key:secret@bucket/x",
        "s3://bucket/x?y",
        "memory://x",
        "gs://bucket",
    ];
    for url in urls {
        let error = parse(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        assert!(error.message().contains("s3://BUCKET/PREFIX"), "{error}");
        assert!(!error.message().contains("secret"), "{error}");
    }
}

#[test]
fn a_bucket_encloses_what_begins_with_its_prefix() {
    let cases = [
        ("s3://b", "s3://b/x", true),
        ("s3://b/x", "s3://b/x", true),
        ("s3://b/x", "s3://b/x/y", true),
        ("s3://b/x", "s3://b/xy", false),
        ("s3://b/x", "s3://b", false),
        ("s3://b/x", "s3://c/x", false),
        ("file:///x", "file:///x", false),
        ("memory://", "memory://", false),
    ];
    for (outer, inner, expected) in cases {
        assert_eq!(parse(outer).unwrap().encloses(&parse(inner).unwrap()), expected, "{outer} {inner}");
    }
}
