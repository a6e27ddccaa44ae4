//! Queries at random, over the grammar that is accepted: they are to be planned and to run more often than not, and
//! what they return is not known. Whatever it is, nothing of it may be another's.

use crate::{rng::Rng, world::Known};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int,
    Text,
}

#[derive(Clone)]
struct Column {
    name: String,
    kind: Kind,
}

/// Something that can stand behind FROM.
struct Relation {
    sql: String,
    columns: Vec<Column>,
}

const TABLES: [(&str, &[(&str, Kind)]); 6] = [
    ("t", &[("id", Kind::Int), ("v", Kind::Int), ("name", Kind::Text), ("note", Kind::Text)]),
    ("s", &[("token", Kind::Text), ("t_id", Kind::Int), ("amount", Kind::Int)]),
    ("log", &[("n", Kind::Int), ("tag", Kind::Text)]),
    ("f", &[("b", Kind::Int), ("a", Kind::Text), ("v", Kind::Int)]),
    ("other.t", &[("id", Kind::Int), ("name", Kind::Text)]),
    ("pub", &[("id", Kind::Int), ("label", Kind::Text)]),
];

/// Makes queries; `other` is somebody whose keys and values it tries out.
pub struct Grammar<'a> {
    rng: &'a mut Rng,
    own: &'a Known,
    other: &'a Known,
    names: usize,
}

impl<'a> Grammar<'a> {
    pub fn new(rng: &'a mut Rng, own: &'a Known, other: &'a Known) -> Self {
        Self { rng, own, other, names: 0 }
    }

    pub fn query(&mut self) -> String {
        match self.rng.below(12) {
            0..5 => self.select(2),
            5 | 6 => self.grouped(),
            7 => self.windowed(),
            8 | 9 => self.combined(),
            10 => self.common_table(),
            _ => self.recursive(),
        }
    }

    fn chance(&mut self, of: u64) -> bool {
        self.rng.below(of) == 0
    }

