//! One file: what is written and what is durable, sector by sector.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use varve_core::record::{BatchHeader, HEADER_SIZE};

use crate::draw::Draw;

use super::{DiskCounts, PAGE_SIZE, SECTOR_SIZE, SECTORS_PER_PAGE};

/// Where the CRC stands in a batch's header: it covers what is behind it.
const CRC_AT: usize = 17;

#[derive(Debug, Default)]
pub(super) struct File {
    pages: BTreeMap<u64, Page>,
    /// Pages with sectors that were written since their last sync.
    dirty: BTreeSet<u64>,
    pub(super) length: u64,
    durable_length: u64,
    /// Bytes of the disk that it takes.
    pub(super) allocated: u64,
    /// Sectors that cannot be read until they are written again.
    pub(super) unreadable: BTreeSet<u64>,
    /// A sector as it was before its last sync.
    pub(super) stale: Option<(u64, [u8; SECTOR_SIZE])>,
}

/// Eight sectors. `durable` is there while any of them differs, or may differ, from what is on the disk.
#[derive(Debug)]
struct Page {
    written: Box<[u8; PAGE_SIZE]>,
    durable: Option<Box<[u8; PAGE_SIZE]>>,
    /// By sector: the bytes written since the last sync; empty where start == end.
    dirty: [(u16, u16); SECTORS_PER_PAGE],
    /// By sector: a failed sync marked it clean, and the disk does not have it.
    phantom: [bool; SECTORS_PER_PAGE],
}

impl File {
    /// One bit rots, on the disk and in the cache.
    pub(super) fn rot(&mut self, offset: u64, bit: u8) {
        let number = offset / PAGE_SIZE as u64;
        let page = self.pages.entry(number).or_insert_with(Page::zeros);
        let at = within_page(offset);
        page.written[at] ^= 1 << (bit & 7);
        if let Some(durable) = &mut page.durable {
            durable[at] ^= 1 << (bit & 7);
        }
    }

    /// One bit rots on the disk and not in the cache, where no write of its sector waits for a sync.
    pub(super) fn rot_under_cache(&mut self, offset: u64, bit: u8) -> bool {
        let number = offset / PAGE_SIZE as u64;
        let page = self.pages.entry(number).or_insert_with(Page::zeros);
        let at = within_page(offset);
        let place = at / SECTOR_SIZE;
        let (from, to) = page.dirty[place];
        if from < to {
            return false;
        }
        let durable = page.durable.get_or_insert_with(|| page.written.clone());
        durable[at] ^= 1 << (bit & 7);
        page.phantom[place] = true;
        true
    }

    /// Nothing written is still unsynced.
    pub(super) fn is_durable(&self) -> bool {
        self.dirty.is_empty() && self.length == self.durable_length
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) {
        self.read_pages(offset, buffer, |_, _, _| {});
    }

    /// Reads past the cache: what was written and not synced reaches the disk first.
    pub(super) fn read_uncached(&self, offset: u64, buffer: &mut [u8]) {
        self.read_pages(offset, buffer, |page, at, buffer| {
            for (within, bytes) in page.not_on_disk() {
                overlay(offset, buffer, at + within as u64, bytes);
            }
        });
    }

    /// Fills the buffer with what was written from `offset` on, and lets `correct` change what comes of each page and
    /// where that stands. Where nothing was ever written there are zeros.
    fn read_pages(
        &self,
        offset: u64,
        buffer: &mut [u8],
        mut correct: impl FnMut(&Page, u64, &mut [u8]),
    ) {
        let within = |at: u64| usize::try_from(at - offset).expect("within the buffer");
        let end = offset + buffer.len() as u64;
        let first = offset / PAGE_SIZE as u64;
        let last = end.div_ceil(PAGE_SIZE as u64);
        let mut read_to = offset;
        for (&number, page) in self.pages.range(first..last) {
            let at = number * PAGE_SIZE as u64;
            if read_to < at {
                buffer[within(read_to)..within(at)].fill(0);
            }
            overlay(offset, buffer, at, &page.written[..]);
            correct(page, at, buffer);
            read_to = (at + PAGE_SIZE as u64).min(end);
        }
        buffer[within(read_to)..].fill(0);
    }

