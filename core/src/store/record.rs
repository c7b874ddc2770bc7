//! Journal records: the changes from which a replica's state follows, one or more for each order.
//!
//! ```text
//! record  meta_length u32 | body_length u32 | crc u32 | meta | bodies
//! meta    kind u8 | replica u32 (its place in the group's list) | fields
//! ```
//! The CRC covers the two lengths and `meta`. The bodies are those of the batches that the record carries inline, one
//! after the other. Each is covered by its own batch's CRC, so a large body is not summed twice.

use std::ops::Range;

use crate::ids::{Offset, TopicPartition, Voter};
use crate::log::{Note, NoteKind, Position};
use crate::record::BatchHeader;
use crate::store::codec::{Decoded, Malformed, Put, Take};
use crate::store::replica::{Hole, Place, Snapshot};
use crate::store::{Flush, Mark, Vote, VoterChange};

/// Bytes before a record's meta.
pub(super) const FRAME_SIZE: usize = 12;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JournalRecord {
    /// An incarnation has begun: the one in the group's header.
    Opened,
    Create {
        voters: Vec<Voter>,
    },
    Append {
        after: Position,
        high_watermark: Offset,
        flush: Flush,
        entries: Vec<AppendedEntry>,
    },
    Truncate {
        to: Position,
    },
    Vote(Vote),
    Mark(Mark),
    /// A voter change that recovery knows of and whose note is lost.
    LostVoterChange(VoterChange),
    Hole(Hole),
    Fill {
        range: Range<Offset>,
        bytes: u32,
    },
    Loss {
        range: Range<Offset>,
    },
    Snapshot(Snapshot),
    Delete,
}

/// One entry of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AppendedEntry {
    Note(Note),
    Batch {
        header: BatchHeader,
        place: Place,
        /// Whether its body is in the record.
        inline: bool,
    },
}

impl JournalRecord {
    const fn kind(&self) -> u8 {
        match self {
            Self::Create { .. } => 1,
            Self::Append { .. } => 2,
            Self::Truncate { .. } => 3,
            Self::Vote(_) => 4,
            Self::Mark(_) => 5,
            Self::Hole(_) => 6,
            Self::Fill { .. } => 7,
            Self::Loss { .. } => 8,
            Self::Snapshot(_) => 9,
            Self::Delete => 10,
            Self::Opened => 11,
            Self::LostVoterChange(_) => 12,
        }
    }

    /// Writes frame and meta. `replica` is the replica's index in the group's list, `body_length` the length of the
    /// bodies that follow.
    pub(super) fn encode(&self, out: &mut Vec<u8>, seed: u32, replica: u32, body_length: usize) {
        let frame = out.len();
        out.extend_from_slice(&[0; FRAME_SIZE]);
        out.u8(self.kind());
        out.u32(replica);
        self.encode_fields(out);
        let meta_length = out.len() - frame - FRAME_SIZE;
        let length = |length: usize| {
            u32::try_from(length)
                .expect("a record fits a journal file")
                .to_be_bytes()
        };
        out[frame..frame + 4].copy_from_slice(&length(meta_length));
        out[frame + 4..frame + 8].copy_from_slice(&length(body_length));
        let crc = crc(seed, &out[frame..]);
        out[frame + 8..frame + FRAME_SIZE].copy_from_slice(&crc.to_be_bytes());
    }

    fn encode_fields(&self, out: &mut Vec<u8>) {
        match self {
            Self::Create { voters } => out.voters(voters),
            Self::Append {
                after,
                high_watermark,
                flush,
                entries,
            } => {
                out.position(*after);
                out.offset(*high_watermark);
                out.u8(match flush {
                    Flush::Commit => 0,
                    Flush::Replicated => 1,
                });
                out.count(entries.len());
                for entry in entries {
                    entry.encode(out);
                }
            }
            Self::Truncate { to } => out.position(*to),
            Self::Vote(vote) => out.vote(*vote),
            Self::Mark(mark) => out.mark(*mark),
            Self::LostVoterChange(change) => out.voter_change(change),
            Self::Hole(hole) => put_hole(out, hole),
            Self::Fill { range, bytes } => {
                out.range(range);
                out.u32(*bytes);
            }
            Self::Loss { range } => out.range(range),
            Self::Snapshot(snapshot) => put_snapshot(out, snapshot),
            Self::Delete | Self::Opened => {}
        }
    }