    fn pick<'b, T>(&mut self, from: &'b [T]) -> &'b T {
        &from[self.rng.below(from.len() as u64) as usize]
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("x{}", self.names)
    }

    fn select(&mut self, depth: u32) -> String {
        let from = self.relation(depth);
        let columns = &from.columns;
        let list = (0..1 + self.rng.below(4)).map(|i| format!("{} AS e{i}", self.any(columns, depth)));
        let list: Vec<_> = list.collect();
        let list = if self.chance(5) { "*".to_owned() } else { list.join(", ") };
        let distinct = match self.rng.below(10) {
            0 => "DISTINCT ".to_owned(),
            1 => format!("DISTINCT ON ({}) ", self.pick(columns).name.clone()),
            _ => String::new(),
        };
        let filter = self.filter(columns, depth);
        let tail = if distinct.contains("ON") { String::new() } else { self.tail(columns, distinct.is_empty()) };
        format!("SELECT {distinct}{list} FROM {} WHERE {filter}{tail}", from.sql)
    }

    fn tail(&mut self, columns: &[Column], by_column: bool) -> String {
        let mut tail = String::new();
        if self.chance(2) {
            let by = if by_column { self.pick(columns).name.clone() } else { "1".into() };
            tail += &format!(" ORDER BY {by}{}", self.pick(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]));
        }
        if self.chance(3) {
            tail += &format!(" LIMIT {}", 1 + self.rng.below(9));
        }
        if self.chance(6) {
            tail += &format!(" OFFSET {}", self.rng.below(3));
        }
        tail
    }

    fn grouped(&mut self) -> String {
        let from = self.relation(2);
        let columns = &from.columns;
        let (a, b) = (self.pick(columns).name.clone(), self.pick(columns).name.clone());
        let by = match self.rng.below(6) {
            0 => format!("ROLLUP ({a}, {b})"),
            1 => format!("CUBE ({a}, {b})"),
            2 => format!("GROUPING SETS (({a}), ({b}), ())"),
            _ => format!("{a}, {b}"),
        };
        let aggregates: Vec<_> =
            (0..1 + self.rng.below(3)).map(|i| format!("{} AS g{i}", self.aggregate(columns))).collect();
        let having = if self.chance(3) { " HAVING count(*) > 0" } else { "" };
        let filter = self.filter(columns, 1);
        format!(
            "SELECT {a} AS a1, {b} AS b1, {} FROM {} WHERE {filter} GROUP BY {by}{having}",
            aggregates.join(", "),
            from.sql
        )
    }

    fn aggregate(&mut self, columns: &[Column]) -> String {
        let column = self.pick(columns).clone();
        let name = &column.name;
        let filter =
            if self.chance(5) { format!(" FILTER (WHERE {})", self.filter(columns, 0)) } else { String::new() };
        let function = match (self.rng.below(8), column.kind) {
            (0, _) => "count(*)".to_owned(),
            (1, _) => format!("count(DISTINCT {name})"),
            (2, _) => format!("array_agg({name})"),
            (3, Kind::Text) => format!("string_agg({name}, ',' ORDER BY {name})"),
            (3 | 4, Kind::Int) => format!("sum({name})"),
            (5, Kind::Int) => format!("median({name})"),
            (6, _) => format!("first_value({name} ORDER BY {name})"),
            (7, _) => format!("min({name})"),
            _ => format!("max({name})"),
        };
        function + &filter
    }

    fn windowed(&mut self) -> String {
        let from = self.relation(1);
        let columns = &from.columns;
        let (a, b, c) = (self.any(columns, 0), self.pick(columns).name.clone(), self.pick(columns).name.clone());
        let function = match self.rng.below(7) {
            0 => "row_number()".to_owned(),
            1 => format!("lag({a})"),
            2 => format!("lead({a}, 2)"),
            3 => format!("first_value({a})"),
            4 => format!("max({a})"),
            5 => "rank()".to_owned(),
            _ => format!("last_value({a})"),
        };
        let frame = match self.rng.below(3) {
            0 => format!("PARTITION BY {b} ORDER BY {c}"),
            1 => format!("ORDER BY {c}"),
            _ => format!("ORDER BY {b}, {c} ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING"),
        };
        let filter = self.filter(columns, 1);
        format!("SELECT {a} AS a1, {function} OVER ({frame}) AS w1 FROM {} WHERE {filter}", from.sql)
    }

    /// One number and one text, as all parts of a set operation have them.
    fn pair(&mut self, depth: u32) -> String {
        let from = self.relation(depth);
        let (number, text) = (self.number(&from.columns, 0), self.text(&from.columns, 0));
        let filter = self.filter(&from.columns, depth);
        format!("SELECT {number} AS n, {text} AS m FROM {} WHERE {filter}", from.sql)
    }

    fn combined(&mut self) -> String {
        let operator = *self.pick(&["UNION ALL", "UNION", "INTERSECT", "EXCEPT"]);
        let (a, b) = (self.pair(1), self.pair(1));
        let third = if self.chance(3) { format!(" UNION ALL ({})", self.pair(0)) } else { String::new() };
        format!("({a}) {operator} ({b}){third} ORDER BY 1, 2 LIMIT 50")
    }

    fn common_table(&mut self) -> String {
        let (a, b) = (self.pair(1), self.pair(1));
        match self.rng.below(3) {
            0 => format!("WITH c AS ({a}) SELECT * FROM c x JOIN c y ON x.n = y.n"),
            1 => format!(
                "WITH c AS ({a}), d AS ({b}) SELECT c.m, d.m, (SELECT count(*) FROM c) FROM c LEFT JOIN d ON c.n = d.n"
            ),
            _ => format!("WITH c AS ({a}) SELECT m, count(*) FROM c WHERE n IN (SELECT n FROM ({b}) q) GROUP BY m"),
        }
    }

    fn recursive(&mut self) -> String {
        let start = self.pair(0);
        match self.rng.below(2) {
            0 => format!(
                "WITH RECURSIVE r AS (SELECT 0 AS depth, n, m FROM ({start}) q UNION ALL \
                 SELECT r.depth + 1, r.n, r.m FROM r WHERE r.depth < 3) SELECT depth, m, n FROM r"
            ),
            _ => format!(
                "WITH RECURSIVE r AS (SELECT id, name FROM t WHERE id = 0 UNION ALL \
                 SELECT t.id, t.name FROM r JOIN t ON t.id = r.id + 1) SELECT r.id, q.m FROM r LEFT JOIN ({start}) q ON q.n = r.id"
            ),
        }
    }

    fn base(&mut self) -> Relation {
        let (table, columns) = *self.pick(&TABLES);
        let name = self.name();
        let column = |(column, kind): &(&str, Kind)| Column { name: format!("{name}.{column}"), kind: *kind };
        let mut columns: Vec<_> = columns.iter().map(column).collect();
        if self.chance(12) && table != "pub" {
            columns.push(Column { name: format!("{name}._deleted::int"), kind: Kind::Int });
        }
        let written = *self.pick(&["", "", "", "insula."]);
        let table = match table {
            "other.t" => format!("{written}other.t"),
            plain if written.is_empty() => plain.to_owned(),
            plain => format!("{written}public.{plain}"),
        };
        Relation { sql: format!("{table} AS {name}"), columns }
    }

    fn relation(&mut self, depth: u32) -> Relation {
        if depth == 0 {
            return self.base();
        }
        match self.rng.below(14) {
            0..5 => self.base(),
            5..8 => self.join(depth),
            8 | 9 => self.derived(depth),
            10 => {
                let name = self.name();
                let columns = vec![
                    Column { name: format!("{name}.c1"), kind: Kind::Int },
                    Column { name: format!("{name}.c2"), kind: Kind::Text },
                ];
                let (number, token) = (self.own.number, self.own.tokens.first().map_or("none", |token| token));
                Relation { sql: format!("(VALUES (1, 'a'), ({number}, '{token}')) AS {name} (c1, c2)"), columns }
            }
            11 => {
                let name = self.name();
                let columns = vec![Column { name: format!("{name}.c1"), kind: Kind::Int }];
                let sql = self.pick(&["generate_series(0, 5)", "unnest(ARRAY[1, 2, 3])"]);
                Relation { sql: format!("{sql} AS {name} (c1)"), columns }
            }
            12 => self.lateral(),
            _ => self.base(),
        }
    }

    fn join(&mut self, depth: u32) -> Relation {
        let (a, b) = (self.relation(depth - 1), self.relation(depth - 1));
        let both: Vec<_> = a.columns.iter().chain(&b.columns).cloned().collect();
        let on = match (self.column_of(&a.columns, Kind::Int), self.column_of(&b.columns, Kind::Int)) {
            (Some(left), Some(right)) if !self.chance(4) => format!("{left} = {right}"),
            _ => self.predicate(&both, 0),
        };
        let (kind, columns) = match self.rng.below(9) {
            0 => ("LEFT JOIN", both),
            1 => ("RIGHT JOIN", both),
            2 => ("FULL JOIN", both),
            3 => ("LEFT SEMI JOIN", a.columns),
            4 => ("LEFT ANTI JOIN", a.columns),
            5 => return Relation { sql: format!("{} CROSS JOIN {}", a.sql, b.sql), columns: both },
            _ => ("JOIN", both),
        };
        Relation { sql: format!("{} {kind} {} ON {on}", a.sql, b.sql), columns }
    }

    fn derived(&mut self, depth: u32) -> Relation {
        let inner = self.relation(depth - 1);
        let (number, text) = (self.number(&inner.columns, 0), self.text(&inner.columns, 0));
        let filter = self.filter(&inner.columns, depth - 1);
        let tail = self.tail(&inner.columns, true);
        let name = self.name();
        let columns = vec![
            Column { name: format!("{name}.c1"), kind: Kind::Int },
            Column { name: format!("{name}.c2"), kind: Kind::Text },
        ];
        Relation {
            sql: format!("(SELECT {number} AS c1, {text} AS c2 FROM {} WHERE {filter}{tail}) AS {name}", inner.sql),
            columns,
        }
    }

    fn lateral(&mut self) -> Relation {
        let (a, b) = (self.base(), self.base());
        let name = self.name();
        let on = match (self.column_of(&a.columns, Kind::Int), self.column_of(&b.columns, Kind::Int)) {
            (Some(left), Some(right)) => format!("{left} = {right}"),
            _ => "true".into(),
        };
        let text = self.text(&b.columns, 0);
        let mut columns = a.columns;
        columns.push(Column { name: format!("{name}.c1"), kind: Kind::Text });
        Relation {
            sql: format!("{} CROSS JOIN LATERAL (SELECT {text} AS c1 FROM {} WHERE {on}) AS {name}", a.sql, b.sql),
            columns,
        }
    }

    fn column_of(&mut self, columns: &[Column], kind: Kind) -> Option<String> {
        let fitting: Vec<_> = columns.iter().filter(|column| column.kind == kind).collect();
        (!fitting.is_empty()).then(|| self.pick(&fitting).name.clone())
    }

    fn any(&mut self, columns: &[Column], depth: u32) -> String {
        if self.chance(2) { self.number(columns, depth) } else { self.text(columns, depth) }
    }

    fn number(&mut self, columns: &[Column], depth: u32) -> String {
        let column = self.column_of(columns, Kind::Int).unwrap_or_else(|| "7".into());
        match self.rng.below(12) {
            0 => format!("{column} + 1"),
            1 => format!("coalesce({column}, 0)"),
            2 => format!("CASE WHEN {} THEN {column} ELSE 0 END", self.predicate(columns, 0)),
            3 => match self.column_of(columns, Kind::Text) {
                Some(text) => format!("length({text})"),
                None => column,
            },
            4 if depth > 0 => {
                let inner = self.base();
                let most = self.column_of(&inner.columns, Kind::Int).unwrap_or_else(|| "1".into());
                format!("(SELECT max({most}) FROM {} WHERE {})", inner.sql, self.predicate(&inner.columns, 0))
            }
            5 if depth > 0 => {
                let inner = self.base();
                let own = self.column_of(&inner.columns, Kind::Int).unwrap_or_else(|| "1".into());
                format!("(SELECT count(*) FROM {} WHERE {own} = {column})", inner.sql)
            }
            6 => format!("CAST({column} AS INT) % 5"),
            _ => column,
        }
    }

    fn text(&mut self, columns: &[Column], depth: u32) -> String {
        let Some(column) = self.column_of(columns, Kind::Text) else { return "'none'".into() };
        match self.rng.below(14) {
            0 => format!("upper({column})"),
            1 => format!("{column} || '-'"),
            2 => format!("coalesce({column}, 'nothing')"),
            3 => format!("substr({column}, 1, {})", 1 + self.rng.below(20)),
            4 => format!("CASE WHEN {} THEN {column} END", self.predicate(columns, 0)),
            5 => "current_user".into(),
            6 => format!("regexp_replace({column}, '[a-c]', '-')"),
            7 => format!("encode({column}::bytea, 'hex')"),
            8 if depth > 0 => {
                let inner = self.base();
                let most = self.column_of(&inner.columns, Kind::Text).unwrap_or_else(|| "'x'".into());
                format!("(SELECT min({most}) FROM {})", inner.sql)
            }
            _ => column,
        }
    }

    fn filter(&mut self, columns: &[Column], depth: u32) -> String {
        match self.rng.below(6) {
            0 | 1 => "true".into(),
            2 => format!("{} AND {}", self.predicate(columns, depth), self.predicate(columns, depth)),
            3 => format!("({} OR {})", self.predicate(columns, depth), self.predicate(columns, 0)),
            _ => self.predicate(columns, depth),
        }
    }

    fn predicate(&mut self, columns: &[Column], depth: u32) -> String {
        let number = self.column_of(columns, Kind::Int);
        let text = self.column_of(columns, Kind::Text);
        match (self.rng.below(16), number, text) {
            (0 | 1, Some(number), _) => format!("{number} {} {}", self.comparison(), self.rng.below(12)),
            (2, Some(number), _) => format!("{number} {} {}", self.comparison(), self.other.number),
            (3, Some(number), _) => {
                format!("{number} IN ({}, {}, {})", self.rng.below(9), self.other.number, self.own.number)
            }
            (4, Some(number), _) => format!("{number} BETWEEN {} AND {}", self.rng.below(5), self.other.number),
            (5, _, Some(text)) => format!("{text} = '{}'", self.token()),
            (6, _, Some(text)) => format!("{text} {} '{}'", self.comparison(), self.token()),
            (7, _, Some(text)) => format!("{text} LIKE '{}%'", self.pick(&["cnry", "cnry00", "%x", "p"])),
            (8, _, Some(text)) => format!("{text} IN ('{}', '{}')", self.token(), self.token()),
            (9, _, Some(text)) => format!("{text} IS {}NULL", self.pick(&["", "NOT "])),
            // Casts that fail on most rows: of whose rows does the message speak?
            (10, _, Some(text)) if self.chance(3) => format!("CAST({text} AS BIGINT) > 5"),
            (11, Some(number), _) if depth > 0 => {
                let inner = self.base();
                let own = self.column_of(&inner.columns, Kind::Int).unwrap_or_else(|| "1".into());
                let not = *self.pick(&["", "NOT "]);
                format!("{not}EXISTS (SELECT 1 FROM {} WHERE {own} = {number})", inner.sql)
            }
            (12, Some(number), _) if depth > 0 => {
                let inner = self.base();
                let own = self.column_of(&inner.columns, Kind::Int).unwrap_or_else(|| "1".into());
                let not = *self.pick(&["", "NOT "]);
                format!(
                    "{number} {not}IN (SELECT {own} FROM {} WHERE {})",
                    inner.sql,
                    self.predicate(&inner.columns, 0)
                )
            }
            (13, Some(number), _) => format!("NOT ({number} > {})", self.rng.below(9)),
            (14, Some(number), _) if self.chance(8) => format!("1 / ({number} - {number}) = 1"),
            (_, Some(number), _) => format!("{number} >= {}", self.rng.below(6)),
            _ => "true".into(),
        }
    }

    fn comparison(&mut self) -> &'static str {
        self.pick::<&str>(&["=", "<", ">", "<=", ">=", "<>"])
    }

    /// As often another's as one's own.
    fn token(&mut self) -> String {
        let of = if self.chance(2) { &self.own.tokens } else { &self.other.tokens };
        let at = self.rng.below(of.len().max(1) as u64) as usize;
        of.get(at).cloned().unwrap_or_else(|| "none".into())
    }
}
