//! A header against the key daemon's record. The record is the truth: a header can be forged by whoever can write the
//! image, and a forged one must not move, resize or re-key what a guest wrote.

use std::fmt::Display;

use keyd_client::{
    DiskId,
    message::{DiskRecord, Geometry, Holes},
};
use thiserror::Error;

use super::Header;
use crate::layout::Layout;

/// The field in which a header differs from the daemon's record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the image's header says {field} {header}, keyd's record of disk {disk} says {record}: {advice}"
)]
pub struct Mismatch {
    /// Which disk, by the daemon.
    pub disk: DiskId,
    /// Which field.
    pub field: &'static str,
    /// By the header.
    pub header: String,
    /// By the daemon.
    pub record: String,
    /// What it means, and what is to be done.
    pub advice: &'static str,
}

const CHANGED: &str =
    "this is another disk's image, or its header was changed; restore the header from a backup";

/// Of an image whose data area reaches its end: its header states no length.
const CUT_SHORT: &str = "the image was cut short, and what it lost is not there any more; restore the image from a backup";

impl Header {
    /// Compares everything a header says about the disk with the daemon's record: UUID, sector size, data offset,
    /// length, rule for holes and digest; and tells the data area by the record. It differs from the header's own
    /// only while a disk grows: see [`Header::room_for`].
    ///
    /// # Errors
    /// [`Mismatch`] names the first field that differs.
    pub fn agrees_with(&self, record: &DiskRecord) -> Result<Layout, Mismatch> {
        let compare = Comparison { disk: record.id, advice: CHANGED };
        let Geometry { sector_size, data_offset, size, holes } = record.geometry;
        let layout = self.layout();
        compare.field("UUID", &self.disk(), &record.id)?;
        compare.field("sector size", &layout.sector_size().bytes(), &sector_size)?;
        compare.field("data offset", &layout.data_offset(), &data_offset)?;
        let by_record = self.room_for(size);
        let is_short = self.stated_size().is_none() && layout.size() < size;
        let length = Comparison { advice: if is_short { CUT_SHORT } else { CHANGED }, ..compare };
        length.field("length", &by_record.map_or(layout.size(), |grown| grown.size()), &size)?;
        compare.field("rule for holes", holes_name(self.holes()), holes_name(holes))?;
        let (ours, theirs) = (self.digest(), &record.digest);
        compare.field("digest iterations", &ours.iterations, &theirs.iterations)?;
        compare.field("digest salt", &ours.salt, &theirs.salt)?;
        compare.field("digest", &ours.digest, &theirs.digest)?;
        Ok(by_record.unwrap_or(layout))
    }

    /// Compares everything but the length.
    ///
    /// # Errors
    /// [`Mismatch`] names the first field that differs.
    pub fn agrees_but_for_length(&self, record: &DiskRecord) -> Result<(), Mismatch> {
        let geometry = Geometry { size: self.layout().size(), ..record.geometry };
        self.agrees_with(&DiskRecord { geometry, ..record.clone() }).map(|_| ())
    }

    /// The data area of a disk of `size` bytes, if the image can be one that grows. A disk grows in an order in which
    /// each step is less than the next: the image becomes longer, then the daemon's record, last the length that a
    /// header may state. Between the steps the record is the smaller one, or the stated length is; an image that ends
    /// before its disk was cut short.
    #[must_use]
    pub fn room_for(&self, size: u64) -> Option<Layout> {
        let layout = self.layout();
        let between = match self.stated_size() {
            None => size <= layout.size(),
            Some(stated) => (stated..=self.room).contains(&size),
        };
        let grown = Layout::new(layout.sector_size(), layout.data_offset(), size).ok();
        grown.filter(|_| between)
    }
}

struct Comparison {
    disk: DiskId,
    advice: &'static str,
}

impl Comparison {
    fn field<T: PartialEq + Display + ?Sized>(
        &self,
        field: &'static str,
        header: &T,
        record: &T,
    ) -> Result<(), Mismatch> {
        if header == record {
            return Ok(());
        }
        Err(Mismatch {
            disk: self.disk,
            advice: self.advice,
            field,
            header: header.to_string(),
            record: record.to_string(),
        })
    }
}

/// As the token and the wire write it.
pub(crate) fn holes_name(holes: Holes) -> &'static str {
    match holes {
        Holes::Zeros => "zeros",
        Holes::None => "none",
    }
}
