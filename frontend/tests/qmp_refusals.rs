//! A live QEMU that is none: a thread that speaks QMP from a script, with this test's own memory as the guest's RAM. What
//! is refused, in which words, and that a guest which ran before runs again whatever happens.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use guestdump::source::qmp::{QmpError, QmpSource, RESUME_GUARD_ARGUMENT, Timeouts};
use guestdump::source::{Opened, Purpose};
use guestdump_core::arch::PhysAddr;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};

const GREETING: &str =
    r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": ["oob"]}}"#;
const RAM_BYTES: usize = 64 << 10;

/// What the monitor does with a command, where it is not the usual.
#[derive(Clone)]
enum Act {
    /// Sends this instead; `$ID` is the command's id.
    Say(String),
    /// Sends this first, then the usual.
    SayFirst(String),
    /// Succeeds, and the guest is in this state now.
    Becomes(&'static str),
    /// Closes the connection, after doing the usual without a word.
    Close,
    /// Says nothing more.
    Silence,
    /// Sends events until nobody listens.
    Flood,
}

fn say(text: &str) -> Act {
    Act::Say(text.to_owned())
}

fn returns(value: &Value) -> Act {
    Act::Say(json!({ "return": value, "id": "$ID" }).to_string().replace("\"$ID\"", "$ID"))
}

fn fails(desc: &str) -> Act {
    Act::Say(format!("{{\"id\": $ID, \"error\": {{\"class\": \"GenericError\", \"desc\": \"{desc}\"}}}}"))
}

/// The monitor, the guest behind it, and what it was told.
struct Fake {
    dir: tempfile::TempDir,
    state: Arc<Mutex<State>>,
}

struct State {
    status: String,
    log: Vec<String>,
    acts: HashMap<&'static str, Act>,
    hva: u64,
    ram: &'static [u8],
    /// Whether its notes say how it translates addresses.
    has_system_registers: bool,
    /// What `query-chardev` says of devices but the gdbstub's.
    devices: Vec<Value>,
    /// The gdbstub's device, while there is one.
    stub: Option<Value>,
}

impl Fake {
    fn start(status: &str, acts: &[(&'static str, Act)]) -> Self {
        let ram: Vec<u8> = (0..RAM_BYTES).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let ram: &'static [u8] = ram.leak();
        let state = State {
            status: status.to_owned(),
            log: Vec::new(),
            acts: acts.iter().cloned().collect(),
            hva: ram.as_ptr() as u64,
            ram,
            has_system_registers: true,
            devices: vec![json!({ "label": "compat_monitor0", "filename": "unix:q" })],
            stub: None,
        };
        let fake = Self { dir: tempfile::tempdir().unwrap(), state: Arc::new(Mutex::new(state)) };
        let listener = UnixListener::bind(fake.socket()).unwrap();
        let state = Arc::clone(&fake.state);
        std::thread::spawn(move || listener.incoming().for_each(|stream| drop(serve(&stream.unwrap(), &state))));
        fake
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("qmp")
    }

    fn source(&self) -> QmpSource {
        let timeouts = Timeouts {
            greeting: Duration::from_millis(300),
            reply: Duration::from_secs(1),
            stop: Duration::from_secs(1),
        };
        QmpSource { timeouts, ..QmpSource::new(self.socket(), None) }
    }

    fn dump(&self) -> Result<Opened, QmpError> {
        self.source().open(Purpose::Dump)
    }

    fn refused(&self) -> String {
        self.dump().unwrap_err().to_string()
    }

    /// The commands that touch the guest, in order.
    fn told(&self) -> Vec<String> {
        let log = &self.state.lock().unwrap().log;
        log.iter()
            .filter(|command| ["stop", "cont", "dump-guest-memory", "gdb on", "gdb off"].contains(&command.as_str()))
            .cloned()
            .collect()
    }

    fn status(&self) -> String {
        self.state.lock().unwrap().status.clone()
    }
}

/// Serves one client until it goes, or the script says so.
fn serve(stream: &UnixStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let greeting = state.lock().unwrap().acts.get("greeting").cloned();
    match greeting {
        None => writeln!(out, "{GREETING}\r")?,
        Some(Act::Say(text)) => out.write_all(text.as_bytes())?,
        Some(_) => std::thread::sleep(Duration::from_secs(3)),
    }
    let mut lines = BufReader::new(Commands { stream, fd: None });
    let mut given = None;
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        given = lines.get_mut().fd.take().or(given);
        let message: Value = serde_json::from_str(&line)?;
        let command = message["execute"].as_str().unwrap().to_owned();
        let mut state = state.lock().unwrap();
        state.log.push(command.clone());
        // A script for a command is used once: a second connection finds a usual monitor.
        let human = message["arguments"]["command-line"].as_str().and_then(|line| line.split(' ').next());
        let act = human.and_then(|word| state.acts.remove(word)).or_else(|| state.acts.remove(command.as_str()));
        let id = &message["id"];
        match act {
            Some(Act::Say(text)) => writeln!(out, "{}\r", text.replace("$ID", &id.to_string()))?,
            Some(Act::Silence) => drop(state),
            Some(Act::Flood) => loop {
                writeln!(out, "{{\"event\": \"BALLOON_CHANGE\", \"data\": {{}}}}")?;
            },
            Some(Act::Close) => {
                usual(&mut state, &command, &message["arguments"], given.take());
                return Ok(());
            }
            act => {
                match act {
                    Some(Act::SayFirst(text)) => writeln!(out, "{text}\r")?,
                    Some(Act::Becomes(status)) => {
                        status.clone_into(&mut state.status);
                        writeln!(out, "{{\"return\": {{}}, \"id\": {id}}}\r")?;
                        line.clear();
                        continue;
                    }
                    _ => {}
                }
                let mut reply =
                    usual(&mut state, &command, &message["arguments"], given.take_if(|_| command != "getfd"));
                reply["id"] = id.clone();
                writeln!(out, "{reply}\r")?;
            }
        }
        line.clear();
    }
    Ok(())
}

/// What a usual QEMU does and answers.
fn usual(state: &mut State, command: &str, arguments: &Value, fd: Option<OwnedFd>) -> Value {
    let value = match command {
        "query-target" => json!({ "arch": "x86_64" }),
        "query-status" => json!({ "status": state.status, "running": state.status == "running" }),
        "query-dump" => json!({ "total": 0, "status": "none", "completed": 0 }),
        "qom-get" if arguments["property"] == "type" => json!("pc-q35-10.0-machine"),
        "qom-get" => json!(""),
        "query-memdev" => json!([{ "id": "pc.ram", "share": false }]),
        "query-pci" | "query-cpus-fast" => json!([]),
        "human-monitor-command" => json!(human(state, arguments["command-line"].as_str().unwrap())),
        "dump-guest-memory" => {
            // The reader goes when it has seen enough.
            let _ = File::from(fd.unwrap()).write_all(&elf(state.ram, state.has_system_registers));
            return json!({ "error": { "class": "GenericError", "desc": "dump: failed to save memory: Broken pipe" } });
        }
        "query-chardev" => json!(state.devices.iter().chain(&state.stub).collect::<Vec<_>>()),
        "chardev-add" => {
            let socket = UnixStream::from(fd.unwrap());
            std::thread::spawn(move || gdbstub(socket));
            state.stub = Some(json!({ "label": arguments["id"], "filename": "unix:" }));
            json!({})
        }
        "stop" | "cont" => {
            let running = command == "cont";
            state.status = if running { "running" } else { "paused" }.to_owned();
            json!({})
        }
        _ => json!({}),
    };
    json!({ "return": value })
}

/// A gdbstub of one vCPU, with what the notes leave out; it would stop a guest that runs.
fn gdbstub(mut socket: UnixStream) {
    let xml = "l<reg name='rip' bitsize='64'/><reg name='cr0' bitsize='64'/><reg name='eflags' bitsize='64'/>";
    let mut buffer = [0; 4096];
    while let Ok(received @ 1..) = socket.read(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..received]).into_owned();
        let Some(asked) = text.trim_start_matches('+').strip_prefix('$') else { continue };
        let reply = match asked.split_once('#').unwrap().0 {
            "qfThreadInfo" => "mp01.01",
            "qsThreadInfo" => "l",
            "Hgp01.01" => "OK",
            "g" => "000010000000000000000000000000000002000000000000",
            "p1" => "1000000000000000",
            asked if asked.starts_with("qX") => xml,
            _ => "qXfer:features:read+",
        };
        let sum = reply.bytes().fold(0_u8, u8::wrapping_add);
        write!(socket, "+${reply}#{sum:02x}").unwrap();
    }
}