    /// Decodes one record from the front of `bytes`: the replica, from its index in the group's list, the record, and
    /// its bodies.
    pub(super) fn decode<'a>(
        bytes: &mut Take<'a>,
        seed: u32,
        replicas: &[TopicPartition],
    ) -> Decoded<(TopicPartition, Self, &'a [u8])> {
        let whole = bytes.0;
        let meta_length = bytes.length()?;
        let body_length = bytes.length()?;
        let stored = bytes.u32()?;
        let mut meta = Take(bytes.bytes(meta_length)?);
        if crc(seed, &whole[..FRAME_SIZE + meta_length]) != stored {
            return Err(Malformed);
        }
        let bodies = bytes.bytes(body_length)?;
        let kind = meta.u8()?;
        let replica = *replicas.get(meta.length()?).ok_or(Malformed)?;
        let record = match kind {
            1 => Self::Create {
                voters: meta.voters()?,
            },
            2 => Self::Append {
                after: meta.position()?,
                high_watermark: meta.offset()?,
                flush: match meta.u8()? {
                    0 => Flush::Commit,
                    1 => Flush::Replicated,
                    _ => return Err(Malformed),
                },
                entries: meta.list(AppendedEntry::decode)?,
            },
            3 => Self::Truncate {
                to: meta.position()?,
            },
            4 => Self::Vote(meta.vote()?),
            5 => Self::Mark(meta.mark()?),
            6 => Self::Hole(take_hole(&mut meta)?),
            7 => Self::Fill {
                range: meta.range()?,
                bytes: meta.u32()?,
            },
            8 => Self::Loss {
                range: meta.range()?,
            },
            9 => Self::Snapshot(take_snapshot(&mut meta)?),
            10 => Self::Delete,
            11 => Self::Opened,
            12 => Self::LostVoterChange(meta.voter_change()?),
            _ => return Err(Malformed),
        };
        meta.end()?;
        Ok((replica, record, bodies))
    }

    /// The voter changes in the record.
    pub(super) fn voter_changes(&self) -> Vec<VoterChange> {
        let (after, entries) = match self {
            Self::Append { after, entries, .. } => (after, entries),
            Self::LostVoterChange(change) => return vec![change.clone()],
            Self::Opened
            | Self::Create { .. }
            | Self::Truncate { .. }
            | Self::Vote(_)
            | Self::Mark(_)
            | Self::Hole(_)
            | Self::Fill { .. }
            | Self::Loss { .. }
            | Self::Snapshot(_)
            | Self::Delete => return Vec::new(),
        };
        let notes = entries.iter().filter_map(|entry| match entry {
            AppendedEntry::Note(note) => Some(note),
            AppendedEntry::Batch { .. } => None,
        });
        let changes = notes.zip(after.notes + 1..).filter_map(|(note, notes)| {
            let NoteKind::Voters(voters) = &note.kind else {
                return None;
            };
            Some(VoterChange {
                leader_epoch: note.leader_epoch,
                notes,
                voters: voters.clone(),
            })
        });
        changes.collect()
    }
}

impl AppendedEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Note(note) => {
                out.u8(0);
                out.note(note);
            }
            Self::Batch {
                header,
                place,
                inline,
            } => {
                out.u8(if *inline { 1 } else { 2 });
                put_place(out, *place);
                out.header(header);
            }
        }
    }

    fn decode(bytes: &mut Take<'_>) -> Decoded<Self> {
        let tag = bytes.u8()?;
        if tag == 0 {
            return bytes.note().map(Self::Note);
        }
        if tag > 2 {
            return Err(Malformed);
        }
        Ok(Self::Batch {
            place: take_place(bytes)?,
            header: bytes.header()?,
            inline: tag == 1,
        })
    }
}

pub(super) fn put_place(out: &mut Vec<u8>, place: Place) {
    out.offset(place.segment);
    out.u32(place.position);
}

pub(super) fn take_place(bytes: &mut Take<'_>) -> Decoded<Place> {
    Ok(Place {
        segment: bytes.offset()?,
        position: bytes.u32()?,
    })
}

pub(super) fn put_hole(out: &mut Vec<u8>, hole: &Hole) {
    out.range(&hole.offsets);
    out.offset(hole.segment);
    out.u32(hole.bytes.start);
    out.u32(hole.bytes.end);
    out.u8(u8::from(hole.accepted));
}

pub(super) fn take_hole(bytes: &mut Take<'_>) -> Decoded<Hole> {
    Ok(Hole {
        offsets: bytes.range()?,
        segment: bytes.offset()?,
        bytes: bytes.u32()?..bytes.u32()?,
        accepted: bytes.u8()? == 1,
    })
}

pub(super) fn put_snapshot(out: &mut Vec<u8>, snapshot: &Snapshot) {
    out.position(snapshot.at);
    out.u32(snapshot.length);
    out.u32(snapshot.crc);
}

pub(super) fn take_snapshot(bytes: &mut Take<'_>) -> Decoded<Snapshot> {
    Ok(Snapshot {
        at: bytes.position()?,
        length: bytes.u32()?,
        crc: bytes.u32()?,
    })
}

/// CRC-32C of the lengths and the meta, leaving out the CRC between them.
fn crc(seed: u32, record: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(seed, &record[..FRAME_SIZE - 4]);
    crc32c::crc32c_append(crc, &record[FRAME_SIZE..])
}
