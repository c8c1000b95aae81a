//! Which readers refuse a dump, and why: one row for each rule. Only what is known from running these versions: readelf 2.40,
//! gdb 13.1, drgn 0.3.0, libkdumpfile 0.5.1, crash 8.0.2, makedumpfile 1.7.2 (the matrix is testdata/rig/READERS.md).

use guestdump_arch::{Class, KernelFacts as _, LinearMap};
use guestdump_core::format::Container;
use guestdump_core::format::elf::read::Headers;
use guestdump_core::format::read::Dump;

/// What the rules look at.
pub struct Facts<'a> {
    /// The dump.
    pub dump: &'a Dump,
    /// Headers of an ELF file.
    pub elf: Option<&'a Headers>,
    /// Whether the names of an ELF file's sections are longer than the file.
    pub bad_section_names: bool,
    /// The part of the kernel's linear map that readers must find as `p_vaddr`, on architectures whose tables they do not
    /// walk.
    pub linear_map: Option<LinearMap>,
}

impl Facts<'_> {
    fn field(&self, name: &str) -> Option<&str> {
        self.dump.fields.iter().find(|field| field.0 == name).map(|field| field.1.as_str())
    }

    fn kdump(&self) -> bool {
        self.dump.container == Container::Kdump
    }

    fn stores(&self, codec: &str) -> bool {
        self.dump.stored.iter().any(|stored| stored.0 == codec)
    }

    fn loads(&self) -> impl Iterator<Item = &guestdump_core::format::elf::read::Segment> {
        self.elf.iter().flat_map(|elf| &elf.segments).filter(|segment| segment.kind == 1)
    }
}

