//! What is said of a dump's virtual addresses: by `plan`, at the end of `dump`, and in JSON.

use guestdump_core::plan::mapped::{ADDRESSES, Mapped};
use serde_json::{Value, json};

/// One line for each thing there is to know.
pub fn lines(mapped: &Mapped) -> Vec<String> {
    let mut out = vec![format!(
        "{} mappings of {} bytes, {} bytes in {} segments that nothing maps; {} address spaces, {} entries of tables read",
        mapped.mappings, mapped.mapped_bytes, mapped.unmapped_bytes, mapped.rest, mapped.spaces, mapped.entries_read
    )];
    if mapped.untold > 0 {
        out.push(format!(
            "{} vCPUs do not tell their page tables: the kernel's own, which VMCOREINFO names, stand for them",
            mapped.untold
        ));
    }
    if mapped.outside_bytes > 0 {
        out.push(format!("left out: {} bytes of addresses that lead to devices or to no memory", mapped.outside_bytes));
    }
    if mapped.left_out_bytes > 0 {
        out.push(format!(
            "left out: {} bytes of addresses that lead to memory that is not dumped",
            mapped.left_out_bytes
        ));
    }
    if let Some(first) = &mapped.hidden.first {
        out.push(format!(
            "left out: {} bytes of addresses that have other memory already, in {} runs, the first at {}: {} of vCPU {} \
             ({} space), where {} is shown; --paging-cpu {} shows it",
            mapped.hidden_bytes, mapped.hidden.count, first.virt, first.phys, first.vcpu, first.space, first.kept, first.vcpu
        ));
    }
    if let Some(first) = &mapped.shared.first {
        out.push(format!(
            "left out: {} more places of tables that have {ADDRESSES} already, the first at {}: as at {} (table {}, level {})",
            mapped.shared.count, first.virt, first.like, first.table, first.level
        ));
    }
    if let Some((virt, table)) = &mapped.absent.first {
        out.push(format!("not in RAM: {} parts of tables, the first at {table} for {virt}", mapped.absent.count));
    }
    out
}

/// Why virtual addresses are missing that the dump should have.
pub fn warnings(mapped: &Mapped) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(stopped) = &mapped.stopped {
        out.push(format!(
            "{stopped}; addresses from there on are not described, all memory is in the dump all the same"
        ));
    }
    if let Some(first) = &mapped.unreadable.first {
        out.push(format!("{} entries of page tables could not be read: {first}", mapped.unreadable.count));
    }
    out
}

/// The same for programs.
pub fn json(mapped: &Mapped) -> Value {
    let shared = mapped.shared.first.map(|first| {
        json!({"virt": first.virt.first().0, "last": first.virt.last().0, "like": first.like.0, "table": first.table.0,
            "level": first.level})
    });
    let hidden = mapped.hidden.first.as_ref().map(|first| {
        json!({"vcpu": first.vcpu, "space": first.space, "virt": first.virt.0, "phys": first.phys.0, "shown": first.kept.0})
    });
    let stopped = mapped.stopped.as_ref().map(|stopped| {
        json!({"vcpu": stopped.vcpu, "space": stopped.space, "level": stopped.bound.level,
            "virt": stopped.bound.virt.0, "table": stopped.bound.table.0, "message": stopped.to_string()})
    });
    json!({
        "mappings": mapped.mappings,
        "unmapped_segments": mapped.rest,
        "mapped_bytes": mapped.mapped_bytes,
        "unmapped_bytes": mapped.unmapped_bytes,
        "outside_bytes": mapped.outside_bytes,
        "left_out_bytes": mapped.left_out_bytes,
        "hidden": {"bytes": mapped.hidden_bytes, "count": mapped.hidden.count, "first": hidden},
        "spaces": mapped.spaces,
        "vcpus_without_tables": mapped.untold,
        "entries_read": mapped.entries_read,
        "tables_held": mapped.tables_held,
        "shared": {"count": mapped.shared.count, "first": shared},
        "tables_absent": mapped.absent.count,
        "entries_unreadable": mapped.unreadable.count,
        "stopped": stopped,
        "incomplete": mapped.is_incomplete(),
    })
}