    /// Whether these bytes cannot be read, through the page cache or past it: whole pages are read, and none of which a
    /// sector cannot be.
    pub(super) fn is_unreadable(&self, bytes: Range<u64>) -> bool {
        let page = PAGE_SIZE as u64;
        let from = bytes.start / page * SECTORS_PER_PAGE as u64;
        let to = bytes.end.div_ceil(page) * SECTORS_PER_PAGE as u64;
        self.unreadable.range(from..to).next().is_some()
    }

    /// Whether a write of these bytes needs the rest of a page that cannot be read.
    pub(super) fn is_unreadable_around(&self, bytes: Range<u64>) -> bool {
        let page = PAGE_SIZE as u64;
        let first = bytes.start / page * page;
        let last = bytes.end / page * page;
        (bytes.start > first && self.is_unreadable(first..first + page))
            || (bytes.end > last && self.is_unreadable(last..last + page))
    }

    /// Gives up the bytes of whole pages.
    pub(super) fn discard(&mut self, offset: u64, length: u64) {
        let (end, kept) = ((offset + length).min(self.length), self.length);
        let zeros = vec![0; usize::try_from(end - offset).expect("pages are in memory")];
        self.unreadable
            .retain(|sector| !(offset..offset + length).contains(&(sector * SECTOR_SIZE as u64)));
        self.write(offset, &zeros);
        self.length = kept;
    }

    pub(super) fn write(&mut self, offset: u64, mut bytes: &[u8]) {
        let mut at = offset;
        while !bytes.is_empty() {
            let number = at / PAGE_SIZE as u64;
            let within = within_page(at);
            let taken = bytes.len().min(PAGE_SIZE - within);
            let page = self.pages.entry(number).or_insert_with(Page::zeros);
            page.write(within, &bytes[..taken]);
            self.dirty.insert(number);
            at += taken as u64;
            bytes = &bytes[taken..];
        }
        if !self.unreadable.is_empty() {
            for sector in offset / SECTOR_SIZE as u64..at.div_ceil(SECTOR_SIZE as u64) {
                self.unreadable.remove(&sector);
            }
        }
        self.length = self.length.max(at);
    }

    pub(super) fn truncate(&mut self, length: u64) {
        if length < self.length {
            let first = length / PAGE_SIZE as u64;
            for (&number, page) in self.pages.range_mut(first..) {
                let start = number * PAGE_SIZE as u64;
                let from = usize::try_from(length.saturating_sub(start)).unwrap_or(PAGE_SIZE);
                if from < PAGE_SIZE {
                    page.write(from, &[0; PAGE_SIZE][from..]);
                    self.dirty.insert(number);
                }
            }
        }
        self.length = length;
        self.unreadable
            .split_off(&length.div_ceil(SECTOR_SIZE as u64));
    }

    pub(super) fn sync(&mut self) {
        for number in std::mem::take(&mut self.dirty) {
            let page = self.pages.get_mut(&number).expect("a dirty page is there");
            let old = page.flush_all();
            if let Some((sector, bytes)) = old {
                self.stale = Some((number * SECTORS_PER_PAGE as u64 + sector as u64, bytes));
            }
        }
        self.durable_length = self.length;
    }

    /// A sync that reports success and loses one sector, or puts it elsewhere.
    pub(super) fn sync_but_one(&mut self, draw: &mut Draw, elsewhere: bool) {
        let dirty = self.dirty_sectors();
        let victim = draw.pick(&dirty).copied();
        self.sync_keeping(|sector| Some(sector) != victim);
        if let Some(victim) = victim {
            let lost = self.sector(victim);
            self.revert(victim);
            let kept = self.sector(victim);
            if self.passes_unseen((victim, &lost), (victim, &kept)) {
                self.put(victim, &lost);
            }
            if elsewhere {
                let all = self.length.div_ceil(SECTOR_SIZE as u64);
                let target = draw.below(all);
                let there = self.sector(target);
                if !self.passes_unseen((victim, &lost), (target, &there)) {
                    self.put(target, &lost);
                }
            }
        }
        self.durable_length = self.length;
    }

