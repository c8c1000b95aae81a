//! Registers of a guest that stands still in a real QEMU. The rig's `check-registers.py` starts it and runs this test
//! with its monitor's socket in GUESTDUMP_LIVE; what is printed, one register a line, it compares with QEMU's own words.

use std::fmt::Write as _;
use std::path::PathBuf;

use guestdump::source::Purpose;
use guestdump::source::qmp::QmpSource;
use guestdump_core::arch::{Paging, Registers};

fn values(registers: &Registers) -> String {
    let mut out = String::new();
    for (def, bytes) in registers.known() {
        let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
        writeln!(out, "{} {digits}", def.name).unwrap();
    }
    out
}

#[test]
#[ignore = "needs a guest: testdata/rig/check-registers.py"]
fn a_live_guest_says_how_it_translates() {
    let socket = PathBuf::from(std::env::var_os("GUESTDUMP_LIVE").expect("GUESTDUMP_LIVE: a QMP socket"));
    let purpose = if std::env::var_os("GUESTDUMP_LOOK").is_some() { Purpose::Look } else { Purpose::Dump };
    let opened = QmpSource::new(socket, None).open(purpose).unwrap();
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
    let pause = opened.session.finish().unwrap();
    println!("pause {} us", pause.unwrap_or_default().as_micros());
    assert_eq!(refused, [""; 0]);
}
