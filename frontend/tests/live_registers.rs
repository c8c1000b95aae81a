//! Registers of a guest in a real QEMU. The rig's `check-registers.py` starts it and runs this test with its monitor's
//! socket in GUESTDUMP_LIVE; what is printed, one register a line, it compares with QEMU's own words.

use std::ffi::OsString;
use std::fmt::Write as _;

use guestdump::source::{Purpose, Request, open};
use guestdump_core::arch::paging::walk::Walker;
use guestdump_core::arch::{Paging, Registers, Vcpu, VirtAddr};
use guestdump_core::guest::Guest;

fn values(registers: &Registers) -> String {
    let mut out = String::new();
    for (def, bytes) in registers.known() {
        let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
        writeln!(out, "{} {digits}", def.name).unwrap();
    }
    out
}

/// Address of the kernel's name for itself, by its VMCOREINFO.
fn sysname(guest: &Guest) -> Option<u64> {
    let text = String::from_utf8_lossy(guest.vmcoreinfo.as_ref()?.bytes()).into_owned();
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key).map(str::to_owned));
    let symbol = u64::from_str_radix(&value("SYMBOL(init_uts_ns)=")?, 16).unwrap();
    let offset = value("OFFSET(uts_namespace.name)=").map_or(0, |offset| offset.parse().unwrap());
    Some(symbol + offset)
}

/// Whether this vCPU's registers lead to the kernel's data.
fn sees_kernel(guest: &Guest, vcpu: &Vcpu, sysname: u64) -> bool {
    let Ok(paging) = guest.arch.kernel_paging(vcpu) else { return false };
    let memory = guest.memory.as_ref();
    let Ok(Some(at)) = Walker::new(&paging, memory).translate(VirtAddr(sysname)) else { return false };
    let mut bytes = [0; 6];
    memory.read(at, &mut bytes).unwrap() && &bytes == b"Linux\0"
}

/// What the guest was opened for, if there is one.
fn request(socket: OsString) -> Request {
    let source = format!("qmp:{}", socket.into_string().unwrap());
    let purpose = if std::env::var_os("GUESTDUMP_LOOK").is_some() { Purpose::Look } else { Purpose::Dump };
    Request::new(source, purpose)
}

#[test]
#[ignore = "needs a guest: testdata/rig/check-registers.py"]
fn a_live_guest_says_how_it_translates() {
    let socket = std::env::var_os("GUESTDUMP_LIVE").expect("GUESTDUMP_LIVE: a QMP socket");
    let opened = open(&request(socket)).unwrap();
    for remark in &opened.guest.remarks {
        println!("remark {remark}");
    }
    let mut refused = Vec::new();
    for vcpu in &opened.guest.vcpus {
        println!("vcpu {}\n{}", vcpu.id, values(&vcpu.registers));
        match opened.guest.arch.paging(vcpu) {
            Ok(Paging::Off) => println!("paging off"),
            Ok(Paging::Radix(radix)) => println!("paging {}, roots {:x?}", radix.form.name, radix.roots),
            Ok(other) => println!("paging {other:?}"),
            Err(error) => refused.push(error.to_string()),
        }
    }
    if let Some(sysname) = sysname(&opened.guest) {
        let seen = opened.guest.vcpus.iter().filter(|vcpu| sees_kernel(&opened.guest, vcpu, sysname)).count();
        println!("kernel found through {seen} vCPUs");
    }
    let pause = opened.session.finish().unwrap();
    println!("pause {} us", pause.unwrap_or_default().as_micros());
    assert_eq!(refused, [""; 0]);
}