    /// The bytes of a sector, as they are written.
    pub(super) fn sector(&self, sector: u64) -> [u8; SECTOR_SIZE] {
        let mut bytes = [0; SECTOR_SIZE];
        self.read(sector * SECTOR_SIZE as u64, &mut bytes);
        bytes
    }

    /// Replaces what is written in a sector by what the disk has.
    fn revert(&mut self, sector: u64) {
        let number = sector / SECTORS_PER_PAGE as u64;
        if let Some(page) = self.pages.get_mut(&number) {
            page.revert(within_sectors(sector));
        }
    }

    /// Puts these bytes in a sector, on the disk and in the cache.
    fn put(&mut self, sector: u64, bytes: &[u8; SECTOR_SIZE]) {
        let number = sector / SECTORS_PER_PAGE as u64;
        let page = self.pages.entry(number).or_insert_with(Page::zeros);
        let range = sector_range(sector);
        page.written[range.clone()].copy_from_slice(bytes);
        if let Some(durable) = &mut page.durable {
            durable[range].copy_from_slice(bytes);
        }
    }

    /// Whether one sector's bytes in the place of another's may pass for what was written there, though they are not: where
    /// the header of a batch stands across the front of either, with as much of it in front, and that is of what
    /// Kafka's CRC does not cover. Then the batch is whole and its offset, length or epoch is that of the other: nothing
    /// in Kafka's format tells. This model has no such disk; `docs/format.md` says that none is assumed.
    pub(super) fn passes_unseen(
        &self,
        one: (u64, &[u8; SECTOR_SIZE]),
        other: (u64, &[u8; SECTOR_SIZE]),
    ) -> bool {
        let [one, other] = [one, other].map(|(sector, bytes)| self.header_in_front(sector, bytes));
        one.is_some() && one == other
    }

    /// How many bytes of a batch's header stand in front of a sector, were these its bytes, if the CRC is not among them.
    fn header_in_front(&self, sector: u64, bytes: &[u8; SECTOR_SIZE]) -> Option<usize> {
        let mut around = [0; CRC_AT + HEADER_SIZE];
        let start = sector * SECTOR_SIZE as u64;
        let front = CRC_AT.min(usize::try_from(start).unwrap_or(CRC_AT));
        self.read(start - front as u64, &mut around[CRC_AT - front..CRC_AT]);
        around[CRC_AT..].copy_from_slice(&bytes[..HEADER_SIZE]);
        let mut in_front = 1..=front;
        in_front.find(|count| BatchHeader::parse(&around[CRC_AT - count..]).is_ok())
    }

    /// A sync that fails: some sectors reach the disk, the others are marked clean and did not.
    pub(super) fn sync_failing(&mut self, draw: &mut Draw) {
        let mut reached = BTreeSet::new();
        for sector in self.dirty_sectors() {
            if draw.chance(500_000) {
                reached.insert(sector);
            }
        }
        self.sync_keeping(|sector| reached.contains(&sector));
    }

    fn dirty_sectors(&self) -> Vec<u64> {
        let mut sectors = Vec::new();
        for &number in &self.dirty {
            for (place, range) in self.pages[&number].dirty.iter().enumerate() {
                if range.0 < range.1 {
                    sectors.push(number * SECTORS_PER_PAGE as u64 + place as u64);
                }
            }
        }
        sectors
    }