fn human(state: &mut State, line: &str) -> String {
    if let Some(device) = line.strip_prefix("gdbserver ") {
        let on = device != "none";
        state.log.push(if on { "gdb on" } else { "gdb off" }.to_owned());
        if on {
            return format!("Waiting for gdb connection on device '{device}'\r\n");
        }
        state.stub = None;
        return "Disabled gdbserver\r\n".to_owned();
    }
    let Some(addr) = line.strip_prefix("gpa2hva 0x") else { return "\nCPU#0\nEFER=0000000000000d01\n".to_owned() };
    let addr = u64::from_str_radix(addr, 16).unwrap();
    format!("Host virtual address for {addr:#x} (pc.ram) is {:#x}\r\n", state.hva + addr)
}

/// A note of a name of four characters.
fn note(name: &str, n_type: u32, desc: &[u8]) -> Vec<u8> {
    let len = u32::try_from(desc.len()).unwrap();
    let head = [5, len, n_type].map(u32::to_le_bytes).concat();
    [head.as_slice(), name.as_bytes(), &[0; 4], desc].concat()
}

/// ELF64, little: PT_NOTE with NT_PRSTATUS (rip 0x100000, eflags 0x200) and, of a vCPU with `system` registers, QEMU's note
/// of one that does not translate addresses; PT_LOAD with all of RAM.
fn elf(ram: &[u8], system: bool) -> Vec<u8> {
    let mut prstatus = [0; 336];
    prstatus[240..248].copy_from_slice(&0x0010_0000_u64.to_le_bytes());
    prstatus[256..264].copy_from_slice(&0x200_u64.to_le_bytes());
    let mut note_bytes = note("CORE", 1, &prstatus);
    if system {
        note_bytes.extend(note("QEMU", 0, &[0; 440]));
    }
    let note = note_bytes;
    let notes_at = 64 + 2 * 56;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let half = |file: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    let words = |file: &mut Vec<u8>, values: &[u64]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    half(&mut file, &[4, 62, 1, 0]);
    words(&mut file, &[0, 64, 0]);
    half(&mut file, &[0, 0, 64, 56, 2, 64, 0, 0]);
    words(&mut file, &[4, notes_at, 0, 0, note.len() as u64, note.len() as u64, 0]);
    let (at, len) = (notes_at + note.len() as u64, ram.len() as u64);
    words(&mut file, &[1, at, 0, 0, len, len, 0]);
    [file, note, ram.to_vec()].concat()
}

