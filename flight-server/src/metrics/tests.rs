use insula_engine::Role;
use insula_proto::UserNo;

use super::*;

fn line<'a>(text: &'a str, start: &str) -> &'a str {
    let found = text.lines().find(|line| line.starts_with(start));
    found.unwrap_or_else(|| panic!("no line begins with {start}:\n{text}"))
}

#[test]
fn statements_are_counted_by_what_they_do_and_how_they_end_and_by_no_name() {
    let metrics = Metrics::new().unwrap();
    let ann = insula_engine::Identity { name: "ann".into(), no: UserNo(7), role: Role::User, actor: None };
    let verb = Some(Verb::Select);
    let read = Event { verb, rows: 3, bytes: 100, run_micros: 2_000, ..Event::new(Kind::Statement, "OK").by(&ann) };
    metrics.noted(&read);
    metrics.noted(&read);
    metrics.noted(&Event { verb, ..Event::new(Kind::Statement, "NOT_FOUND").by(&ann) });
    metrics.noted(&Event { method: Some("password"), ..Event::new(Kind::Refusal, "UNAUTHENTICATED").by(&ann) });
    let text = metrics.render();
    assert!(line(&text, "insula_statements_total{statement=\"SELECT\",result=\"OK\"}").ends_with(" 2"));
    assert!(line(&text, "insula_statements_total{statement=\"SELECT\",result=\"NOT_FOUND\"}").ends_with(" 1"));
    assert!(line(&text, "insula_statement_rows_total{statement=\"SELECT\"}").ends_with(" 6"));
    assert!(line(&text, "insula_statement_seconds_bucket{statement=\"SELECT\",le=\"0.0025\"}").ends_with(" 3"));
    assert!(line(&text, "insula_refusals_total{").ends_with(" 1"));
    assert!(!text.contains("ann"), "{text}");
}

#[test]
fn the_process_is_told_of() {
    let text = Metrics::new().unwrap().render();
    let bytes: f64 = line(&text, "process_resident_memory_bytes").rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!(bytes > 1e6);
    line(&text, "process_open_fds");
    line(&text, "insula_build_info{version=");
}

#[test]
fn results_of_all_codes_have_a_place() {
    for code in 0..17 {
        assert!(RESULTS.contains(&crate::status::name(tonic::Code::from_i32(code))), "{code}");
    }
    for (at, verb) in Verb::ALL.into_iter().enumerate() {
        assert_eq!(verb as usize, at);
    }
}
