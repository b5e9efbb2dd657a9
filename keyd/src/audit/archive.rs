//! Closed segments, taken elsewhere: a copy is whole and durable under its name before anybody relies on it.

use std::{
    io::{self, Read},
    sync::Arc,
};

use aws_lc_rs::digest::{Context, SHA256};

use super::{chain, segments::Segments};
use crate::{
    audit::segments::Segment,
    files::{Dir, FileAt, Stream},
};

/// Bytes moved at once.
const STEP: usize = 256 << 10;

/// Copies a file into another directory. One that is there already is left alone if it is the same.
///
/// # Errors
/// The system's; [`io::ErrorKind::AlreadyExists`] if another file has the name there.
pub fn copy(file: &Arc<dyn FileAt>, to: &dyn Dir, name: &str) -> io::Result<()> {
    if let Some(there) = to.open(name)? {
        let same = sha256([file.clone()])? == sha256([there])?;
        return if same { Ok(()) } else { Err(io::ErrorKind::AlreadyExists.into()) };
    }
    let unfinished = format!("{name}.part");
    let target = to.create(&unfinished)?;
    let mut source = Stream::new(file.clone(), 0);
    let (mut bytes, mut offset) = (vec![0; STEP], 0);
    loop {
        match source.read(&mut bytes)? {
            0 => break,
            read => {
                target.write_at(offset, &bytes[..read])?;
                offset += read as u64;
            }
        }
    }
    target.sync()?;
    to.rename(&unfinished, name)?;
    to.sync()
}

/// SHA-256 of some segments' bytes, one after the other, as `cat audit-*.log | sha256sum` tells it; and of how many.
/// One that is not there counts as empty.
///
/// # Errors
/// The system's.
pub fn fingerprint(segments: &Segments, which: &[Segment]) -> io::Result<(usize, String)> {
    let mut files = Vec::new();
    for segment in which {
        files.extend(segments.file(*segment)?);
    }
    Ok((files.len(), sha256(files)?))
}

fn sha256(files: impl IntoIterator<Item = Arc<dyn FileAt>>) -> io::Result<String> {
    let mut context = Context::new(&SHA256);
    let mut bytes = vec![0; STEP];
    for file in files {
        let mut stream = Stream::new(file, 0);
        loop {
            match stream.read(&mut bytes)? {
                0 => break,
                read => context.update(&bytes[..read]),
            }
        }
    }
    Ok(chain::hexadecimal(context.finish().as_ref()))
}
