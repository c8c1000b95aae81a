//! The one table of all architectures. A new one is a folder below `arch/`, a line here and the dependency line.

pub use guestdump_arch::*;

/// Every architecture.
pub static ALL: &[&dyn Arch] = &[
    &guestdump_x86_64::ARCH,
    &guestdump_i386::ARCH,
    &guestdump_aarch64::ARCH,
    &guestdump_ppc64::ARCH,
    &guestdump_s390x::ARCH,
    &guestdump_riscv64::ARCH,
];

/// The architecture that `--arch NAME` means, and the byte order that the name says, if it says one.
#[must_use]
pub fn by_name(name: &str) -> Option<(&'static dyn Arch, Option<Endian>)> {
    let name = name.to_ascii_lowercase();
    ALL.iter().copied().find_map(|arch| {
        let id = arch.identity();
        let alias = id.aliases.iter().find(|alias| alias.0 == name).map(|alias| alias.1);
        let endian = if id.name == name { Some(None) } else { alias };
        endian.map(|endian| (arch, endian))
    })
}

/// The architecture whose dumps have this `e_machine`.
#[must_use]
pub fn by_elf_machine(machine: u16) -> Option<&'static dyn Arch> {
    ALL.iter().copied().find(|arch| arch.identity().elf_machine == machine)
}

/// The architecture of what QMP's `query-target` says.
#[must_use]
pub fn by_qemu_target(target: &str) -> Option<&'static dyn Arch> {
    ALL.iter().copied().find(|arch| arch.identity().qemu_targets.contains(&target))
}

/// All names, for messages.
#[must_use]
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|arch| arch.identity().name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_means_two_architectures() {
        let mut names: Vec<&str> = Vec::new();
        for arch in ALL {
            names.push(arch.identity().name);
            names.extend(arch.identity().aliases.iter().map(|alias| alias.0));
        }
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        for name in names {
            assert!(by_name(name).is_some());
        }
        assert!(by_name("vax").is_none());
    }
}
