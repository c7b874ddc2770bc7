//! The encoding of values in the store's own files: big-endian, fixed width, lists with a `u32` count.
//!
//! Decoding accepts any bytes: it never panics, and allocates element by element, so never more than the given bytes
//! can encode.

use std::ops::Range;

use crate::ids::{
    BrokerId, DirectoryId, LeaderEpoch, LogClock, Offset, PartitionIndex, Timestamp, TopicId,
    TopicPartition, Voter,
};
use crate::log::{Note, NoteKind, Position};
use crate::record::{BatchHeader, HEADER_SIZE};
use crate::store::{Mark, Vote, VoterChange};

/// The bytes do not encode the expected value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) type Decoded<T> = Result<T, Malformed>;

/// Appends encoded values to a buffer.
pub(super) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }
    fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }
    fn i32(&mut self, value: i32) {
        self.put(&value.to_be_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }
    fn i64(&mut self, value: i64) {
        self.put(&value.to_be_bytes());
    }
    fn u128(&mut self, value: u128) {
        self.put(&value.to_be_bytes());
    }
    fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("a list in memory has fewer than 2^32 elements"));
    }
    fn offset(&mut self, offset: Offset) {
        self.i64(offset.0);
    }
    fn range(&mut self, range: &Range<Offset>) {
        self.offset(range.start);
        self.offset(range.end);
    }
    fn timestamp(&mut self, timestamp: Timestamp) {
        self.i64(timestamp.0);
    }
    fn replica(&mut self, replica: TopicPartition) {
        self.u128(replica.topic.0);
        self.i32(replica.partition.0);
    }
    fn voter(&mut self, voter: Voter) {
        self.i32(voter.broker.0);
        self.u128(voter.directory.0);
    }
    fn voters(&mut self, voters: &[Voter]) {
        self.count(voters.len());
        for &voter in voters {
            self.voter(voter);
        }
    }
    fn position(&mut self, position: Position) {
        self.i32(position.leader_epoch.0);
        self.offset(position.end_offset);
        self.u64(position.notes);
    }
    fn vote(&mut self, vote: Vote) {
        self.i32(vote.leader_epoch.0);
        match vote.voted_for {
            None => self.u8(0),
            Some(voter) => {
                self.u8(1);
                self.voter(voter);
            }
        }
    }
    fn mark(&mut self, mark: Mark) {
        self.u8(match mark {
            Mark::Clean => 0,
            Mark::Volatile => 1,
            Mark::Suspect => 2,
            Mark::New => 3,
        });
    }
    fn voter_change(&mut self, change: &VoterChange) {
        self.i32(change.leader_epoch.0);
        self.u64(change.notes);
        self.voters(&change.voters);
    }
    fn header(&mut self, header: &BatchHeader) {
        self.put(&header.to_bytes());
    }
    fn note(&mut self, note: &Note) {
        self.i32(note.leader_epoch.0);
        self.offset(note.offset);
        match &note.kind {
            NoteKind::Opening { leader } => {
                self.u8(0);
                self.voter(*leader);
            }
            NoteKind::Voters(voters) => {
                self.u8(1);
                self.voters(voters);
            }
            NoteKind::LogStart(offset) => {
                self.u8(2);
                self.offset(*offset);
            }
            NoteKind::ClockTick(clock) => {
                self.u8(3);
                self.u64(clock.0);
            }
        }
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Decodes values from the front of the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Take<'a>(pub(super) &'a [u8]);

impl<'a> Take<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Decoded<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
    fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }
    pub(super) fn u8(&mut self) -> Decoded<u8> {
        self.array().map(u8::from_be_bytes)
    }
    pub(super) fn u16(&mut self) -> Decoded<u16> {
        self.array().map(u16::from_be_bytes)
    }
    pub(super) fn u32(&mut self) -> Decoded<u32> {
        self.array().map(u32::from_be_bytes)
    }
    pub(super) fn i32(&mut self) -> Decoded<i32> {
        self.array().map(i32::from_be_bytes)
    }
    pub(super) fn u64(&mut self) -> Decoded<u64> {
        self.array().map(u64::from_be_bytes)
    }
    pub(super) fn i64(&mut self) -> Decoded<i64> {
        self.array().map(i64::from_be_bytes)
    }
    pub(super) fn u128(&mut self) -> Decoded<u128> {
        self.array().map(u128::from_be_bytes)
    }
    pub(super) fn length(&mut self) -> Decoded<usize> {
        usize::try_from(self.u32()?).map_err(|_| Malformed)
    }
    /// A list; malformed if the bytes end before its count.
    pub(super) fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Decoded<T>,
    ) -> Decoded<Vec<T>> {
        let mut list = Vec::new();
        for _ in 0..self.u32()? {
            list.push(element(self)?);
        }
        Ok(list)
    }
    pub(super) fn offset(&mut self) -> Decoded<Offset> {
        self.i64().map(Offset)
    }
    pub(super) fn range(&mut self) -> Decoded<Range<Offset>> {
        Ok(self.offset()?..self.offset()?)
    }
    pub(super) fn timestamp(&mut self) -> Decoded<Timestamp> {
        self.i64().map(Timestamp)
    }
    pub(super) fn replica(&mut self) -> Decoded<TopicPartition> {
        Ok(TopicPartition {
            topic: TopicId(self.u128()?),
            partition: PartitionIndex(self.i32()?),
        })
    }
    pub(super) fn voter(&mut self) -> Decoded<Voter> {
        Ok(Voter {
            broker: BrokerId(self.i32()?),
            directory: DirectoryId(self.u128()?),
        })
    }
    pub(super) fn voters(&mut self) -> Decoded<Vec<Voter>> {
        self.list(Self::voter)
    }
    pub(super) fn position(&mut self) -> Decoded<Position> {
        Ok(Position {
            leader_epoch: LeaderEpoch(self.i32()?),
            end_offset: self.offset()?,
            notes: self.u64()?,
        })
    }
    pub(super) fn vote(&mut self) -> Decoded<Vote> {
        Ok(Vote {
            leader_epoch: LeaderEpoch(self.i32()?),
            voted_for: match self.u8()? {
                0 => None,
                1 => Some(self.voter()?),
                _ => return Err(Malformed),
            },
        })
    }
    pub(super) fn mark(&mut self) -> Decoded<Mark> {
        Ok(match self.u8()? {
            0 => Mark::Clean,
            1 => Mark::Volatile,
            2 => Mark::Suspect,
            3 => Mark::New,
            _ => return Err(Malformed),
        })
    }
    pub(super) fn voter_change(&mut self) -> Decoded<VoterChange> {
        Ok(VoterChange {
            leader_epoch: LeaderEpoch(self.i32()?),
            notes: self.u64()?,
            voters: self.voters()?,
        })
    }
    pub(super) fn header(&mut self) -> Decoded<BatchHeader> {
        BatchHeader::parse(self.bytes(HEADER_SIZE)?).map_err(|_| Malformed)
    }
    pub(super) fn note(&mut self) -> Decoded<Note> {
        Ok(Note {
            leader_epoch: LeaderEpoch(self.i32()?),
            offset: self.offset()?,
            kind: match self.u8()? {
                0 => NoteKind::Opening {
                    leader: self.voter()?,
                },
                1 => NoteKind::Voters(self.voters()?),
                2 => NoteKind::LogStart(self.offset()?),
                3 => NoteKind::ClockTick(LogClock(self.u64()?)),
                _ => return Err(Malformed),
            },
        })
    }
    pub(super) fn end(self) -> Decoded<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}
