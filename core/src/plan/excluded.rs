//! Memory that a filtered dump left out: it stays left out when the dump is written anew, and is neither lost nor zero.

use guestdump_arch::{PhysAddr, PhysRange, Presence};

use crate::guest::Guest;

/// The parts of `ranges` that the guest's source left out on purpose: ascending, disjoint, not adjacent.
#[must_use]
pub fn excluded(guest: &Guest, ranges: &[PhysRange]) -> Vec<PhysRange> {
    let mut out: Vec<PhysRange> = Vec::new();
    // Only dumps leave memory out; asking a live guest for every extent would cost time.
    if !guest.past.filtered {
        return out;
    }
    for range in ranges {
        let mut at = range.start();
        while at < range.end() {
            let extent = guest.memory.extent(at, range.end().0 - at.0);
            let end = PhysAddr(at.0.saturating_add(extent.len_bytes.max(1)).min(range.end().0));
            if extent.presence == Presence::Excluded {
                match out.last_mut() {
                    Some(last) if last.end() == at => *last = PhysRange::between(last.start(), end),
                    _ => out.push(PhysRange::between(at, end)),
                }
            }
            at = end;
        }
    }
    out
}

/// `range` without `taken` (ascending, disjoint).
#[must_use]
pub fn without(range: PhysRange, taken: &[PhysRange]) -> Vec<PhysRange> {
    let mut left = Vec::new();
    let mut at = range.start();
    let from = taken.partition_point(|other| other.end() <= range.start());
    for other in taken.iter().skip(from).take_while(|other| other.start() < range.end()) {
        if other.start() > at {
            left.push(PhysRange::between(at, other.start()));
        }
        at = at.max(other.end());
    }
    if at < range.end() {
        left.push(PhysRange::between(at, range.end()));
    }
    left
}