    /// Flushes the dirty sectors that `keep` accepts; the others become phantoms.
    fn sync_keeping(&mut self, keep: impl Fn(u64) -> bool) {
        for number in std::mem::take(&mut self.dirty) {
            let page = self.pages.get_mut(&number).expect("a dirty page is there");
            for place in 0..SECTORS_PER_PAGE {
                if page.dirty[place].0 < page.dirty[place].1 {
                    if keep(number * SECTORS_PER_PAGE as u64 + place as u64) {
                        page.flush(place);
                    } else {
                        page.dirty[place] = (0, 0);
                        page.phantom[place] = true;
                    }
                }
            }
            page.settle();
        }
    }

    pub(super) fn power_cut(&mut self, draw: &mut Draw, counts: &mut DiskCounts) {
        for page in self.pages.values_mut() {
            page.power_cut(draw, counts);
        }
        self.dirty.clear();
        if self.length != self.durable_length {
            // Of several changes of length any prefix may have been kept.
            let low = self.length.min(self.durable_length);
            let high = self.length.max(self.durable_length);
            self.length = match draw.below(3) {
                0 => self.durable_length,
                1 => self.length,
                _between => draw.between(low, high),
            };
            let length = self.length;
            let first = length / PAGE_SIZE as u64;
            // Bytes behind the end are gone: growing again reads zeros.
            for (&number, page) in self.pages.range_mut(first..) {
                let start = number * PAGE_SIZE as u64;
                let from = usize::try_from(length.saturating_sub(start)).unwrap_or(PAGE_SIZE);
                if from < PAGE_SIZE {
                    page.written[from..].fill(0);
                }
            }
            self.durable_length = length;
            self.unreadable
                .split_off(&length.div_ceil(SECTOR_SIZE as u64));
        }
        self.allocated = self
            .allocated
            .max(self.length.next_multiple_of(SECTOR_SIZE as u64));
    }

    /// Pages that are clean and not as the disk has them leave the cache, those of which `leaves` says so. Whether any
    /// has.
    pub(super) fn evict_phantoms(&mut self, mut leaves: impl FnMut() -> bool) -> bool {
        let mut evicted = false;
        for page in self.pages.values_mut() {
            for place in 0..SECTORS_PER_PAGE {
                let is_clean = page.dirty[place].0 == page.dirty[place].1;
                if page.phantom[place] && is_clean && leaves() {
                    page.revert(place);
                    evicted = true;
                }
            }
            page.settle();
        }
        evicted
    }
}