/// A reader that refuses, when, and why.
pub struct Rule {
    /// Its name.
    pub reader: &'static str,
    /// Whether it refuses.
    pub refuses: fn(&Facts<'_>) -> bool,
    /// Why, and what helps.
    pub why: &'static str,
}

/// Without sysname "Linux" and a release, a version and a machine, libkdumpfile knows no architecture.
fn no_utsname(facts: &Facts<'_>) -> bool {
    let empty = |name| facts.field(name).is_none_or(str::is_empty);
    let named = facts.field("sysname") == Some("Linux") && !["release", "version", "machine"].into_iter().any(empty);
    facts.kdump() && (!named || facts.field("machine") == Some("Unknown"))
}

fn other_page_size(facts: &Facts<'_>) -> bool {
    let kernel = facts.dump.vmcoreinfo.as_ref().and_then(|info| info.page_size());
    facts.kdump() && kernel.is_some() && facts.dump.page_size != kernel
}

fn other_phys_base(facts: &Facts<'_>) -> bool {
    let kernel = facts.dump.vmcoreinfo.as_ref().and_then(|info| info.number("phys_base"));
    let header = facts.field("phys_base").and_then(|base| base.parse::<i128>().ok());
    facts.kdump() && kernel.is_some() && header != kernel
}

fn far_headers(facts: &Facts<'_>) -> bool {
    facts.elf.is_some_and(|elf| elf.phoff != if elf.class == Class::Elf64 { 64 } else { 52 })
}

fn no_physical_addresses(facts: &Facts<'_>) -> bool {
    facts.elf.is_some() && facts.loads().all(|load| load.phys == 0)
}

fn no_linear_map(facts: &Facts<'_>) -> bool {
    let Some(map) = facts.linear_map else { return false };
    let delta = map.virt.0.wrapping_sub(map.phys.0);
    facts.elf.is_some() && !facts.loads().any(|load| load.virt.wrapping_sub(load.phys) == delta)
}

fn high_memory_of_32_bits(facts: &Facts<'_>) -> bool {
    let end = facts.dump.ranges.last().map_or(0, |range| range.end().0);
    facts.kdump() && facts.dump.class == Class::Elf32 && end > 1 << 32
}

/// Every rule.
pub static RULES: &[Rule] = &[
    Rule {
        reader: "gdb",
        refuses: |facts| facts.kdump(),
        why: "reads ELF only: guestdump dump FILE -o OUT --format elf",
    },
    Rule { reader: "readelf", refuses: |facts| facts.kdump(), why: "reads ELF only" },
    Rule {
        reader: "makedumpfile",
        refuses: |facts| facts.dump.flattened,
        why: "takes a flattened file with -R only, which makes a plain one of it",
    },
    Rule {
        reader: "libkdumpfile",
        refuses: |facts| facts.dump.flattened,
        why: "0.5.1 knows no flattened files (0.5.3 does): makedumpfile -R makes a plain one",
    },
    Rule {
        reader: "makedumpfile",
        refuses: far_headers,
        why: "looks for the program headers straight behind the ELF header, and e_phoff is elsewhere",
    },
    Rule {
        reader: "crash",
        refuses: |facts| facts.elf.is_some_and(|elf| elf.class == Class::Elf64 && elf.phoff > 192),
        why: "takes e_phoff up to 192 only",
    },
    Rule { reader: "drgn", refuses: |facts| facts.dump.vmcoreinfo.is_none(), why: "needs a VMCOREINFO note" },
    Rule {
        reader: "drgn",
        refuses: no_utsname,
        why: "takes the architecture from the header's utsname, which is empty",
    },
    Rule {
        reader: "libkdumpfile",
        refuses: no_utsname,
        why: "takes the architecture from the header's utsname, which is empty",
    },
    Rule {
        reader: "libkdumpfile",
        refuses: other_page_size,
        why: "takes the kernel's PAGESIZE for the header's block_size, and reads the wrong pages",
    },
    Rule { reader: "drgn", refuses: other_page_size, why: "reads kdump files through libkdumpfile: the same" },
    Rule {
        reader: "makedumpfile",
        refuses: other_phys_base,
        why: "believes the header's phys_base, which is not that of the kernel",
    },
    Rule {
        reader: "makedumpfile",
        refuses: |facts| facts.stores("snappy") || facts.stores("zstd"),
        why: "Debian's is built without snappy and zstd",
    },
    Rule { reader: "drgn", refuses: no_physical_addresses, why: "takes p_paddr for absent where all are 0" },
    Rule {
        reader: "drgn",
        refuses: no_linear_map,
        why: "does not walk this architecture's tables, and no p_vaddr is that of the kernel's linear map",
    },
    Rule {
        reader: "drgn",
        refuses: high_memory_of_32_bits,
        why: "cuts physical addresses of a 32-bit kernel to 32 bits in a kdump file",
    },
    Rule {
        reader: "readelf",
        refuses: |facts| facts.bad_section_names,
        why: "the section names are longer than the file (QEMU writes that header in the host's byte order)",
    },
    Rule {
        reader: "libkdumpfile",
        refuses: |facts| facts.bad_section_names,
        why: "the section names are longer than the file (QEMU writes that header in the host's byte order)",
    },
];

/// The rules that hold for a dump.
pub fn refusals<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = &'static Rule> + use<'a> {
    let all: Vec<&'static Rule> = RULES.iter().filter(|rule| (rule.refuses)(facts)).collect();
    all.into_iter()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use guestdump_core::format::read;

    use super::*;

    /// A head of a real ELF dump by QEMU, of `testdata/captures`, as the facts of a file.
    fn refused(capture: &str) -> Vec<(&'static str, &'static str)> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/captures").join(capture).join("elf.head");
        let file: Arc<dyn guestdump_core::format::DumpFile> = Arc::new(std::fs::read(path).unwrap());
        let elf = guestdump_core::format::elf::read::headers(file.as_ref()).unwrap();
        let bad_section_names = crate::cli::info::bad_section_names(file.as_ref(), &elf);
        let dump = read::open(file).unwrap();
        let facts = Facts {
            dump: &dump,
            elf: Some(&elf),
            bad_section_names: bad_section_names == Some(true),
            linear_map: None,
        };
        refusals(&facts).map(|rule| (rule.reader, rule.why.split_once(',').map_or(rule.why, |parts| parts.0))).collect()
    }

    /// What READERS.md says of QEMU's own ELF files.
    #[test]
    fn files_of_qemu_are_refused_by_those_who_refused_them() {
        let far = ("makedumpfile", "looks for the program headers straight behind the ELF header");
        assert_eq!(refused("x86_64"), [far]);
        assert_eq!(refused("aarch64"), [far]);
        let readers = |capture| refused(capture).into_iter().map(|row| row.0).collect::<Vec<_>>();
        assert_eq!(readers("s390x"), ["makedumpfile", "drgn", "drgn", "readelf", "libkdumpfile"]);
        assert!(readers("ppc64le").contains(&"drgn"));
    }
}
