//! The statements that are Insula's own, parsed from tokens: users, flushes, and what else sqlparser does not know.

mod grant;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::{Error, Result, Role};
pub(crate) use grant::{Grant, GranteeName, Objects};

/// Which of the names a SHOW tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Like {
    pub pattern: String,
    /// ILIKE.
    pub any_case: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// Name parts, as SQL means them.
    FlushTable(Vec<String>),
    FlushAll,
    CompactTable(Vec<String>),
    CreateUser {
        name: String,
        password: String,
        role: Role,
    },
    AlterUser {
        name: String,
        password: Option<String>,
        role: Option<Role>,
    },
    DropUser {
        name: String,
        if_exists: bool,
    },
    EraseUser {
        name: String,
        if_exists: bool,
    },
    ShowNamespaces(Option<Like>),
    ShowJobs,
    /// `DESCRIBE TABLE t`, which is DESCRIBE t.
    Describe(Vec<String>),
    /// `DESCRIBE TABLE t HISTORY`.
    TableHistory(Vec<String>),
    /// To a URL.
    Backup(String),
    /// From a URL.
    Restore(String),
    /// By its id.
    KillQuery(String),
    Grant(Grant),
}

impl Command {
    /// `None`: the statement is not one of ours.
    pub fn parse(tokens: &[TokenWithSpan]) -> Result<Option<Self>> {
        let mut cursor =
            Cursor { tokens: tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect(), at: 0 };
        let command = if cursor.words(&["FLUSH", "TABLE"]) {
            Self::FlushTable(cursor.name_parts()?)
        } else if cursor.words(&["FLUSH", "ALL"]) {
            Self::FlushAll
        } else if cursor.words(&["BACKUP", "DATABASE"]) {
            cursor.expect("TO")?;
            Self::Backup(cursor.text("a URL, in single quotes")?)
        } else if cursor.words(&["RESTORE", "DATABASE"]) {
            cursor.expect("FROM")?;
            Self::Restore(cursor.text("a URL, in single quotes")?)
        } else if let Some(command) = describe_table(&mut cursor) {
            command
        } else if cursor.words(&["COMPACT", "TABLE"]) {
            Self::CompactTable(cursor.name_parts()?)
        } else if cursor.words(&["KILL", "QUERY"]) {
            Self::KillQuery(cursor.text("the id of a query, in single quotes")?)
        } else if cursor.words(&["SHOW", "NAMESPACES"]) {
            Self::ShowNamespaces(like(&mut cursor)?)
        } else if cursor.words(&["SHOW", "JOBS"]) {
            Self::ShowJobs
        } else if cursor.is_create_user() {
            create_user(&mut cursor)?
        } else if cursor.words(&["ALTER", "USER"]) {
            alter_user(&mut cursor)?
        } else if cursor.words(&["DROP", "USER"]) {
            drop_user(&mut cursor)?
        } else if cursor.words(&["GRANT"]) {
            Self::Grant(grant::parse(&mut cursor, false)?)
        } else if cursor.words(&["REVOKE"]) {
            Self::Grant(grant::parse(&mut cursor, true)?)
        } else if cursor.words(&["EXECUTE", "AS"]) {
            return Err(Error::invalid(
                "EXECUTE AS stands around one statement of another kind, and not within another one",
            ));
        } else {
            return Ok(None);
        };
        cursor.end()?;
        Ok(Some(command))
    }
}

/// `DESCRIBE TABLE t [HISTORY]`; of anything else the cursor stays where it was, since a table may be called `table`.
fn describe_table(cursor: &mut Cursor<'_>) -> Option<Command> {
    let start = cursor.at;
    let table = (cursor.words(&["DESCRIBE", "TABLE"]) || cursor.words(&["DESC", "TABLE"]))
        .then(|| cursor.name_parts().ok())
        .flatten();
    let Some(table) = table else {
        cursor.at = start;
        return None;
    };
    Some(if cursor.words(&["HISTORY"]) { Command::TableHistory(table) } else { Command::Describe(table) })
}