/// The stream of commands, with the file descriptors that come along.
struct Commands<'s> {
    stream: &'s UnixStream,
    fd: Option<OwnedFd>,
}

impl Read for Commands<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [std::io::IoSliceMut::new(buf)];
        let received = rustix::net::recvmsg(self.stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fd = fds.last();
            }
        }
        Ok(received.bytes)
    }
}

fn refusal_of(acts: &[(&'static str, Act)]) -> String {
    Fake::start("running", acts).refused()
}

#[test]
fn sockets_that_are_none_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    File::create(&file).unwrap();
    let open = |path: &Path| QmpSource::new(path.to_owned(), None).open(Purpose::Look).unwrap_err();
    let missing = open(&dir.path().join("no"));
    assert!(missing.to_string().ends_with("no: No such file or directory (os error 2)"), "{missing}");
    assert!(missing.hint().unwrap().contains("-qmp unix:"));
    assert!(open(&file).to_string().ends_with("file is a file, not a socket"));
    assert!(open(dir.path()).to_string().ends_with(" is a folder, not a socket"));
    let left = dir.path().join("left");
    drop(UnixListener::bind(&left).unwrap());
    assert_eq!(open(&left).hint().unwrap(), "nobody listens there: the QEMU that made this socket has ended");
}

#[test]
fn other_servers_are_shown() {
    for (greeting, shown) in [
        ("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("SSH-2.0-OpenSSH_9.2", "SSH-2.0-OpenSSH_9.2"),
        ("\x01\u{fe}{}\n", "\\x01\\xc3\\xbe{}"),
        ("{\"return\": {}}\n", "{\\\"return\\\": {}}"),
        (&"x".repeat(100_000), "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."),
    ] {
        let refused = refusal_of(&[("greeting", say(greeting))]);
        assert!(refused.ends_with(&format!("is not a QMP monitor: it says \"{shown}\"")), "{refused}");
    }
    let human = "QEMU 10.0.2 monitor - type 'help' for more information\r\n(qemu) ";
    let error = Fake::start("running", &[("greeting", say(human))]).dump().unwrap_err();
    assert_eq!(error.hint().unwrap(), "this is QEMU's human monitor: give the socket of -qmp instead");
}

#[test]
fn a_monitor_that_serves_somebody_else_is_busy() {
    let error = Fake::start("running", &[("greeting", Act::Silence)]).dump().unwrap_err();
    assert!(error.to_string().ends_with("the monitor is probably in use by another client"), "{error}");
    assert!(error.hint().unwrap().contains("libvirt"));
}

#[test]
fn guests_that_must_not_be_touched_are_refused_before_they_are_stopped() {
    for (command, act, refused) in [
        (
            "query-migrate",
            returns(&json!({"status": "active"})),
            "the guest cannot be dumped now: a migration is active",
        ),
        (
            "query-dump",
            returns(&json!({"status": "active"})),
            "the guest cannot be dumped now: QEMU is writing a dump of it",
        ),
        (
            "query-status",
            returns(&json!({"status": "inmigrate", "running": false})),
            "the guest cannot be dumped now: its state is inmigrate",
        ),
        (
            "query-status",
            returns(&json!({"status": "save-vm", "running": false})),
            "the guest cannot be dumped now: its state is save-vm",
        ),
    ] {
        let fake = Fake::start("running", &[(command, act)]);
        assert_eq!(fake.refused(), refused);
        assert!(fake.told().is_empty());
    }
    let target = refusal_of(&[("query-target", returns(&json!({"arch": "vax"})))]);
    assert!(target.starts_with("QEMU's target vax is not known; known are x86_64, "), "{target}");
}

#[test]
fn nonsense_in_answer_to_a_command_ends_the_session() {
    let refused = |act| refusal_of(&[("query-target", act)]);
    assert_eq!(refused(Act::Close), "the monitor closed the connection during query-target");
    assert_eq!(refused(Act::Silence), "no answer to query-target within 1 s: QEMU does not serve its monitor");
    assert_eq!(refused(Act::Flood), "no answer to query-target within 1 s: QEMU does not serve its monitor");
    assert_eq!(refused(say("<html>")), "answer to query-target is no QMP message: \"<html>\"");
    assert_eq!(refused(say("{\"return\": {}, \"id\": 77}")), "reply to query-target has id 77 instead of 2");
    assert_eq!(refused(say("{\"return\": {}}")), "reply to query-target has id none instead of 2");
    assert_eq!(refused(fails("it is tired")), "QEMU refuses query-target: it is tired (GenericError)");
    assert_eq!(
        refused(say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}")),
        "QEMU refuses query-target: JSON parse error (GenericError)"
    );
    assert_eq!(refused(returns(&json!(7))), "reply to query-target has no usable text: 7");
    let long = "x".repeat(18 << 20);
    assert_eq!(refused(say(&long)), "the monitor sent a line of more than 16777216 bytes in answer to query-target");
}

#[test]
fn events_and_late_replies_between_are_passed_over() {
    let noise = format!("{}{{\"return\": {{}}, \"id\": 1}}", "{\"event\": \"NIC_RX_FILTER_CHANGED\"}\r\n".repeat(5000));
    let fake = Fake::start("running", &[("query-target", Act::SayFirst(noise))]);
    let opened = fake.dump().unwrap();
    assert_eq!(opened.guest.vcpus.len(), 1);
}

#[test]
fn a_running_guest_is_stopped_and_runs_again() {
    let fake = Fake::start("running", &[]);
    let opened = fake.dump().unwrap();
    assert_eq!(fake.status(), "paused");
    let mut bytes = [0; 1000];
    assert!(opened.guest.memory.read(PhysAddr(5000), &mut bytes).unwrap());
    assert_eq!(bytes[..], fake.state.lock().unwrap().ram[5000..6000]);
    assert_eq!(opened.guest.vcpus[0].registers.get_named("efer"), Some(0xd01));
    assert!(opened.session.finish().unwrap().unwrap() > Duration::ZERO);
    assert_eq!(fake.told(), ["stop", "dump-guest-memory", "cont"]);
    drop(fake.dump().unwrap());
    assert_eq!(fake.told()[3..], ["stop", "dump-guest-memory", "cont"]);
    drop(fake.source().open(Purpose::Look).unwrap());
    assert_eq!((fake.told().len(), fake.status()), (7, "running".to_owned()));
}

#[test]
fn a_paused_guest_stays_paused() {
    for status in ["paused", "prelaunch", "guest-panicked", "io-error", "postmigrate"] {
        let fake = Fake::start(status, &[]);
        drop(fake.dump().unwrap());
        assert_eq!(fake.dump().unwrap().session.finish().unwrap(), Some(Duration::ZERO));
        assert_eq!((fake.told(), fake.status()), (vec!["dump-guest-memory".to_owned(); 2], status.to_owned()));
    }
}

#[test]
fn a_guest_that_stops_by_itself_meanwhile_is_left_alone() {
    let fake = Fake::start("running", &[("stop", Act::Becomes("guest-panicked"))]);
    assert_eq!(fake.dump().unwrap().session.finish().unwrap(), Some(Duration::ZERO));
    assert_eq!(fake.told(), ["stop", "dump-guest-memory"]);
}

#[test]
fn failures_after_the_stop_let_the_guest_run() {
    let other = json!("Host virtual address for 0x0 (pc.ram) is 0x1000\r\n");
    for (command, act, refused) in [
        (
            "dump-guest-memory",
            fails("dumping guest memory is not supported on this target"),
            "QEMU refuses dump-guest-memory: dumping guest memory is not supported on this target (GenericError)",
        ),
        (
            "dump-guest-memory",
            Act::Silence,
            "no answer to dump-guest-memory within 1 s: QEMU does not serve its monitor",
        ),
        (
            "getfd",
            fails("No file descriptor supplied via SCM_RIGHTS"),
            "QEMU refuses getfd: No file descriptor supplied via SCM_RIGHTS (GenericError)",
        ),
        (
            "gpa2hva",
            returns(&json!("No memory is mapped at address 0x0\n")),
            "memory at 0x0 is no longer where QEMU's dump had it: No memory is mapped at address 0x0",
        ),
        ("gpa2hva", returns(&other), "memory at 0xffff is no longer where QEMU's dump had it: pc.ram at $LAST"),
    ] {
        let fake = Fake::start("running", &[(command, act)]);
        let last = format!("{:#x}", fake.state.lock().unwrap().hva + RAM_BYTES as u64 - 1);
        assert_eq!(fake.refused(), refused.replace("$LAST", &last));
        assert_eq!(fake.status(), "running", "{command}");
        assert_eq!(fake.told().last().unwrap(), "cont");
    }
}

#[test]
fn memory_of_another_process_is_not_taken_for_the_guests() {
    let fake = Fake::start("running", &[]);
    let wrong: &'static [u8] = vec![0xee; RAM_BYTES].leak();
    fake.state.lock().unwrap().hva = wrong.as_ptr() as u64;
    let pid = std::process::id();
    let refused = format!("process {pid} does not hold this guest's memory: 4096 bytes at guest-physical 0x0 differ");
    assert_eq!(fake.refused(), refused);
    fake.state.lock().unwrap().hva = 16;
    assert_eq!(
        fake.refused(),
        format!("process {pid} has no memory at 0x10, where 0x10000 bytes of the guest should be")
    );
    assert_eq!(fake.status(), "running");
}

/// A user who may use the monitor's socket, but is not QEMU's.
#[test]
fn the_memory_of_somebody_elses_qemu_is_refused_and_the_guest_runs() {
    use std::os::unix::fs::PermissionsExt;
    let open_to_all = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can be somebody else");
        return;
    }
    let fake = Fake::start("running", &[]);
    let program = fake.dir.path().join("guestdump");
    std::fs::copy(env!("CARGO_BIN_EXE_guestdump"), &program).unwrap();
    [fake.dir.path(), &fake.socket(), &program].into_iter().for_each(open_to_all);
    let somebody = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let source = format!("qmp:{}", fake.socket().display());
    let mut command = Command::new("setpriv");
    let command = command.args(somebody).arg(&program).args(["dump", &source, "-o", "-", "--progress", "never"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(output.stdout.is_empty() && words.contains(" of user 0 as user 65534: "), "{words}");
    assert!(words.contains("hint: run as root, or as the user of the QEMU process"), "{words}");
    assert_eq!(fake.status(), "running");
}

#[test]
fn a_lost_connection_is_made_anew_to_let_the_guest_run() {
    for command in ["stop", "dump-guest-memory", "human-monitor-command"] {
        let fake = Fake::start("running", &[(command, Act::Close)]);
        assert_eq!(fake.refused(), format!("the monitor closed the connection during {command}"));
        assert_eq!(fake.status(), "running");
        assert_eq!(fake.told().last().unwrap(), "cont");
    }
    let fake = Fake::start("running", &[]);
    let opened = fake.dump().unwrap();
    fake.state.lock().unwrap().acts.insert("query-status", Act::Close);
    assert!(opened.session.finish().unwrap().unwrap() > Duration::ZERO);
    assert_eq!(fake.status(), "running");
    let opened = fake.dump().unwrap();
    fake.state.lock().unwrap().acts.insert("query-status", Act::Close);
    "running".clone_into(&mut fake.state.lock().unwrap().status);
    let error = opened.session.finish().unwrap_err().to_string();
    assert!(error.starts_with("somebody else sent the guest RESUME "), "{error}");
}

#[test]
fn a_guest_that_does_not_stop_or_go_on_is_reported() {
    let refused = refusal_of(&[("stop", returns(&json!({})))]);
    assert_eq!(refused, "the guest is running after it was told to stop");
    let fake = Fake::start("running", &[("cont", fails("Resetting the Virtual Machine is required"))]);
    let finished = fake.dump().unwrap().session.finish().unwrap_err().to_string();
    assert_eq!(finished, "QEMU refuses cont: Resetting the Virtual Machine is required (GenericError)");
    let fake = Fake::start("running", &[("cont", returns(&json!({})))]);
    let finished = fake.dump().unwrap().session.finish().unwrap_err().to_string();
    assert_eq!(finished, "the guest was told to run again and is paused");
}

#[test]
fn others_who_move_the_guest_are_noticed_and_have_the_last_word() {
    let event = |name: &str| format!("{{\"event\": \"{name}\"}}");
    for (events, named, cont) in [
        (vec![event("RESUME")], "RESUME", false),
        (vec![event("RESUME"), event("STOP")], "RESUME", false),
        (vec![event("RESET")], "RESET", true),
    ] {
        for (status, may_cont) in [("running", cont), ("paused", false)] {
            let fake = Fake::start(status, &[]);
            let opened = fake.dump().unwrap();
            fake.state.lock().unwrap().acts.insert("query-status", Act::SayFirst(events.join("\r\n")));
            let error = opened.session.finish().unwrap_err();
            let expected = format!("somebody else sent the guest {named} while it was read: the dump is inconsistent");
            assert_eq!(error.to_string(), expected);
            assert_eq!(fake.told().contains(&"cont".to_owned()), may_cont);
        }
    }
}

#[test]
fn without_a_guard_that_works_nothing_is_stopped() {
    let fake = Fake::start("running", &[]);
    for program in ["/nonexistent/guard", "/bin/true", "/bin/cat"] {
        let source = QmpSource { watchdog: Some(program.into()), ..fake.source() };
        let refused = source.open(Purpose::Dump).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("resume guard {program}: ")), "{refused}");
    }
    assert!(fake.told().is_empty());
}

#[test]
fn the_guard_keeps_quiet_while_we_live() {
    let fake = Fake::start("running", &[]);
    let source = QmpSource { watchdog: Some(env!("CARGO_BIN_EXE_guestdump").into()), ..fake.source() };
    source.open(Purpose::Dump).unwrap().session.finish().unwrap();
    drop(source.open(Purpose::Dump).unwrap());
    assert_eq!(fake.told(), ["stop", "dump-guest-memory", "cont", "stop", "dump-guest-memory", "cont"]);
}

#[test]
fn the_guard_speaks_for_the_dead_and_only_for_them() {
    for (said, expected) in [(&b"a"[..], "cont"), (b"ad", ""), (b"", "")] {
        let (mut life_line, theirs) = UnixStream::pair().unwrap();
        let (monitor, for_guard) = UnixStream::pair().unwrap();
        let mut guard = Command::new(env!("CARGO_BIN_EXE_guestdump"))
            .arg(RESUME_GUARD_ARGUMENT)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(OwnedFd::from(for_guard)))
            .spawn()
            .unwrap();
        life_line.write_all(said).unwrap();
        if !said.is_empty() {
            life_line.read_exact(&mut [0]).unwrap();
            let pid = rustix::process::Pid::from_child(&guard);
            for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT, rustix::process::Signal::HUP] {
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
        drop(life_line);
        let mut lines = BufReader::new(monitor.as_fd().try_clone_to_owned().map(UnixStream::from).unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let command =
            serde_json::from_str::<Value>(&line).map_or(String::new(), |it| it["execute"].as_str().unwrap().to_owned());
        assert_eq!(command, expected);
        // It waits for the reply: QEMU drops the commands of a client that has gone.
        if !expected.is_empty() {
            std::thread::sleep(Duration::from_millis(100));
            assert!(guard.try_wait().unwrap().is_none());
            writeln!(
                &monitor,
                "{{\"event\": \"RESUME\"}}\r\n{{\"return\": {{}}, \"id\": \"guestdump-resume-guard\"}}\r"
            )
            .unwrap();
        }
        let begin = Instant::now();
        assert!(guard.wait().unwrap().success());
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
}

/// A guest whose notes leave out what address translation needs; only its gdbstub says it.
fn lacking(status: &str, acts: &[(&'static str, Act)]) -> Fake {
    let fake = Fake::start(status, acts);
    fake.state.lock().unwrap().has_system_registers = false;
    fake
}

fn cr0(opened: &Opened) -> Option<u64> {
    opened.guest.vcpus[0].registers.get_named("cr0")
}

#[test]
fn the_gdbstub_says_what_notes_leave_out() {
    let fake = lacking("running", &[]);
    let opened = fake.dump().unwrap();
    assert_eq!((cr0(&opened), fake.status()), (Some(0x10), "paused".to_owned()));
    drop(opened);
    assert_eq!(fake.told(), ["stop", "dump-guest-memory", "gdb on", "gdb off", "cont"]);
    let fake = lacking("paused", &[]);
    assert_eq!(cr0(&fake.dump().unwrap()), Some(0x10));
    assert_eq!(fake.told(), ["dump-guest-memory", "gdb on", "gdb off"]);
}

#[test]
fn a_look_stops_a_guest_before_the_gdbstub_does() {
    let fake = lacking("running", &[]);
    let opened = fake.source().open(Purpose::Look).unwrap();
    assert_eq!((cr0(&opened), fake.status()), (Some(0x10), "running".to_owned()));
    assert_eq!(fake.told(), ["dump-guest-memory", "stop", "dump-guest-memory", "gdb on", "gdb off", "cont"]);
    assert!(opened.session.finish().unwrap().unwrap() > Duration::ZERO);
    assert_eq!(fake.told().len(), 6);
}

#[test]
fn a_gdbstub_that_is_in_use_or_refused_is_left_alone() {
    let unknown = "registers that QEMU's notes leave out are not known: ";
    let file = "disconnected:tcp:0.0.0.0:1234,server=on";
    let fake = lacking("running", &[]);
    fake.state.lock().unwrap().devices.push(json!({ "label": "gdb", "filename": file }));
    let refused = lacking("running", &[("chardev-add", fails("Parameter 'addr' is wrong"))]);
    for (fake, why) in [
        (fake, format!("QEMU's gdbstub is in use ({file})")),
        (refused, "QEMU refuses chardev-add: Parameter 'addr' is wrong (GenericError)".to_owned()),
    ] {
        let opened = fake.dump().unwrap();
        let remark = format!("{unknown}{why}");
        assert!(opened.guest.remarks.contains(&remark), "{:?}", opened.guest.remarks);
        assert_eq!(cr0(&opened), None);
        drop(opened);
        assert_eq!(fake.told(), ["stop", "dump-guest-memory", "cont"]);
    }
}

#[test]
fn what_a_dead_guestdump_left_is_ended_first() {
    let fake = lacking("running", &[]);
    let left = json!({ "label": "guestdump-gdb", "filename": "disconnected:fd:guestdump-gdb-fd" });
    fake.state.lock().unwrap().stub = Some(left);
    assert_eq!(cr0(&fake.dump().unwrap()), Some(0x10));
    assert_eq!(fake.told()[2..], ["gdb off", "gdb on", "gdb off", "cont"]);
}

#[test]
fn a_monitor_that_is_lost_with_a_gdbstub_open_lets_the_guest_run() {
    let fake = lacking("running", &[("chardev-add", Act::Close)]);
    assert_eq!(fake.refused(), "the monitor closed the connection during chardev-add");
    assert_eq!((fake.status(), fake.told().last().unwrap().as_str()), ("running".to_owned(), "cont"));
}