impl Page {
    fn zeros() -> Self {
        Self {
            written: Box::new([0; PAGE_SIZE]),
            durable: None,
            dirty: [(0, 0); SECTORS_PER_PAGE],
            phantom: [false; SECTORS_PER_PAGE],
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        if self.durable.is_none() {
            self.durable = Some(self.written.clone());
        }
        self.written[at..at + bytes.len()].copy_from_slice(bytes);
        let end = at + bytes.len();
        for place in at / SECTOR_SIZE..end.div_ceil(SECTOR_SIZE) {
            let start = place * SECTOR_SIZE;
            let from = at.max(start) - start;
            let to = end.min(start + SECTOR_SIZE) - start;
            let range = &mut self.dirty[place];
            let bounded = |n: usize| u16::try_from(n).expect("a sector has 512 bytes");
            *range = if range.0 == range.1 {
                (bounded(from), bounded(to))
            } else {
                (range.0.min(bounded(from)), range.1.max(bounded(to)))
            };
        }
    }

    /// The sectors of which the disk will not have what is written once it is synced: where each begins, and what the
    /// disk has there.
    fn not_on_disk(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.durable.iter().flat_map(|durable| {
            let places = (0..SECTORS_PER_PAGE).filter(|&place| {
                let is_clean = self.dirty[place].0 == self.dirty[place].1;
                self.phantom[place] && is_clean
            });
            places.map(|place| {
                let start = place * SECTOR_SIZE;
                (start, &durable[start..start + SECTOR_SIZE])
            })
        })
    }

    /// What is written in this sector reaches the disk.
    fn flush(&mut self, place: usize) {
        let range = place * SECTOR_SIZE..(place + 1) * SECTOR_SIZE;
        if let Some(durable) = &mut self.durable {
            durable[range.clone()].copy_from_slice(&self.written[range]);
        }
        self.dirty[place] = (0, 0);
        self.phantom[place] = false;
    }

    /// Flushes all dirty sectors and returns one of them as it was.
    fn flush_all(&mut self) -> Option<(usize, [u8; SECTOR_SIZE])> {
        let mut old = None;
        for place in 0..SECTORS_PER_PAGE {
            if self.dirty[place].0 < self.dirty[place].1 {
                if old.is_none()
                    && let Some(durable) = &self.durable
                {
                    let range = place * SECTOR_SIZE..(place + 1) * SECTOR_SIZE;
                    let mut bytes = [0; SECTOR_SIZE];
                    bytes.copy_from_slice(&durable[range]);
                    old = Some((place, bytes));
                }
                self.flush(place);
            }
        }
        self.settle();
        old
    }

    /// What is written in this sector is replaced by what the disk has.
    fn revert(&mut self, place: usize) {
        let range = place * SECTOR_SIZE..(place + 1) * SECTOR_SIZE;
        if let Some(durable) = &self.durable {
            self.written[range.clone()].copy_from_slice(&durable[range]);
        }
        self.dirty[place] = (0, 0);
        self.phantom[place] = false;
    }

    /// Drops the second copy where nothing differs any more.
    fn settle(&mut self) {
        if self.dirty.iter().all(|range| range.0 == range.1) && !self.phantom.contains(&true) {
            self.durable = None;
        }
    }

    fn power_cut(&mut self, draw: &mut Draw, counts: &mut DiskCounts) {
        if self.durable.is_none() {
            return;
        }
        for place in 0..SECTORS_PER_PAGE {
            let (from, to) = self.dirty[place];
            if from == to {
                if self.phantom[place] {
                    self.revert(place);
                    counts.sectors_lost += 1;
                }
                continue;
            }
            let start = place * SECTOR_SIZE;
            let (from, to) = (start + usize::from(from), start + usize::from(to));
            match draw.below(100) {
                0..45 => self.flush(place),
                45..80 => {
                    self.revert(place);
                    counts.sectors_lost += 1;
                }
                80..90 => {
                    // Torn: the front is new, the rest is old.
                    let cut = from + draw.index(to - from + 1);
                    let durable = self
                        .durable
                        .as_ref()
                        .expect("a dirty page has its old bytes");
                    let old: Vec<u8> = durable[cut..to].to_vec();
                    self.written[cut..to].copy_from_slice(&old);
                    self.flush(place);
                    counts.sectors_torn += 1;
                }
                _garbage => {
                    draw.fill(&mut self.written[from..to]);
                    self.flush(place);
                    counts.sectors_torn += 1;
                }
            }
        }
        self.settle();
    }
}

fn within_page(offset: u64) -> usize {
    usize::try_from(offset % PAGE_SIZE as u64).expect("below a page")
}

/// The sector's number within its page.
fn within_sectors(sector: u64) -> usize {
    usize::try_from(sector % SECTORS_PER_PAGE as u64).expect("below the sectors of a page")
}

/// The sector's bytes within its page.
fn sector_range(sector: u64) -> Range<usize> {
    let start = within_sectors(sector) * SECTOR_SIZE;
    start..start + SECTOR_SIZE
}

/// Copies what overlaps of `bytes` at `at` into `buffer`, which stands at `offset`.
pub(super) fn overlay(offset: u64, buffer: &mut [u8], at: u64, bytes: &[u8]) {
    let start = offset.max(at);
    let end = (offset + buffer.len() as u64).min(at + bytes.len() as u64);
    if start < end {
        let length = usize::try_from(end - start).expect("no longer than the buffer");
        let to = usize::try_from(start - offset).expect("within the buffer");
        let from = usize::try_from(start - at).expect("within the bytes");
        buffer[to..to + length].copy_from_slice(&bytes[from..from + length]);
    }
}