fn like(cursor: &mut Cursor<'_>) -> Result<Option<Like>> {
    let any_case = cursor.words(&["ILIKE"]);
    if !any_case && !cursor.words(&["LIKE"]) {
        return Ok(None);
    }
    Ok(Some(Like { pattern: cursor.text("a pattern, in single quotes")?, any_case }))
}

fn create_user(cursor: &mut Cursor<'_>) -> Result<Command> {
    let name = cursor.user_name()?;
    cursor.expect("PASSWORD")?;
    let password = cursor.text("the password, in single quotes")?;
    let role = if cursor.words(&["ROLE"]) { Role::parse(&cursor.name("a role")?)? } else { Role::User };
    Ok(Command::CreateUser { name, password, role })
}

fn alter_user(cursor: &mut Cursor<'_>) -> Result<Command> {
    let name = cursor.user_name()?;
    let (mut password, mut role) = (None, None);
    if cursor.words(&["ROLE"]) {
        role = Some(Role::parse(&cursor.name("a role")?)?);
    } else {
        cursor.expect("PASSWORD")?;
        password = Some(cursor.text("the password, in single quotes")?);
    }
    Ok(Command::AlterUser { name, password, role })
}

fn drop_user(cursor: &mut Cursor<'_>) -> Result<Command> {
    let if_exists = cursor.words(&["IF", "EXISTS"]);
    let name = cursor.user_name()?;
    let erase = cursor.words(&["ERASE"]);
    Ok(if erase { Command::EraseUser { name, if_exists } } else { Command::DropUser { name, if_exists } })
}

struct Cursor<'a> {
    tokens: Vec<&'a TokenWithSpan>,
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self, ahead: usize) -> &Token {
        self.tokens.get(self.at + ahead).map_or(&Token::EOF, |t| &t.token)
    }

    /// Consumes these unquoted words, or nothing.
    fn words(&mut self, words: &[&str]) -> bool {
        let all = words.iter().enumerate().all(|(i, word)| super::is_word(self.peek(i), word));
        if all {
            self.at += words.len();
        }
        all
    }

    fn token(&mut self, token: &Token) -> bool {
        let found = self.peek(0) == token;
        self.at += usize::from(found);
        found
    }

    /// One item or more, with commas between them.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.token(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `CREATE USER name`, but not `CREATE USER TABLE`, which declares a table.
    fn is_create_user(&mut self) -> bool {
        !super::is_word(self.peek(2), "TABLE") && self.words(&["CREATE", "USER"])
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if self.words(&[word]) { Ok(()) } else { Err(self.unexpected(word)) }
    }

    fn user_name(&mut self) -> Result<String> {
        self.name("a user name, in double quotes")
    }

    fn name(&mut self, what: &str) -> Result<String> {
        let Token::Word(word) = self.peek(0) else { return Err(self.unexpected(what)) };
        let name = super::normalize(&word.to_ident(self.tokens[self.at].span));
        self.at += 1;
        Ok(name)
    }

    fn text(&mut self, what: &str) -> Result<String> {
        let Token::SingleQuotedString(text) = self.peek(0) else { return Err(self.unexpected(what)) };
        let text = text.clone();
        self.at += 1;
        Ok(text)
    }

    fn name_parts(&mut self) -> Result<Vec<String>> {
        let mut parts = vec![self.name("a table name")?];
        while *self.peek(0) == Token::Period {
            self.at += 1;
            parts.push(self.name("a table name")?);
        }
        Ok(parts)
    }

    fn end(&mut self) -> Result<()> {
        while *self.peek(0) == Token::SemiColon {
            self.at += 1;
        }
        if *self.peek(0) == Token::EOF { Ok(()) } else { Err(self.unexpected("the end of the statement")) }
    }

    /// Tokens of these statements can be secrets, so the message tells where, and never what was found.
    fn unexpected(&self, expected: &str) -> Error {
        let place = match self.tokens.get(self.at) {
            Some(token) => format!("Line: {}, Column: {}", token.span.start.line, token.span.start.column),
            None => "the end of the statement".into(),
        };
        Error::invalid(format!("syntax error: expected {expected} at {place}"))
    }
}
