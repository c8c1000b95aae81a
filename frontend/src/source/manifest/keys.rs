//! Every key of a manifest, in one table: what is accepted, what a hint suggests and what `FORMAT.md` must document.
//!
//! What a key means lives in `parse.rs`.

/// The keys of one table of a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableKeys {
    /// Name of the table; empty for the top level.
    pub table: &'static str,
    /// Its keys.
    pub keys: &'static [&'static str],
}

/// The top level.
pub static TOP: TableKeys =
    TableKeys { table: "", keys: &["arch", "byte-order", "page-size", "memory", "cpu", "vmcoreinfo"] };
/// `[[memory]]`.
pub static MEMORY: TableKeys =
    TableKeys { table: "memory", keys: &["start", "length", "file", "offset", "zero", "kind", "name"] };
/// `[[cpu]]`.
pub static CPU: TableKeys = TableKeys { table: "cpu", keys: &["id", "registers"] };
/// `[vmcoreinfo]`.
pub static VMCOREINFO: TableKeys = TableKeys { table: "vmcoreinfo", keys: &["at", "size", "file", "search"] };

/// All tables. The keys of `cpu.registers` are the architecture's registers.
pub static TABLES: &[&TableKeys] = &[&TOP, &MEMORY, &CPU, &VMCOREINFO];

/// Longest name for which a similar one is looked for: longer ones are no typing errors.
const MAX_NAME_CHARS: usize = 32;

/// The name that was probably meant: at most a third of its letters differ.
#[must_use]
pub fn closest(name: &str, known: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    if name.chars().count() > MAX_NAME_CHARS {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let distances = known.into_iter().map(|other| (distance(&name, other), other));
    let (distance, best) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= best.chars().count().div_ceil(3)).then_some(best)
}

/// Letters to insert, delete or replace (Levenshtein's distance).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let (mut left, mut diagonal) = (i + 1, i);
        for (cell, b) in row.iter_mut().skip(1).zip(to.chars()) {
            let best = (diagonal + usize::from(a != b)).min(left + 1).min(*cell + 1);
            (diagonal, left) = (*cell, best);
            *cell = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_textbook() {
        for (from, to, expected) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2)] {
            assert_eq!((distance(from, to), distance(to, from)), (expected, expected), "{from} {to}");
        }
    }

    #[test]
    fn only_similar_names_are_suggested() {
        let known = ["rax", "rip", "eflags", "cr3"];
        assert_eq!(closest("rflags", known), Some("eflags"));
        assert_eq!(closest("CR3", known), Some("cr3"));
        assert_eq!(closest("memory", known), None);
        assert_eq!(closest(&"cr3".repeat(100), known), None);
        assert_eq!(closest("x", []), None);
    }
}
