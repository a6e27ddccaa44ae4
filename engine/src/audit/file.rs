//! The audit on disk: lines of JSON in a file that is put aside when it is full, and the oldest of those deleted.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use insula_proto::UserNo;

use super::{event::Event, line};

/// The file that is written; those put aside are `audit.NUMBER.jsonl`, the highest number the newest.
const CURRENT: &str = "audit.jsonl";
/// What a start reads back of the newest entries, in bytes of a file.
const READ_BACK: u64 = 2 << 20;

pub(super) struct AuditFile {
    directory: PathBuf,
    file: File,
    bytes: u64,
    /// At which the file is put aside.
    largest: u64,
    /// Files that are kept, the current one among them.
    most: usize,
}

impl AuditFile {
    /// Goes on where the last run ended.
    pub fn open(directory: &Path, largest: u64, most: usize) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let (file, bytes) = open(&directory.join(CURRENT))?;
        let opened = Self { directory: directory.to_owned(), file, bytes, largest, most: most.max(1) };
        opened.thin_out()?;
        Ok(opened)
    }

    /// Whole lines.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + lines.len() as u64 > self.largest {
            self.put_aside()?;
        }
        let written = self.file.write_all(lines);
        // What a failed write has left of a line is ended, so that it spoils no other.
        if written.is_err() && self.bytes > 0 {
            self.file.write_all(b"\n").ok();
        }
        self.bytes = self.file.metadata().map_or(self.bytes + lines.len() as u64, |meta| meta.len());
        written
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn put_aside(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        let next = aside(&self.directory)?.last().map_or(1, |(number, _)| number + 1);
        fs::rename(self.directory.join(CURRENT), self.directory.join(format!("audit.{next}.jsonl")))?;
        (self.file, self.bytes) = open(&self.directory.join(CURRENT))?;
        self.thin_out()?;
        File::open(&self.directory)?.sync_all()
    }

    fn thin_out(&self) -> io::Result<()> {
        let aside = aside(&self.directory)?;
        let surplus = (aside.len() + 1).saturating_sub(self.most);
        aside.into_iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
    }

    /// The newest entries that are on disk, the oldest of them first. What cannot be read is passed over: it is for
    /// people who ask, and the file itself is left as it is.
    pub fn newest(&self) -> Vec<Event> {
        let mut paths: Vec<PathBuf> = aside(&self.directory).unwrap_or_default().into_iter().map(|(_, p)| p).collect();
        paths.push(self.directory.join(CURRENT));
        let mut events = Vec::new();
        for path in paths.iter().skip(paths.len().saturating_sub(2)) {
            events.extend(tail(path).unwrap_or_default());
        }
        events
    }

    /// Takes the texts of a user's statements out of all files.
    pub fn forget_texts(&mut self, user: UserNo) -> io::Result<()> {
        let mut paths: Vec<PathBuf> = aside(&self.directory)?.into_iter().map(|(_, path)| path).collect();
        paths.push(self.directory.join(CURRENT));
        for path in paths {
            without_texts(&path, user)?;
        }
        (self.file, self.bytes) = open(&self.directory.join(CURRENT))?;
        File::open(&self.directory)?.sync_all()
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
    let bytes = file.metadata()?.len();
    // A crash in the middle of a write leaves a line without an end.
    let mut last = [b'\n'];
    if bytes > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok((file, bytes))
}

/// Number and path of the files that were put aside, the oldest first.
fn aside(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("audit.")?.strip_suffix(".jsonl")?.parse().ok());
        found.extend(number.map(|number: u64| (number, entry.path())));
    }
    found.sort();
    Ok(found)
}

fn tail(path: &Path) -> io::Result<Vec<Event>> {
    let mut file = File::open(path)?;
    let begin = file.metadata()?.len().saturating_sub(READ_BACK);
    file.seek(SeekFrom::Start(begin))?;
    let mut lines = BufReader::new(file).split(b'\n');
    // The first one is most likely cut.
    if begin > 0 {
        lines.next();
    }
    Ok(lines.map_while(Result::ok).filter_map(|line| line::parse(&line)).collect())
}

fn without_texts(path: &Path, user: UserNo) -> io::Result<()> {
    let mut spared = path.as_os_str().to_owned();
    spared.push(".new");
    let mut lines = BufReader::new(File::open(path)?).split(b'\n');
    let mut out =
        io::BufWriter::new(OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&spared)?);
    while let Some(line) = lines.next().transpose()? {
        match line::parse(&line) {
            Some(event) if event.user_no == Some(user) && event.text.is_some() => {
                let mut bytes = Vec::new();
                line::Line::new(&event, event.text_hash, false).write(&mut bytes);
                out.write_all(&bytes)?;
            }
            _ => {
                out.write_all(&line)?;
                out.write_all(b"\n")?;
            }
        }
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&spared, path)
}
