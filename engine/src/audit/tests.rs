use std::{fs, path::Path};

use super::*;

fn user(no: u64, role: Role) -> Identity {
    Identity { name: format!("user {no}").into(), no: UserNo(no), role, actor: None }
}

fn read(by: &Identity, text: &str) -> Event {
    let (verb, text) = (Some(Verb::Select), Some(text.into()));
    Event { verb, text, rows: 2, ..Event::new(Kind::Statement, OK).by(by) }
}

fn define(by: &Identity) -> Event {
    let (verb, text) = (Some(Verb::Create), Some("CREATE TABLE t (a TEXT DEFAULT 'canary')".into()));
    Event { verb, text, tables: ["n.t".into()].into(), ..Event::new(Kind::Statement, OK).by(by) }
}

fn config(directory: &Path) -> AuditConfig {
    AuditConfig { directory: Some(directory.join("audit")), ..AuditConfig::default() }
}

fn written(directory: &Path) -> String {
    fs::read_to_string(directory.join("audit/audit.jsonl")).unwrap()
}

#[tokio::test]
async fn what_was_noted_is_on_disk_once_it_has_settled_and_holds_no_literal() {
    let directory = tempfile::tempdir().unwrap();
    let trail = Trail::open(config(directory.path())).unwrap();
    let (ann, admin) = (user(2, Role::User), user(1, Role::Admin));
    trail.note(read(&ann, "SELECT 'canary'"));
    trail.note(define(&admin));
    trail.settled().await;
    let text = written(directory.path());
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(
        (&lines[0]["user"], &lines[0]["statement"], &lines[0]["rows"], &lines[0]["result"]),
        (&"user 2".into(), &"SELECT".into(), &2.into(), &"OK".into())
    );
    assert_eq!(lines[1]["tables"], serde_json::json!(["n.t"]));
    assert!(!text.contains("canary"), "{text}");
    assert_eq!(lines[0]["text_hash"], format!("{:016x}", trail.hash("SELECT 'canary'")));
    trail.close().await;
}

#[tokio::test]
async fn names_are_written_down_and_texts_where_the_settings_say_so() {
    for texts in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let trail = Trail::open(AuditConfig { texts, ..config(directory.path()) }).unwrap();
        let ann = user(2, Role::User);
        trail.note(read(&ann, "SELECT 'canary'"));
        trail.note(Event { verb: Some(Verb::Grant), ..read(&ann, "GRANT SELECT ON t TO b") });
        trail.close().await;
        let text = written(directory.path());
        assert_eq!(text.contains("canary"), texts);
        assert!(text.contains("GRANT SELECT ON t TO b"), "an audit of rights tells which");
    }
}

#[test]
fn entries_are_seen_by_those_whom_they_concern_and_by_admins() {
    let trail = Trail::in_memory();
    let (ann, bob, admin) = (user(2, Role::User), user(3, Role::Service), user(1, Role::Admin));
    trail.note(read(&ann, "a"));
    trail.note(read(&Identity::on_behalf(ann.clone(), &bob), "as ann"));
    trail.note(Event { user: Some("nobody".into()), ..Event::new(Kind::Refusal, "UNAUTHENTICATED") });
    let seen = |by: &Identity| trail.visible_to(by).len();
    assert_eq!((seen(&ann), seen(&bob), seen(&admin), seen(&user(4, Role::Service))), (2, 1, 3, 0));
    assert_eq!(trail.visible_to(&ann)[1].actor.as_deref(), Some("user 3"));
}

#[tokio::test]
async fn files_are_put_aside_when_full_and_the_oldest_go() {
    let directory = tempfile::tempdir().unwrap();
    let config = AuditConfig { file_bytes: 2_000, files: 3, ..config(directory.path()) };
    let trail = Trail::open(config.clone()).unwrap();
    for n in 0..100 {
        trail.note(Event { rows: n, ..define(&user(1, Role::Admin)) });
        trail.settled().await;
    }
    trail.close().await;
    let mut files: Vec<_> = fs::read_dir(directory.path().join("audit")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(files.iter().all(|file| fs::metadata(file).unwrap().len() <= 2_000));
    assert!(written(directory.path()).contains("\"rows\":99"), "the newest is kept");
    // The next start goes on with the same files, and knows the newest entries.
    let trail = Trail::open(config).unwrap();
    let seen = trail.visible_to(&user(1, Role::Admin));
    assert_eq!(seen.last().map(|event| event.rows), Some(99));
    assert!(seen.len() > 2 && seen.windows(2).all(|pair| pair[0].rows + 1 == pair[1].rows));
    trail.close().await;
}

#[tokio::test]
async fn a_line_that_a_crash_has_cut_spoils_no_other() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("audit")).unwrap();
    fs::write(directory.path().join("audit/audit.jsonl"), "{\"at\":\"2026-01-01T").unwrap();
    let trail = Trail::open(config(directory.path())).unwrap();
    trail.note(define(&user(1, Role::Admin)));
    trail.close().await;
    let text = written(directory.path());
    assert!(line::parse(text.lines().last().unwrap().as_bytes()).is_some(), "{text}");
}

#[test]
fn reads_are_left_out_and_counted_where_nobody_writes_and_definitions_never_are() {
    // A writer that never comes: the state of one whose disk hangs.
    let directory = tempfile::tempdir().unwrap();
    let trail = Trail::new(config(directory.path()));
    let ann = user(2, Role::User);
    for _ in 0..WAITING + 5 {
        trail.note(read(&ann, "x"));
    }
    trail.note(define(&ann));
    trail.note(read(&Identity::on_behalf(ann.clone(), &user(3, Role::Service)), "x"));
    assert_eq!(trail.figures().dropped, 5);
    assert_eq!(trail.state.lock().waiting.len(), WAITING + 2);
}

#[test]
fn memory_is_bounded_by_the_newest() {
    let trail = Trail::new(AuditConfig { memory: 100_000, ..AuditConfig::default() });
    let ann = user(2, Role::User);
    for n in 0..1_000 {
        trail.note(Event { rows: n, ..read(&ann, &"long ".repeat(2_000)) });
    }
    let seen = trail.visible_to(&ann);
    assert!(seen.len() < 100 && seen.last().is_some_and(|event| event.rows == 999), "{}", seen.len());
    let cut = seen[0].text.as_deref().unwrap();
    assert!(cut.len() < 5_000 && cut.ends_with('…'));
    assert_eq!(trail.hash_of(&seen[0]), Some(trail.hash(&"long ".repeat(2_000))), "the hash is of the whole text");
}

#[tokio::test]
async fn texts_of_an_erased_user_are_forgotten_everywhere() {
    let directory = tempfile::tempdir().unwrap();
    let trail = Trail::open(AuditConfig { texts: true, file_bytes: 2_000, ..config(directory.path()) }).unwrap();
    let (ann, bob) = (user(2, Role::User), user(3, Role::User));
    for _ in 0..20 {
        trail.note(read(&ann, "SELECT 'anns'"));
        trail.note(read(&bob, "SELECT 'bobs'"));
        trail.settled().await;
    }
    trail.forget_texts(ann.no).await;
    assert!(trail.visible_to(&ann).iter().all(|event| event.text.is_none()));
    trail.close().await;
    let all: String = fs::read_dir(directory.path().join("audit"))
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    assert!(!all.contains("anns") && all.matches("bobs").count() == 20, "{all}");
    assert_eq!(all.lines().count(), 40, "entries stay, their texts go");
}
